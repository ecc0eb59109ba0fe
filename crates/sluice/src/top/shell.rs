//! Moves events and effects between the terminal, the daemon and the `App`.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Instant;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, KeyEventKind};
use sluice_api::{Client, OverrideRequest, Timestamp};
use sluiced::fatal::{Exit, Fatal};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::app::{App, Effect, Event};
use super::view;
use crate::signals::Signals;
use crate::watch::pause;
use crate::{daemon, output};

/// Shows the daemon behind a socket until the operator has seen enough.
pub(crate) fn run(socket: &Path, colour: bool) -> Result<(), Fatal> {
    let broken = |error| Fatal::new(Exit::Runtime, Terminal(error), "try sluice status --watch");
    let mut terminal = ratatui::try_init().map_err(|error| {
        // It may have got half of the way.
        let _ = ratatui::try_restore();
        broken(error)
    })?;
    let (events, happens) = channel();
    let (effects, requests) = unbounded_channel();
    let (client, told) = (Client::new(socket), events.clone());
    thread::spawn(move || {
        let end = match daemon::run(attend(&client, &told, requests)) {
            Ok(()) => Event::End,
            Err(fatal) => Event::Answer(Err(fatal.to_string()), Instant::now()),
        };
        // Nobody listens once the operator has left.
        let _ = told.send(end);
    });
    thread::spawn(move || read_keys(&events));
    let outcome = show(&mut terminal, &happens, &effects, colour);
    ratatui::restore();
    outcome.map_err(broken)
}

#[derive(Debug, thiserror::Error)]
#[error("use the terminal")]
struct Terminal(#[source] std::io::Error);

/// Draws what is known whenever that changes.
fn show(
    terminal: &mut DefaultTerminal,
    happens: &Receiver<Event>,
    effects: &UnboundedSender<OverrideRequest>,
    colour: bool,
) -> Result<(), std::io::Error> {
    let mut app = App::new(output::size(), Timestamp::now());
    loop {
        terminal.draw(|frame| view::draw(frame, &app, colour))?;
        // What has come meanwhile is on the next picture, too.
        let Ok(first) = happens.recv() else { return Ok(()) };
        for event in std::iter::once(first).chain(happens.try_iter()) {
            match app.update(event, Timestamp::now()) {
                None => {}
                Some(Effect::Quit) => return Ok(()),
                // Whoever does it lives as long as the process.
                Some(Effect::Override(request)) => drop(effects.send(request)),
            }
        }
    }
}

/// Reads the keyboard until there is none.
fn read_keys(events: &Sender<Event>) {
    loop {
        let event = match event::read() {
            Ok(event::Event::Key(key)) if key.kind != KeyEventKind::Release => Event::Key(key),
            Ok(event::Event::Resize(columns, rows)) => Event::Size(columns, rows),
            Ok(_) => continue,
            Err(_) => Event::End,
        };
        let is_over = matches!(event, Event::End);
        if events.send(event).is_err() || is_over {
            return;
        }
    }
}

/// Asks the daemon how things are, tells it what the operator says, and heeds signals.
async fn attend(client: &Client, events: &Sender<Event>, mut requests: UnboundedReceiver<OverrideRequest>) {
    // Something was said: look at once.
    let news = Notify::new();
    let look = async {
        loop {
            let began = Instant::now();
            let answer = client.status().await.map_err(|error| daemon::no_answer(error).to_string());
            if events.send(Event::Answer(answer.map(Box::new), Instant::now())).is_err() {
                return;
            }
            let _ = tokio::time::timeout(pause(began.elapsed()), news.notified()).await;
        }
    };
    let say = async {
        while let Some(request) = requests.recv().await {
            let answer = client.set_override(&request).await;
            let answer = answer.map_err(|error| daemon::no_answer(error).to_string());
            if events.send(Event::Said(request, answer.map(Box::new))).is_err() {
                return;
            }
            news.notify_one();
        }
    };
    let mut signals = Signals::new();
    tokio::select! {
        () = look => {}
        () = say => {}
        () = signals.ended() => {}
    }
}
