//! Requests for our table and its objects, and decoding of the answers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::c_int;
use std::thread;
use std::time::Duration;

use nftnl::nftnl_sys::libc;
use nix::errno::Errno;
use sluice_nft::{
    Base, Chain, ChainName, Counter, Data, Element, Hook, Key, Kind, Object, Owner, ReadError, Set, SetName,
    Table, TableFlags,
};

use crate::attr::{Attributes, Write};
use crate::element;
use crate::message;
use crate::object;
use crate::rule;
use crate::set;
use crate::socket::{Dumped, Socket};
use crate::target::Target;
use crate::uapi;

const TABLE: &str = Target::SLUICE.name;

/// Maximum number of attempts if the ruleset changes during a dump.
pub(crate) const ATTEMPTS: u32 = 20;

/// Pause before an attempt, multiplied by the number of previous attempts.
const PAUSE: Duration = Duration::from_millis(2);

/// Elements per request. Their answers, one datagram each, must fit into the receive buffer.
const KEYS: usize = 64;

/// The numbers of attempts, with a pause before each except the first.
pub(crate) fn attempts() -> impl Iterator<Item = u32> {
    (0..ATTEMPTS).inspect(|attempt| thread::sleep(PAUSE * *attempt))
}

type Elements = BTreeMap<Key, Element>;

type Counts = BTreeMap<Key, Counter>;

/// Why a read stopped.
pub(crate) enum Stop {
    /// Our table changed during the read.
    Changed,
    Failed(ReadError),
}

/// Properties of the table itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) flags: TableFlags,
    pub(crate) dormant: bool,
    /// Number of chains, sets and other objects in it.
    uses: u32,
}

/// Number of the last commit by any program.
pub(crate) fn generation(socket: &mut Socket) -> Result<u32, Errno> {
    let mut generation = None;
    socket.ask(message::start(libc::NFT_MSG_GETGEN, libc::NLM_F_ACK), |answer| {
        generation = message::attributes(answer).u32(uapi::generation::ID);
    })?;
    generation.ok_or(Errno::EBADMSG)
}

