//! The lookup table of `maglev`: the backend of each slot, with few changes when backends come and go.
//!
//! Source: Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section
//! 3.4.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use sluice_nft::jhash::jhash;

/// Default number of slots.
pub const DEFAULT_TABLE_SIZE: u32 = 1021;

/// Seeds of the two hashes of a backend's name: offset and skip of its permutation.
const OFFSET_SEED: u32 = 0x6f66_6673;
const SKIP_SEED: u32 = 0x736b_6970;

/// A backend of the table.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// The name, from which its permutation follows.
    pub name: &'a str,
    /// Nominal weight, when all backends serve; 0 for a backup.
    pub nominal: u16,
    /// Current weight; 0 if it takes no new flows.
    pub current: u16,
}

/// The backend of each slot, as an index into `members`; empty if all weights are 0.
///
/// The table is first filled with the nominal weights, as published. Then backends that do not serve, or only
/// with a part of their weight, release the slots that they took last, and filling continues with the current
/// weights. Serving backends thereby keep their slots, and the table depends only on the file and on the
/// current weights, not on history.
///
/// `size` is a prime, so that every skip reaches all slots.
pub fn table(members: &[Member<'_>], size: u32) -> Vec<usize> {
    if members.iter().all(|member| member.current == 0) {
        return vec![];
    }
    let mut slots = vec![None; size as usize];
    fill(&mut slots, members, |member| member.nominal);
    give_up(&mut slots, members);
    fill(&mut slots, members, |member| member.current);
    slots.into_iter().map(|slot| slot.expect("somebody has a weight").backend).collect()
}

/// The backend of a slot, and the turn in which it took the slot.
#[derive(Clone, Copy)]
struct Taken {
    backend: usize,
    turn: u64,
}

/// Lets the backends take the first free slot of their permutations in turn, until none is free.
///
/// Turn number `k` of a backend is at time `k / weight`, ties in the order of names. Slots are thereby
/// proportional to weights, a common factor of all weights has no effect, and every backend has its first
/// turn before any has its second.
fn fill(slots: &mut [Option<Taken>], members: &[Member<'_>], weight: impl Fn(&Member<'_>) -> u16) {
    // Scaled so that any two different times differ.
    let time = |turn: u64, weight: u16| (turn << 40) / u64::from(weight);
    let size = slots.len() as u32;
    let counts = counts(slots, members.len());
    let mut walks: Vec<_> = members.iter().map(|member| walk(member.name, size)).collect();
    let mut turns: BinaryHeap<_> = (0..members.len())
        .filter(|backend| weight(&members[*backend]) > 0)
        .map(|backend| {
            let turn = counts[backend];
            Reverse((time(turn, weight(&members[backend])), members[backend].name, backend, turn))
        })
        .collect();
    for _ in counts.iter().sum::<u64>()..slots.len() as u64 {
        let Some(mut next) = turns.peek_mut() else { return };
        let Reverse((at, _, backend, turn)) = &mut *next;
        let free = walks[*backend].find(|slot| slots[*slot].is_none()).expect("a walk reaches every slot");
        slots[free] = Some(Taken { backend: *backend, turn: *turn });
        *turn += 1;
        *at = time(*turn, weight(&members[*backend]));
    }
}

/// Releases the slots that exceed a backend's share. The backend that lost the smallest part of its weight
/// keeps all its slots.
fn give_up(slots: &mut [Option<Taken>], members: &[Member<'_>]) {
    let counts = counts(slots, members.len());
    let part = |member: &Member<'_>| (u64::from(member.current), u64::from(member.nominal));
    let (most_current, most_nominal) = members
        .iter()
        .map(part)
        .filter(|(_, nominal)| *nominal > 0)
        .fold((0, 1), |most, part| if part.0 * most.1 > most.0 * part.1 { part } else { most });
    for slot in slots {
        let gone = slot.is_some_and(|Taken { backend, turn }| {
            let (current, nominal) = part(&members[backend]);
            turn * nominal * most_current >= counts[backend] * current * most_nominal
        });
        if gone {
            *slot = None;
        }
    }
}

fn counts(slots: &[Option<Taken>], backends: usize) -> Vec<u64> {
    let mut counts = vec![0; backends];
    slots.iter().flatten().for_each(|taken| counts[taken.backend] += 1);
    counts
}

/// The permutation of a backend, repeated.
fn walk(name: &str, size: u32) -> impl Iterator<Item = usize> {
    let hash = |seed| jhash(name.as_bytes(), seed);
    let skip = hash(SKIP_SEED) % (size - 1) + 1;
    std::iter::successors(Some(hash(OFFSET_SEED) % size), move |slot| Some((slot + skip) % size))
        .map(|slot| slot as usize)
}

/// Whether a table may have this size.
pub fn is_prime(number: u32) -> bool {
    number > 1
        && (2..)
            .take_while(|divisor| divisor * divisor <= number)
            .all(|divisor| !number.is_multiple_of(divisor))
}
