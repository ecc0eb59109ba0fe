//! Tests whether the kernel has the features that sluice needs.

use std::fmt;

use nix::errno::Errno;
use sluice_nft::{
    Base, Comparison, Field, Ip, Operand, Rate, Rule, Set, SetUpdate, SlotExpr, Statement, Step,
};

use crate::batch::Packed;
use crate::commit::send;
use crate::dump;
use crate::open::{OpenError, open_writer};
use crate::socket::Socket;
use crate::step::Position;
use crate::target::Target;

/// Names of the temporary table, which exists only within a commit: the first unused name is taken.
const TABLES: [&str; 8] = [
    "sluice-probe",
    "sluice-probe-1",
    "sluice-probe-2",
    "sluice-probe-3",
    "sluice-probe-4",
    "sluice-probe-5",
    "sluice-probe-6",
    "sluice-probe-7",
];

/// Name of its sets and chains.
const NAME: &str = "trial";

/// A feature that sluice needs and this kernel lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The feature, by its name in nft.
    pub what: &'static str,
    /// The kernel options of the feature.
    pub options: &'static str,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no {} (kernel option {})", self.what, self.options)
    }
}

/// The features could not be tested.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// nf_tables can't be used at all.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The kernel rejected a trial for another reason than a missing feature.
    #[error("try {what} in nf_tables")]
    Refused {
        /// The feature that was tried.
        what: &'static str,
        /// The error of the system.
        source: std::io::Error,
    },
}

/// Tries all features that sluice uses, in tables that are created and deleted in one commit, and returns
/// the missing ones.
pub fn probe() -> Result<Vec<Missing>, ProbeError> {
    attempt(&trials())
}

fn attempt(trials: &[Trial]) -> Result<Vec<Missing>, ProbeError> {
    let steps: Vec<Step> = trials.iter().flat_map(Trial::steps).collect();
    let owners: Vec<Missing> = trials.iter().flat_map(|trial| trial.steps().map(|_| trial.missing)).collect();

    let (mut socket, limit) = open_writer()?;
    let all = Missing { what: "all trials", options: "" };
    let table = free_table(&mut socket, 0).map_err(|errno| all.refused(errno))?;
    let packed = Packed::fill(table, &steps, Position::START, limit, false).ok().flatten();
    let (packed, _) = packed.expect("trials hold nothing foreign");
    let batch = packed.seal();
    let refusals = send(&mut socket, &batch, None, |_| {}).map_err(|errno| all.refused(errno))?;

    let mut missing: Vec<Missing> = Vec::new();
    for (sequence, refusal) in refusals {
        let tried = batch.about(sequence).map_or(all, |about| owners[about.first.step]);
        // After a rejected step, the later steps of the trial fail because of it.
        if missing.last() != Some(&tried) {
            missing.push(tried.classify(refusal.errno)?);
        }
        // Without tables no other feature can be tried.
        if tried == owners[0] {
            break;
        }
    }
    Ok(missing)
}

/// Whether the kernel accepts a table with these `NFT_TABLE_F_*`.
pub(crate) fn takes(socket: &mut Socket, limit: usize, flags: u32) -> Result<bool, Errno> {
    let steps = [Step::AddTable, Step::DeleteTable];
    let table = free_table(socket, flags)?;
    let packed = Packed::fill(table, &steps, Position::START, limit, false).ok().flatten();
    let (packed, _) = packed.expect("a trial holds nothing foreign");
    Ok(send(socket, &packed.seal(), None, |_| {})?.is_empty())
}

/// A table that does not exist yet, with these flags. If all names are in use, the trial fails with EEXIST.
fn free_table(socket: &mut Socket, flags: u32) -> Result<Target, Errno> {
    let (last, others) = TABLES.split_last().expect("there are some");
    for name in others {
        if !dump::has_table(socket, name)? {
            return Ok(Target { name, flags });
        }
    }
    Ok(Target { name: last, flags })
}

impl Missing {
    /// Classifies the error of a trial. The kernel looks up families, chain types and expressions by
    /// name, loads their modules, and returns an error if there is none.
    fn classify(self, errno: Errno) -> Result<Missing, ProbeError> {
        match errno {
            Errno::ENOENT | Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT => Ok(self),
            Errno::EPERM | Errno::EACCES => Err(OpenError::of(errno).into()),
            errno => Err(self.refused(errno)),
        }
    }

    fn refused(self, errno: Errno) -> ProbeError {
        ProbeError::Refused { what: self.what, source: errno.into() }
    }
}

/// The trial of one feature, in its own table.
struct Trial {
    missing: Missing,
    inside: Vec<Step>,
}

impl Trial {
    fn new(what: &'static str, options: &'static str, inside: impl Into<Vec<Step>>) -> Self {
        Trial { missing: Missing { what, options }, inside: inside.into() }
    }

    /// One rule, in a chain without references.
    fn of_rule(what: &'static str, options: &'static str, statements: impl Into<Vec<Statement>>) -> Self {
        let rule = Step::AddRule(NAME.into(), Rule(statements.into()));
        Trial::new(what, options, [Step::AddChain(NAME.into(), None), rule])
    }

    /// The same, with a set in the table.
    fn with_set(mut self, set: Set) -> Self {
        self.inside.insert(0, Step::AddSet(NAME.into(), set));
        self
    }

    fn steps(&self) -> impl Iterator<Item = Step> {
        let inside = self.inside.iter().cloned();
        [Step::AddTable].into_iter().chain(inside).chain([Step::DeleteTable])
    }
}