/// Whether a table with this name exists.
pub(crate) fn has_table(socket: &mut Socket, name: &str) -> Result<bool, Errno> {
    let mut question = message::start(libc::NFT_MSG_GETTABLE, libc::NLM_F_ACK);
    question.put_text(uapi::table::NAME, name);
    match socket.ask(question, |_| {}) {
        Ok(_) => Ok(true),
        Err(Errno::ENOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Properties of the table; `None` if it does not exist. `us` is the netlink port that sends our commits.
pub(crate) fn header(socket: &mut Socket, us: u32) -> Result<Option<Header>, Errno> {
    let mut question = message::start(libc::NFT_MSG_GETTABLE, libc::NLM_F_ACK);
    question.put_text(uapi::table::NAME, TABLE);
    let mut header = None;
    let asked = socket.ask(question, |answer| {
        let attributes = message::attributes(answer);
        let flags = attributes.u32(uapi::table::FLAGS).unwrap_or(0);
        let port = attributes.u32(uapi::table::OWNER);
        let owner = port.map(|port| if port == us { Owner::Us } else { Owner::Port(port) });
        header = Some(Header {
            flags: TableFlags { owner, persist: flags & uapi::table::PERSIST != 0 },
            dormant: flags & uapi::table::DORMANT != 0,
            uses: attributes.u32(uapi::table::USES).unwrap_or(0),
        });
    });
    match asked {
        Ok(_) => Ok(header),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Sends requests on a socket. A dump is correct if our table did not change during it, whatever happened to other tables:
/// the kernel resumes a dump by position, and, except for chains, counts only objects of our table.
pub(crate) struct Reader<'a> {
    pub(crate) socket: &'a mut Socket,
    /// Netlink port that sends our commits.
    pub(crate) us: u32,
}

impl Reader<'_> {
    pub(crate) fn generation(&mut self) -> Result<u32, Stop> {
        generation(self.socket).map_err(|errno| failed("read the generation of nf_tables", errno))
    }

    pub(crate) fn header(&mut self) -> Result<Option<Header>, Stop> {
        header(self.socket, self.us).map_err(|errno| failed(format!("read table {}", Table::NAME), errno))
    }

    /// The table without the elements of its sets.
    pub(crate) fn table(&mut self, header: Header) -> Result<Table, Stop> {
        let (sets, number) = self.declarations()?;
        let objects = self.stateful_objects()?;
        let mut chains = self.chains(header.uses.saturating_sub(number + objects.len() as u32))?;
        self.rules(&mut chains)?;
        Ok(Table { sets, chains, objects, dormant: header.dormant })
    }

    fn stateful_objects(&mut self) -> Result<BTreeSet<Object>, Stop> {
        let mut objects = BTreeSet::new();
        self.dump(libc::NFT_MSG_GETOBJ, uapi::object::TABLE, |answer| {
            objects.extend(object::decode(message::attributes(answer)));
        })?;
        Ok(objects)
    }

    /// All named sets, without elements, and the number of all sets including anonymous ones.
    pub(crate) fn declarations(&mut self) -> Result<(BTreeMap<SetName, Set>, u32), Stop> {
        let (mut sets, mut number) = (BTreeMap::new(), 0);
        self.dump(libc::NFT_MSG_GETSET, uapi::set::TABLE, |answer| {
            sets.extend(set::decode(message::attributes(answer)));
            number += 1;
        })?;
        Ok((sets, number))
    }

    /// All chains, without rules. The positions of this dump count chains of all tables of our family: if other chains are
    /// added or deleted, it may miss some of ours, and is repeated until `number` chains were seen.
    fn chains(&mut self, number: u32) -> Result<BTreeMap<ChainName, Chain>, Stop> {
        let mut chains = BTreeMap::new();
        for _ in attempts() {
            let dumped = self.dump(libc::NFT_MSG_GETCHAIN, uapi::chain::TABLE, |answer| {
                chains.extend(chain(answer));
            })?;
            if dumped == Dumped::Whole || chains.len() as u32 == number {
                return Ok(chains);
            }
        }
        Err(Stop::Changed)
    }

    fn rules(&mut self, chains: &mut BTreeMap<ChainName, Chain>) -> Result<(), Stop> {
        // Rules arrive chain by chain.
        let mut current: Option<(ChainName, Vec<_>)> = None;
        let mut lists = Vec::new();
        self.dump(libc::NFT_MSG_GETRULE, uapi::rule::TABLE, |answer| {
            let Some(name) = message::attributes(answer).text(uapi::rule::CHAIN) else { return };
            let rule = rule::decode(answer);
            match &mut current {
                Some((chain, rules)) if chain.as_str() == name => rules.push(rule),
                _ => lists.extend(current.replace((name.into(), vec![rule]))),
            }
        })?;
        for (chain, rules) in lists.into_iter().chain(current) {
            if let Some(chain) = chains.get_mut(&chain) {
                chain.rules.extend(rules);
            }
        }
        Ok(())
    }

    /// One chain with its rules; `None` if it does not exist.
    pub(crate) fn chain(&mut self, name: &ChainName) -> Result<Option<Chain>, Stop> {
        let mut question = message::start(libc::NFT_MSG_GETCHAIN, libc::NLM_F_ACK);
        question.put_text(uapi::chain::TABLE, TABLE);
        question.put_text(uapi::chain::NAME, name.as_str());
        let what = || format!("read chain {} {name}", Table::NAME);
        let found = self.one(question, what, chain)?;
        let Some((_, mut chain)) = found else { return Ok(None) };
        let mut question = message::start(libc::NFT_MSG_GETRULE, libc::NLM_F_DUMP);
        question.put_text(uapi::rule::TABLE, TABLE);
        question.put_text(uapi::rule::CHAIN, name.as_str());
        let each = |answer: &[u8]| chain.rules.push(rule::decode(answer));
        ask(self.socket, question, || format!("dump rules of {} {name}", Table::NAME), each)?;
        Ok(Some(chain))
    }

    /// The declaration of one set; `None` if it does not exist.
    pub(crate) fn declaration(&mut self, name: &SetName) -> Result<Option<Set>, Stop> {
        let mut question = message::start(libc::NFT_MSG_GETSET, libc::NLM_F_ACK);
        question.put_text(uapi::set::TABLE, TABLE);
        question.put_text(uapi::set::NAME, name.as_str());
        let what = || format!("read set {} {name}", Table::NAME);
        let found = self.one(question, what, |answer| set::decode(message::attributes(answer)))?;
        Ok(found.map(|(_, set)| set))
    }

    /// The elements of a set with these keys, as far as they exist. For a key of a set of ranges, the kernel
    /// returns the range that contains it, wherever the range begins. `keys` is sorted.
    pub(crate) fn elements_of(&mut self, name: &SetName, set: &Set, keys: &[Key]) -> Result<Elements, Stop> {
        let mut elements = BTreeMap::new();
        let mut rest = keys;
        while !rest.is_empty() {
            let asked = &rest[..rest.len().min(KEYS)];
            let question = element::question(TABLE, name, set, asked);
            let mut answered = 0;
            let answer = self.socket.ask(question, |answer| {
                answered += 1;
                element::decode(message::attributes(answer), set, &HashMap::new(), |(key, data, _)| {
                    if keys.binary_search(&key).is_ok() {
                        elements.insert(key, element(data));
                    }
                });
            });
            rest = match answer {
                Ok(_) => &rest[asked.len()..],
                // The kernel answers in order, and stops at the first key that does not exist.
                Err(Errno::ENOENT) => rest.get(answered + 1..).unwrap_or_default(),
                Err(errno) => return Err(failed(format!("read elements of {} {name}", Table::NAME), errno)),
            };
        }
        Ok(elements)
    }

    /// All elements of a set, and their counters.
    pub(crate) fn elements(
        &mut self,
        name: &SetName,
        set: &Set,
        chains: &HashMap<&str, ChainName>,
    ) -> Result<(Elements, Counts), Stop> {
        for _ in attempts() {
            let (mut elements, mut counters) = (Vec::new(), Vec::new());
            self.dump_elements(name, |answer| {
                element::decode(message::attributes(answer), set, chains, |(key, data, counter)| {
                    elements.push((key, element(data)));
                    counters.extend(counter.map(|counter| (key, counter)));
                });
            })?;
            let dumped = elements.len();
            let elements: Elements = elements.into_iter().collect();
            if elements.len() == dumped {
                return Ok((elements, counters.into_iter().collect()));
            }
        }
        Err(Stop::Changed)
    }

    /// The counters of a set's elements, in key order.
    pub(crate) fn counters(&mut self, name: &SetName) -> Result<Vec<(Key, Counter)>, Stop> {
        for _ in attempts() {
            let mut counters = Vec::new();
            self.dump_elements(name, |answer| element::counts(message::attributes(answer), &mut counters))?;
            let dumped = counters.len();
            counters.sort_unstable_by_key(|(key, _)| *key);
            counters.dedup_by_key(|(key, _)| *key);
            if counters.len() == dumped {
                return Ok(counters);
            }
        }
        Err(Stop::Changed)
    }

    /// After a commit, the kernel resizes the hash table of a set in the background. It resumes a dump by
    /// position, so an element that moves is dumped twice or not at all. If one element is missing, another
    /// one is dumped twice.
    fn dump_elements(&mut self, name: &SetName, each: impl FnMut(&[u8])) -> Result<(), Stop> {
        let mut question = message::start(libc::NFT_MSG_GETSETELEM, libc::NLM_F_DUMP);
        question.put_text(uapi::element::TABLE, TABLE);
        question.put_text(uapi::element::SET, name.as_str());
        ask(self.socket, question, || format!("dump elements of {} {name}", Table::NAME), each).map(drop)
    }

    /// Dumps all objects of a kind in our table; `table` is the attribute with the name of the table.
    fn dump(&mut self, kind: c_int, table: u16, mut each: impl FnMut(&[u8])) -> Result<Dumped, Stop> {
        let mut question = message::start(kind, libc::NLM_F_DUMP);
        question.put_text(table, TABLE);
        let each = |answer: &[u8]| {
            // The kernel does not filter by table for every kind.
            if message::attributes(answer).text(table) == Some(TABLE) {
                each(answer);
            }
        };
        ask(self.socket, question, || format!("dump {} of {}", plural(kind), Table::NAME), each)
    }

    /// Requests one object; `None` if it does not exist.
    fn one<T>(
        &mut self,
        question: Vec<u8>,
        operation: impl FnOnce() -> String,
        decode: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, Stop> {
        let mut found = None;
        match self.socket.ask(question, |answer| found = decode(answer)) {
            Ok(_) => Ok(found),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(failed(operation(), errno)),
        }
    }
}

/// Sends a request for a dump. ENOENT means that the object existed a moment ago: the table changed.
fn ask(
    socket: &mut Socket,
    question: Vec<u8>,
    operation: impl FnOnce() -> String,
    each: impl FnMut(&[u8]),
) -> Result<Dumped, Stop> {
    match socket.ask(question, each) {
        Ok(dumped) => Ok(dumped),
        Err(Errno::ENOENT) => Err(Stop::Changed),
        Err(errno) => Err(failed(operation(), errno)),
    }
}

fn plural(kind: c_int) -> &'static str {
    match kind {
        libc::NFT_MSG_GETCHAIN => "chains",
        libc::NFT_MSG_GETRULE => "rules",
        _ => "sets",
    }
}

fn element(data: Data) -> Element {
    Element { data }
}

/// The chain of a message, without rules; `None` for an anonymous chain of a foreign rule.
pub(crate) fn chain(answer: &[u8]) -> Option<(ChainName, Chain)> {
    let attributes = message::attributes(answer);
    let is_bound = attributes.u32(uapi::chain::FLAGS).unwrap_or(0) & uapi::chain::BINDING != 0;
    let name = ChainName::from(attributes.text(uapi::chain::NAME).filter(|_| !is_bound)?);
    let base = attributes.nested(uapi::chain::HOOK).map(|hook| base(attributes, hook));
    Some((name, Chain { base, rules: vec![] }))
}

fn base(attributes: Attributes<'_>, hook: Attributes<'_>) -> Base {
    let number = hook.u32(uapi::chain::HOOK_NUMBER);
    let priority = hook.u32(uapi::chain::HOOK_PRIORITY).unwrap_or(0) as i32;
    let (kind, policy) = (attributes.text(uapi::chain::TYPE), attributes.u32(uapi::chain::POLICY));
    let ours = [Kind::Nat, Kind::Filter].into_iter().find(|known| kind == Some(known.keyword()));
    let hook = [Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting]
        .into_iter()
        .filter(|hook| hook.number() == number && ours.is_some())
        .find(|_| policy == Some(libc::NF_ACCEPT as u32))
        .unwrap_or(Hook::Foreign);
    Base { kind: ours.unwrap_or(Kind::Filter), hook, priority }
}

pub(crate) fn failed(operation: impl Into<String>, errno: Errno) -> Stop {
    Stop::Failed(ReadError { operation: operation.into(), errno: sluice_nft::Errno(errno as i32) })
}
