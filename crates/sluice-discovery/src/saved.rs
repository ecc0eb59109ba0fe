//! [`SavedAnswers`]: answers in the state directory, for the next run.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use sluice_core::model::{Answer, BackendName, BackendPort, Found, HostName, Lookup, Ports};
use sluice_nft::Ip;

use crate::state::LookupState;

/// The last good answers and their times, as JSON. Unknown fields are ignored, and so is an entry that is not understood.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedAnswers {
    #[serde(default, deserialize_with = "known")]
    answers: Vec<SavedAnswer>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SavedAnswer {
    lookup: SavedLookup,
    answered: Timestamp,
    backends: Vec<SavedFound>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SavedLookup {
    A(String),
    Aaaa(String),
    SrvA(String),
    SrvAaaa(String),
    File(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SavedFound {
    address: IpAddr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    port: Option<SavedPort>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backup: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_connections: Option<u32>,
}

/// A port, a range, or that of the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SavedPort {
    One(u16),
    Range([u16; 2]),
    Keep,
}

impl SavedAnswers {
    /// The answers of these lookups.
    pub(crate) fn of(states: &BTreeMap<Lookup, LookupState>) -> Self {
        let answers = states
            .iter()
            .filter_map(|(lookup, state)| Some((lookup, (state.answer.as_ref()?, state.answered?))));
        SavedAnswers::new(answers)
    }

    /// These answers.
    pub fn new<'a>(answers: impl IntoIterator<Item = (&'a Lookup, (&'a Arc<Answer>, Timestamp))>) -> Self {
        let save = |(lookup, (answer, answered)): (&Lookup, (&Arc<Answer>, Timestamp))| SavedAnswer {
            lookup: SavedLookup::from(lookup),
            answered,
            backends: answer.found.iter().map(SavedFound::from).collect(),
        };
        SavedAnswers { answers: answers.into_iter().map(save).collect() }
    }

    /// What [`crate::Discovery::restore`] takes. An entry that is invalid by now is left out.
    pub fn restored(self) -> BTreeMap<Lookup, (Arc<Answer>, Timestamp)> {
        let restore = |SavedAnswer { lookup, answered, backends }: SavedAnswer| {
            let found = backends.into_iter().map(SavedFound::found).collect::<Option<Vec<_>>>()?;
            Some((lookup.lookup()?, (Arc::new(Answer { found }), answered)))
        };
        self.answers.into_iter().filter_map(restore).collect()
    }
}

/// The entries that this version understands.
fn known<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<SavedAnswer>, D::Error> {
    let entries = Vec::<serde_json::Value>::deserialize(input)?;
    Ok(entries.into_iter().filter_map(|entry| serde_json::from_value(entry).ok()).collect())
}

impl From<&Lookup> for SavedLookup {
    fn from(lookup: &Lookup) -> Self {
        match lookup {
            Lookup::Host(name, Ip::V4) => SavedLookup::A(name.to_string()),
            Lookup::Host(name, Ip::V6) => SavedLookup::Aaaa(name.to_string()),
            Lookup::Srv(name, Ip::V4) => SavedLookup::SrvA(name.to_string()),
            Lookup::Srv(name, Ip::V6) => SavedLookup::SrvAaaa(name.to_string()),
            Lookup::Files(pattern) => SavedLookup::File(pattern.clone()),
        }
    }
}

impl SavedLookup {
    fn lookup(self) -> Option<Lookup> {
        let name = |name: &str| HostName::new(name).ok();
        Some(match self {
            SavedLookup::A(host) => Lookup::Host(name(&host)?, Ip::V4),
            SavedLookup::Aaaa(host) => Lookup::Host(name(&host)?, Ip::V6),
            SavedLookup::SrvA(host) => Lookup::Srv(name(&host)?, Ip::V4),
            SavedLookup::SrvAaaa(host) => Lookup::Srv(name(&host)?, Ip::V6),
            SavedLookup::File(pattern) => Lookup::Files(pattern),
        })
    }
}

impl From<&Found> for SavedFound {
    fn from(found: &Found) -> Self {
        let Found { address, port, name, weight, backup, max_connections } = found;
        let port = port.map(|port| match port {
            BackendPort::Keep => SavedPort::Keep,
            BackendPort::One(port) => SavedPort::One(port),
            BackendPort::Range(ports) => SavedPort::Range([ports.first, ports.last]),
        });
        let name = name.as_ref().map(ToString::to_string);
        let (weight, backup, max_connections) = (*weight, *backup, *max_connections);
        SavedFound { address: *address, port, name, weight, backup, max_connections }
    }
}

impl SavedFound {
    fn found(self) -> Option<Found> {
        let SavedFound { address, port, name, weight, backup, max_connections } = self;
        let port = match port {
            None => None,
            Some(SavedPort::Keep) => Some(BackendPort::Keep),
            Some(SavedPort::One(port)) => Some(BackendPort::One(port)),
            Some(SavedPort::Range([first, last])) if (1..=last).contains(&first) => {
                Some(BackendPort::Range(Ports { first, last }))
            }
            Some(SavedPort::Range(_)) => return None,
        };
        let name = match name {
            Some(name) => Some(BackendName::new(&name).ok()?),
            None => None,
        };
        Some(Found { address, port, name, weight, backup, max_connections })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn a_found() -> impl Strategy<Value = Found> {
        let port = prop_oneof![
            Just(BackendPort::Keep),
            any::<u16>().prop_map(BackendPort::One),
            (1u16.., 0u16..100).prop_map(|(first, more)| {
                BackendPort::Range(Ports { first, last: first.saturating_add(more) })
            }),
        ];
        let name = "[a-z][a-z0-9-]{0,10}[a-z]".prop_map(|name| BackendName::new(&name).unwrap());
        let (port, name) = (proptest::option::of(port), proptest::option::of(name));
        let fields = (any::<IpAddr>(), port, name, any::<Option<u16>>(), any::<Option<bool>>());
        (fields, any::<Option<u32>>()).prop_map(|((address, port, name, weight, backup), max_connections)| {
            Found { address, port, name, weight, backup, max_connections }
        })
    }

    fn a_lookup() -> impl Strategy<Value = Lookup> {
        let name = "[a-z_][a-z0-9_-]{0,20}\\.[a-z]{1,9}\\.?".prop_map(|name| HostName::new(&name).unwrap());
        let ip = prop_oneof![Just(Ip::V4), Just(Ip::V6)];
        prop_oneof![
            (name.clone(), ip.clone()).prop_map(|(name, ip)| Lookup::Host(name, ip)),
            (name, ip).prop_map(|(name, ip)| Lookup::Srv(name, ip)),
            "/[a-z]{1,9}/[*a-z]{1,9}\\.yaml".prop_map(|pattern| Lookup::Files(pattern.into())),
        ]
    }

    proptest! {
        #[test]
        fn saved_answers_when_restored_are_the_same(
            saved in proptest::collection::btree_map(
                a_lookup(), (proptest::collection::vec(a_found(), 0..9), 0i64..4_000_000_000), 0..9,
            ),
        ) {
            let answers: BTreeMap<_, _> = saved.into_iter().map(|(lookup, (found, second))| {
                (lookup, (Arc::new(Answer { found }), Timestamp::from_second(second).unwrap()))
            }).collect();
            let saved = SavedAnswers::new(answers.iter().map(|(lookup, (answer, at))| (lookup, (answer, *at))));
            let text = serde_json::to_string(&saved).unwrap();
            let read: SavedAnswers = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(read.restored(), answers);
        }
    }

    #[test]
    fn saved_answers_of_a_newer_version_are_restored_without_what_is_unknown() {
        let text = r#"{
            "version": 2,
            "answers": [
                {"lookup": {"a": "web.example"}, "answered": "2026-01-01T00:00:00Z", "ttl": 5,
                 "backends": [{"address": "10.0.0.1", "port": {"one": 80}, "zone": "b"}]},
                {"lookup": {"https": "web.example"}, "answered": "2026-01-01T00:00:00Z", "backends": []},
                {"lookup": {"a": "not a name"}, "answered": "2026-01-01T00:00:00Z", "backends": []}
            ]
        }"#;
        let restored = serde_json::from_str::<SavedAnswers>(text).unwrap().restored();
        let lookups: Vec<_> = restored.keys().map(ToString::to_string).collect();
        assert_eq!(lookups, ["A web.example"]);
        let (answer, _) = restored.values().next().unwrap();
        assert_eq!(answer.found[0].port, Some(BackendPort::One(80)));
        assert_eq!(serde_json::from_str::<SavedAnswers>("{}").unwrap(), SavedAnswers::default());
    }
}
