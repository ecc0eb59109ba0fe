//! The table of `maglev`: which backend each slot leads to, changing little when backends come and go.
//!
//! Source: Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use sluice_nft::jhash::jhash;

/// Slots when the file does not say.
pub const DEFAULT_TABLE_SIZE: u32 = 1021;

/// Seeds of the hashes of a backend's name: where its walk through the table begins, and the length of its steps.
const OFFSET_SEED: u32 = 0x6f66_6673;
const SKIP_SEED: u32 = 0x736b_6970;

/// One backend that may have slots.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// What its walk through the table depends on.
    pub name: &'a str,
    /// Its weight when everybody serves; 0 for one that does only in place of others.
    pub full: u16,
    /// Its weight now; 0 for one that takes no new flows.
    pub now: u16,
}

/// The backend of each slot, as an index into `members`; empty when nobody has a weight.
///
/// The table is filled as published for everybody. Then those that do not serve, or only with a part of their weight,
/// give up slots, latest taken first, and filling goes on with the weights of now. So who keeps serving keeps its slots,
/// and a table depends on the file and on who serves, not on what was before.
///
/// `size` is a prime, so that every step length reaches all slots.
pub fn table(members: &[Member<'_>], size: u32) -> Vec<usize> {
    if members.iter().all(|member| member.now == 0) {
        return vec![];
    }
    let mut slots = vec![None; size as usize];
    fill(&mut slots, members, |member| member.full);
    give_up(&mut slots, members);
    fill(&mut slots, members, |member| member.now);
    slots.into_iter().map(|slot| slot.expect("somebody has a weight").backend).collect()
}

/// Who took a slot, and in which of its turns.
#[derive(Clone, Copy)]
struct Taken {
    backend: usize,
    turn: u64,
}

/// Lets each backend take the first free slot of its walk whenever it is its turn, until none is free.
///
/// Turn number `k` is at the time `k / weight`, at the same time by name: in proportion, with no regard to a factor that
/// all weights have in common, and each has a first turn before anybody has a second.
fn fill(slots: &mut [Option<Taken>], members: &[Member<'_>], weight: impl Fn(&Member<'_>) -> u16) {
    // Fine enough to tell any two such fractions apart.
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

/// Frees what is more than a backend's part, where that which lost the least of its weight keeps all.
fn give_up(slots: &mut [Option<Taken>], members: &[Member<'_>]) {
    let counts = counts(slots, members.len());
    let part = |member: &Member<'_>| (u64::from(member.now), u64::from(member.full));
    let (most_now, most_full) = members
        .iter()
        .map(part)
        .filter(|(_, full)| *full > 0)
        .fold((0, 1), |most, part| if part.0 * most.1 > most.0 * part.1 { part } else { most });
    for slot in slots {
        let gone = slot.is_some_and(|Taken { backend, turn }| {
            let (now, full) = part(&members[backend]);
            turn * full * most_now >= counts[backend] * now * most_full
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

/// All slots in the order of one backend, over and over.
fn walk(name: &str, size: u32) -> impl Iterator<Item = usize> {
    let hash = |seed| jhash(name.as_bytes(), seed);
    let skip = hash(SKIP_SEED) % (size - 1) + 1;
    std::iter::successors(Some(hash(OFFSET_SEED) % size), move |slot| Some((slot + skip) % size))
        .map(|slot| slot as usize)
}

/// Whether a table may have so many slots.
pub fn is_prime(number: u32) -> bool {
    number > 1
        && (2..)
            .take_while(|divisor| divisor * divisor <= number)
            .all(|divisor| !number.is_multiple_of(divisor))
}
