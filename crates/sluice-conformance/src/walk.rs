//! Random batches.

use super::objects::*;
use sluice_nft::{Base, Field, Ip, Octets, Operand, Set, SlotExpr, SourcePorts, Statement, Step};

const BATCHES: usize = 40;
const MOST_STEPS: usize = 4;

/// Base chains first. A chain leads only to later ones, so that there are no circles: kernels differ in how
/// they refuse those.
const CHAINS: [(&str, Option<Base>); 6] = [
    ("prerouting", Some(Base::PREROUTING)),
    ("postrouting", Some(Base::POSTROUTING)),
    ("input", Some(Base::INPUT)),
    ("c2", None),
    ("c3", None),
    ("pick", None),
];

pub(super) fn batches(seed: u64) -> Vec<Vec<Step>> {
    let mut random = Random(seed);
    let mut start = program();
    let bases = [base("postrouting", Base::POSTROUTING), base("input", Base::INPUT)];
    start.extend(bases.into_iter().chain([chain("c2"), chain("c3")]));
    start.extend([Step::AddSet("clients".into(), Set::plain(client())), add_seen(), add_deny()]);
    let mut batches = vec![start];
    batches.extend((0..BATCHES).map(|_| (0..=random.below(MOST_STEPS)).map(|_| step(&mut random)).collect()));
    batches
}

fn step(random: &mut Random) -> Step {
    let at = random.below(CHAINS.len());
    let (name, hook) = CHAINS[at];
    let (set, declaration) = sets().swap_remove(random.below(5));
    let number = random.below(6);
    match random.below(80) {
        0 => Step::AddTable,
        1 if number == 0 => Step::DeleteTable,
        1..5 => Step::AddSet(set.into(), declaration),
        5..8 => Step::DeleteSet(set.into()),
        8..12 => Step::AddChain(name.into(), hook),
        12..15 => Step::DeleteChain(name.into()),
        15..38 => rule(name, statements(random, at)),
        38..43 => flush(name),
        43..50 => goto(number as u16, CHAINS[random.below(CHAINS.len())].0),
        50..54 => Step::DeleteElements(of_services(), vec![service(number as u16, name)]),
        54..60 => slot(number as u32),
        60..66 => unslot(number as u32),
        66..74 => {
            let first = random.below(40) as u8;
            add_ranges([(first, first + random.below(8) as u8)])
        }
        _ => {
            let first = random.below(40) as u8;
            delete_range(first, first)
        }
    }
}

/// The statements of a rule for chain number `at`: all that sluice writes.
fn statements(random: &mut Random, at: usize) -> Vec<Statement> {
    let later = CHAINS.get(at + 1 + random.below(CHAINS.len() - at)).map(|(name, _)| (*name).into());
    let of_ipv4 = || Statement::is(Field::Nfproto, &[Ip::V4.nfproto()]);
    let address = |last| Octets::EMPTY.with(&[10, 0, 2, last]);
    match (random.below(19), later) {
        (0..3, Some(chain)) => vec![Statement::Goto(chain)],
        (3..5, Some(chain)) => vec![tcp(), Statement::Jump(chain)],
        (5, _) if at < 3 => vec![of_ipv4(), look_up_service()],
        (6, _) => vec![tcp(), dnat(SlotExpr::Inc { modulus: 2, offset: 0 })],
        (7, _) => vec![Statement::Masquerade],
        (8, _) => vec![of_ipv4(), Statement::InSet(client(), "clients".into())],
        (9, _) => vec![of_ipv4(), Statement::NotInSet(client(), "clients".into()), Statement::Accept],
        (10, _) => vec![of_ipv4(), see(), Statement::Drop],
        (11, _) => vec![of_ipv4(), Statement::NotInSet(seen().key, SEEN.into()), Statement::Notrack],
        (12, _) => vec![of_ipv4(), Statement::InSet(deny().key, DENY.into()), Statement::Drop],
        (13, _) => {
            let ports = if random.below(2) == 0 { SourcePorts::Random } else { SourcePorts::Keep };
            vec![of_ipv4(), Statement::Snat { ip: Ip::V4, first: address(1), last: address(2), ports }]
        }
        (14, _) => vec![Statement::RejectPort],
        (15, _) => vec![tcp(), Statement::RejectReset],
        (16, _) => vec![tcp(), Statement::Synproxy { mss: 1460 }],
        (17, _) => {
            let key = vec![Operand::Slot(SlotExpr::Inc { modulus: 2, offset: 0 })];
            vec![tcp(), Statement::SnatTo { ip: Ip::V4, key, map: SLOTS.into() }]
        }
        _ => vec![Statement::Counter, Statement::Drop],
    }
}

fn sets() -> Vec<(&'static str, Set)> {
    vec![
        (SERVICES, services()),
        (SLOTS, slots().sized(4)),
        ("clients", Set::plain(client())),
        (SEEN, seen()),
        (DENY, deny()),
    ]
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
