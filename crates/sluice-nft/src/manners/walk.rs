//! Random batches.

use super::objects::*;
use crate::{Base, Field, Ip, Operand, Pick, Set, Statement, Step};

const BATCHES: usize = 40;
const MOST_STEPS: usize = 4;

/// Base chains first. A chain leads only to later ones, so that there are no circles: kernels differ in how
/// they refuse those.
const CHAINS: [(&str, Option<Base>); 5] = [
    ("prerouting", Some(Base::PREROUTING)),
    ("postrouting", Some(Base::POSTROUTING)),
    ("c2", None),
    ("c3", None),
    ("pick", None),
];

pub(super) fn batches(seed: u64) -> Vec<Vec<Step>> {
    let mut random = Random(seed);
    let mut start = program();
    start.extend([base("postrouting", Base::POSTROUTING), chain("c2"), chain("c3")]);
    start.push(Step::AddSet("clients".into(), Set::plain(client())));
    let mut batches = vec![start];
    batches.extend((0..BATCHES).map(|_| (0..=random.below(MOST_STEPS)).map(|_| step(&mut random)).collect()));
    batches
}

fn step(random: &mut Random) -> Step {
    let at = random.below(CHAINS.len());
    let (name, hook) = CHAINS[at];
    let (set, declaration) = sets().swap_remove(random.below(3));
    let number = random.below(6);
    match random.below(60) {
        0 => Step::AddTable,
        1 if number == 0 => Step::DeleteTable,
        1..4 => Step::AddSet(set.into(), declaration),
        4..6 => Step::DeleteSet(set.into()),
        6..10 => Step::AddChain(name.into(), hook),
        10..13 => Step::DeleteChain(name.into()),
        13..30 => rule(name, statements(random, at)),
        30..35 => flush(name),
        35..43 => goto(number as u16, CHAINS[random.below(CHAINS.len())].0),
        43..47 => Step::DeleteElements(of_services(), vec![service(number as u16, name)]),
        47..55 => slot(number as u32),
        _ => unslot(number as u32),
    }
}

/// The statements of a rule for chain number `at`.
fn statements(random: &mut Random, at: usize) -> Vec<Statement> {
    let later = CHAINS.get(at + 1 + random.below(CHAINS.len() - at)).map(|(name, _)| (*name).into());
    match (random.below(8), later) {
        (0, Some(chain)) => vec![Statement::Goto(chain)],
        (1, Some(chain)) => vec![tcp(), Statement::Jump(chain)],
        (2, _) if at < 2 => vec![Statement::is(Field::Nfproto, &[Ip::V4.nfproto()]), look_up_service()],
        (3, _) => vec![tcp(), dnat(Pick::Inc { modulus: 2, offset: 0 })],
        (4, _) => vec![Statement::Masquerade],
        (5, _) => vec![Statement::is(Field::Nfproto, &[2]), Statement::InSet(client(), "clients".into())],
        (6, _) => vec![Statement::RejectPort],
        _ => vec![Statement::Counter, Statement::Drop],
    }
}

fn sets() -> Vec<(&'static str, Set)> {
    vec![(SERVICES, services()), (SLOTS, slots()), ("clients", Set::plain(client()))]
}

fn client() -> Vec<Operand> {
    vec![Operand::Field(Field::Saddr(Ip::V4))]
}

/// Numbers from a seed (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}
