//! Finds the shortest history that fails in the same way.

use std::time::{Duration, Instant};

use crate::event::{Edit, Event};

/// Looking for a shorter one takes this long at most.
const TIME: Duration = Duration::from_secs(240);

/// Leaves out events, many at first, and then edits, as long as what is left fails.
pub fn shortest(mut events: Vec<Event>, fails: &impl Fn(&[Event]) -> Option<String>) -> Vec<Event> {
    let end = Instant::now() + TIME;
    let mut piece = events.len().div_ceil(2);
    while piece > 0 && Instant::now() < end {
        let (before, mut from) = (events.len(), 0);
        while from < events.len() && Instant::now() < end {
            let mut fewer = events.clone();
            fewer.drain(from..events.len().min(from + piece));
            match fails(&fewer) {
                Some(_) => events = fewer,
                None => from += piece,
            }
        }
        // What went before may be left out now, too.
        if piece > 1 || events.len() == before {
            piece /= 2;
        }
    }
    for event in 0..events.len() {
        let mut edit = 0;
        while Instant::now() < end {
            let mut fewer = events.clone();
            match edits(&mut fewer[event]) {
                Some(edits) if edits.len() > 1 && edit < edits.len() => drop(edits.remove(edit)),
                _ => break,
            }
            match fails(&fewer) {
                Some(_) => events = fewer,
                None => edit += 1,
            }
        }
    }
    events
}

fn edits(event: &mut Event) -> Option<&mut Vec<Edit>> {
    match event {
        Event::Reload(edits) | Event::Restart(_, edits) => Some(edits),
        _ => None,
    }
}