/// All trials; the first one is for tables.
fn trials() -> Vec<Trial> {
    let slot = |pick| vec![Operand::Slot(pick)];
    let inc = || slot(SlotExpr::Inc { modulus: 2, offset: 0 });
    let hash = || slot(SlotExpr::Jhash { on: vec![Field::Saddr(Ip::V4)], modulus: 2, seed: 1, offset: 0 });
    let backend = || [Field::Daddr(Ip::V4), Field::Dport].map(Operand::Field).to_vec();
    let client = || vec![Operand::Field(Field::Saddr(Ip::V4))];
    let rate = Rate { packets: 1, unit: 1, burst: 5 };
    let local = Field::LOCAL.to_ne_bytes();
    let nat = Base::PREROUTING;
    vec![
        Trial::new("inet tables", "CONFIG_NF_TABLES_INET", []),
        Trial::new("nat chains", "CONFIG_NFT_NAT", [Step::AddChain(NAME.into(), Some(nat))]),
        Trial::of_rule("counter", "CONFIG_NFT_COUNTER", [Statement::Counter]),
        Trial::of_rule("numgen", "CONFIG_NFT_NUMGEN", [Statement::InSet(inc(), NAME.into())])
            .with_set(Set::plain(inc())),
        Trial::of_rule("jhash", "CONFIG_NFT_HASH", [Statement::InSet(hash(), NAME.into())])
            .with_set(Set::plain(inc())),
        Trial::of_rule(
            "dnat to a map",
            "CONFIG_NFT_NAT",
            [Statement::Dnat { ip: Ip::V4, key: backend(), map: NAME.into(), port: true }],
        )
        .with_set(Set::counted_map(backend(), backend())),
        Trial::of_rule(
            "limit in a set",
            "CONFIG_NFT_LIMIT",
            [Statement::Update { key: client(), set: NAME.into(), update: SetUpdate::LimitOver(rate) }],
        )
        .with_set(Set::dynamic(client(), 2, Some(1))),
        Trial::of_rule(
            "ct count in a set",
            "CONFIG_NFT_CONNLIMIT",
            [Statement::Update { key: client(), set: NAME.into(), update: SetUpdate::CtCountOver(1) }],
        )
        .with_set(Set::dynamic(client(), 2, None)),
        Trial::of_rule("masquerade", "CONFIG_NFT_MASQ", [Statement::Masquerade]),
        Trial::of_rule(
            "ct",
            "CONFIG_NFT_CT",
            [Statement::Match(Field::CtStatus, Comparison::AnyBit(Field::DNAT))],
        ),
        Trial::of_rule("fib", "CONFIG_NFT_FIB_INET", [Statement::is(Field::FibDaddrType, &local)]),
        Trial::of_rule("reject", "CONFIG_NFT_REJECT_INET", [Statement::RejectPort]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{in_namespace, nft_prints};

    const NUMGEN: Missing = Missing { what: "numgen", options: "CONFIG_NFT_NUMGEN" };

    #[test]
    fn judge_refusal_for_want_of_a_module_names_the_option() {
        for errno in [Errno::ENOENT, Errno::EOPNOTSUPP, Errno::EAFNOSUPPORT] {
            let missing = NUMGEN.classify(errno).expect("it is missing");
            assert_eq!(missing.to_string(), "no numgen (kernel option CONFIG_NFT_NUMGEN)");
        }
    }

    #[test]
    fn judge_refusal_for_want_of_a_capability_says_so() {
        match NUMGEN.classify(Errno::EPERM) {
            Err(ProbeError::Open(error)) => assert!(error.is_permission()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn judge_other_refusal_is_no_missing_option() {
        for errno in [Errno::ENOMEM, Errno::EEXIST, Errno::EINVAL] {
            assert!(matches!(NUMGEN.classify(errno), Err(ProbeError::Refused { what: "numgen", .. })));
        }
    }

    #[test]
    fn probe_on_a_kernel_with_everything_finds_nothing_and_leaves_nothing() {
        in_namespace(|| {
            assert_eq!(probe().expect("nf_tables answers"), []);
            assert_eq!(nft_prints(&["list", "ruleset"]), "");
        });
    }

    #[test]
    fn probe_beside_tables_of_the_trials_names_takes_another_and_leaves_theirs() {
        in_namespace(|| {
            for name in &TABLES[..2] {
                nft_prints(&["add", "table", "inet", name]);
            }
            assert_eq!(probe().expect("nf_tables answers"), []);
            let (mut socket, limit) = open_writer().expect("open nf_tables");
            assert!(takes(&mut socket, limit, 0).expect("nf_tables answers"));
            let theirs = "table inet sluice-probe {\n}\ntable inet sluice-probe-1 {\n}\n";
            assert_eq!(nft_prints(&["list", "ruleset"]), theirs);
        });
    }

    #[test]
    fn probe_with_something_missing_finds_only_that_and_leaves_nothing() {
        in_namespace(|| {
            let key = vec![Operand::Field(Field::Dport)];
            let lookup = Statement::InSet(key, "no-such-set".into());
            let mut trials = trials();
            trials.insert(4, Trial::of_rule("teleport", "CONFIG_NFT_TELEPORT", [lookup]));
            let missing = attempt(&trials).expect("nf_tables answers");
            assert_eq!(missing, [Missing { what: "teleport", options: "CONFIG_NFT_TELEPORT" }]);
            assert_eq!(nft_prints(&["list", "ruleset"]), "");
        });
    }
}
