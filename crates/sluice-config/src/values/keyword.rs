//! Values that are one of a few keywords.

use serde_json::{Value, json};
use sluice_core::model::{
    Forwarding, Initial, Midstream, OnDeny, OnDown, OnEmpty, OnFull, OnStop, Scheduler, SourcePorts,
};
use sluice_core::render::maglev::DEFAULT_TABLE_SIZE;

use crate::problem::Fault;
use crate::read::{Leaf, Scalar, unknown};

/// A type that is written as a keyword.
pub(crate) trait Keyword: Copy {
    /// As [`Leaf::EXPECTED`].
    const EXPECTED: &'static str;
    /// What an unknown keyword is called.
    const WHAT: &'static str = "value";

    fn words() -> Vec<(&'static str, Self)>;
}

impl<T: Keyword> Leaf for T {
    const EXPECTED: &'static str = T::EXPECTED;

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        parse_keyword(scalar, T::WHAT, &T::words())
    }

    fn schema() -> Value {
        json!({ "enum": T::words().into_iter().map(|(word, _)| word).collect::<Vec<_>>() })
    }
}

pub(crate) fn parse_keyword<T: Copy>(
    scalar: Scalar<'_>,
    what: &str,
    known: &[(&'static str, T)],
) -> Result<T, Fault> {
    let found = match scalar {
        Scalar::Text(text) => text.to_owned(),
        other => other.to_string().trim_matches('`').to_owned(),
    };
    match known.iter().find(|(word, _)| *word == found) {
        Some((_, value)) => Ok(*value),
        None => Err(unknown(what, &found, &known.iter().map(|(word, _)| *word).collect::<Vec<_>>())),
    }
}

/// `invalid`: what happens to packets that conntrack calls invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Invalid {
    Accept,
    Drop,
}

/// One element of `hash.on`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HashPart {
    Address,
    Port,
}

macro_rules! choices {
    ($($type:ident, $expected:literal: $($word:literal => $value:ident),+;)+) => {$(
        impl Keyword for $type {
            const EXPECTED: &'static str = $expected;

            fn words() -> Vec<(&'static str, Self)> {
                vec![$(($word, $type::$value)),+]
            }
        }
    )+};
}

choices! {
    Forwarding, "manage, require or ignore": "manage" => Manage, "require" => Require, "ignore" => Ignore;
    OnStop, "remove or keep": "remove" => Remove, "keep" => Keep;
    Midstream, "ignore or adopt": "ignore" => Ignore, "adopt" => Adopt;
    OnDeny, "keep or reset": "keep" => Keep, "reset" => Reset;
    SourcePorts, "random or keep": "random" => Random, "keep" => Keep;
    OnDown, "keep or reset": "keep" => Keep, "reset" => Reset;
    OnEmpty, "reject, drop or use-all": "reject" => Reject, "drop" => Drop, "use-all" => UseAll;
    Initial, "up or down": "up" => Up, "down" => Down;
    Invalid, "accept or drop": "accept" => Accept, "drop" => Drop;
    HashPart, "source-address or source-port": "source-address" => Address, "source-port" => Port;
}

impl Keyword for OnFull {
    const EXPECTED: &'static str = "accept or drop";

    fn words() -> Vec<(&'static str, Self)> {
        [OnFull::Accept, OnFull::Drop].map(|on_full| (on_full.as_str(), on_full)).to_vec()
    }
}

/// The hash and the table size are placeholders here; `hash` sets them.
impl Keyword for Scheduler {
    const EXPECTED: &'static str = "round-robin, random, source-hash, maglev, least-connections or first";
    const WHAT: &'static str = "scheduler";

    fn words() -> Vec<(&'static str, Self)> {
        let known = [
            Scheduler::RoundRobin,
            Scheduler::Random,
            Scheduler::SourceHash(Default::default()),
            Scheduler::Maglev(Default::default(), DEFAULT_TABLE_SIZE),
            Scheduler::LeastConnections,
            Scheduler::First,
        ];
        known.map(|scheduler| (scheduler.as_str(), scheduler)).to_vec()
    }
}
