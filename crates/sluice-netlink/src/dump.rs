//! Our table as the kernel has it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::c_int;
use std::thread;
use std::time::Duration;

use nftnl::nftnl_sys::libc;
use nix::errno::Errno;
use sluice_nft::{
    Base, Chain, ChainName, Counters, Element, Hook, Object, Origin, Owner, ReadError, Set, SetName,
    Snapshot, Table, TableFlags,
};

use crate::attr::{Attributes, Write};
use crate::element;
use crate::message;
use crate::object;
use crate::rule;
use crate::set;
use crate::socket::{Dumped, Socket};
use crate::step::Target;
use crate::uapi;

const TABLE: &str = Target::SLUICE.name;

/// How often a read starts over because somebody changed the ruleset meanwhile.
const ATTEMPTS: u32 = 10;

/// Waited before an attempt, times the number of attempts before it.
const PAUSE: Duration = Duration::from_millis(2);

/// Number of the last commit by anybody.
pub(crate) fn generation(socket: &mut Socket) -> Result<u32, Errno> {
    let mut generation = None;
    socket.ask(message::start(libc::NFT_MSG_GETGEN, libc::NLM_F_ACK), |answer| {
        generation = message::attributes(answer).u32(uapi::generation::ID);
    })?;
    generation.ok_or(Errno::EBADMSG)
}

/// Everything of our table, as of one generation.
/// `us` is the port that commits are sent from.
pub(crate) fn read(socket: &mut Socket, us: u32) -> Result<Snapshot, ReadError> {
    for attempt in 0..ATTEMPTS {
        thread::sleep(PAUSE * attempt);
        match (Reader { socket, us }).read() {
            Ok(snapshot) => return Ok(snapshot),
            Err(Stop::Changed) => {}
            Err(Stop::Failed(error)) => return Err(error),
        }
    }
    let operation = format!("read table {} while it changes", Table::NAME);
    Err(ReadError { operation, errno: sluice_nft::Errno(Errno::EINTR as i32) })
}

/// One attempt.
struct Reader<'a> {
    socket: &'a mut Socket,
    us: u32,
}

/// Why an attempt ends early.
enum Stop {
    /// The ruleset changed meanwhile.
    Changed,
    Failed(ReadError),
}

impl Reader<'_> {
    fn read(&mut self) -> Result<Snapshot, Stop> {
        let generation = self.generation()?;
        let mut counters = Counters::new();
        let (table, flags) = match self.table()? {
            None => (None, TableFlags::default()),
            Some((flags, dormant)) => {
                let mut chains = self.chains()?;
                self.rules(&mut chains)?;
                let sets = self.sets(&chains, &mut counters)?;
                (Some(Table { sets, chains, objects: self.stateful_objects()?, dormant }), flags)
            }
        };
        match self.generation()? == generation {
            true => Ok(Snapshot { table, counters, flags, generation }),
            false => Err(Stop::Changed),
        }
    }

    fn generation(&mut self) -> Result<u32, Stop> {
        generation(self.socket).map_err(|errno| failed("read the generation of nf_tables", errno))
    }

    /// The table's flags, and whether it is dormant; `None` if there is no table.
    fn table(&mut self) -> Result<Option<(TableFlags, bool)>, Stop> {
        let mut question = message::start(libc::NFT_MSG_GETTABLE, libc::NLM_F_ACK);
        question.put_text(uapi::table::NAME, TABLE);
        let (mut flags, mut port) = (0, None);
        let asked = self.socket.ask(question, |answer| {
            flags = message::attributes(answer).u32(uapi::table::FLAGS).unwrap_or(0);
            port = message::attributes(answer).u32(uapi::table::OWNER);
        });
        let owner = port.map(|port| if port == self.us { Owner::Us } else { Owner::Port(port) });
        match asked {
            Ok(_) => Ok(Some((
                TableFlags { owner, persist: flags & uapi::table::PERSIST != 0 },
                flags & uapi::table::DORMANT != 0,
            ))),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(failed(format!("read table {}", Table::NAME), errno)),
        }
    }

    fn chains(&mut self) -> Result<BTreeMap<ChainName, Chain>, Stop> {
        let mut chains = BTreeMap::new();
        self.dump(libc::NFT_MSG_GETCHAIN, uapi::chain::TABLE, |answer| {
            let attributes = message::attributes(answer);
            let is_bound = attributes.u32(uapi::chain::FLAGS).unwrap_or(0) & uapi::chain::BINDING != 0;
            if let Some(name) = attributes.text(uapi::chain::NAME).filter(|_| !is_bound) {
                let base = attributes.nested(uapi::chain::HOOK).map(|hook| base(attributes, hook));
                chains.insert(ChainName::from(name), Chain { base, rules: vec![] });
            }
        })?;
        Ok(chains)
    }

    fn rules(&mut self, chains: &mut BTreeMap<ChainName, Chain>) -> Result<(), Stop> {
        // Rules come chain by chain.
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

    fn sets(
        &mut self,
        chains: &BTreeMap<ChainName, Chain>,
        counters: &mut Counters,
    ) -> Result<BTreeMap<SetName, Set>, Stop> {
        let mut sets = BTreeMap::new();
        self.dump(libc::NFT_MSG_GETSET, uapi::set::TABLE, |answer| {
            sets.extend(set::decode(message::attributes(answer)));
        })?;
        let chains = chains.keys().map(|name| (name.as_str(), name.clone())).collect();
        for (name, set) in sets.iter_mut().filter(|(_, set)| !set.key.is_empty()) {
            self.elements(name, set, &chains, counters)?;
        }
        Ok(sets)
    }

    fn stateful_objects(&mut self) -> Result<BTreeSet<Object>, Stop> {
        let mut objects = BTreeSet::new();
        self.dump(libc::NFT_MSG_GETOBJ, uapi::object::TABLE, |answer| {
            objects.extend(object::decode(message::attributes(answer)));
        })?;
        Ok(objects)
    }

    fn elements(
        &mut self,
        name: &SetName,
        set: &mut Set,
        chains: &HashMap<&str, ChainName>,
        counters: &mut Counters,
    ) -> Result<(), Stop> {
        for attempt in 0..ATTEMPTS {
            thread::sleep(PAUSE * attempt);
            let mut question = message::start(libc::NFT_MSG_GETSETELEM, libc::NLM_F_DUMP);
            question.put_text(uapi::element::TABLE, TABLE);
            question.put_text(uapi::element::SET, name.as_str());
            let (mut elements, mut counts) = (Vec::new(), Vec::new());
            let asked = self.socket.ask(question, |answer| {
                element::decode(message::attributes(answer), set, chains, |(key, data, counter)| {
                    elements.push((key, Element { data, origin: Origin::default() }));
                    counts.extend(counter.map(|counter| (key, counter)));
                });
            });
            whole(asked, || format!("dump elements of {} {name}", Table::NAME))?;
            let dumped = elements.len();
            set.elements = elements.into_iter().collect();
            // After a commit the kernel resizes the hash table of a set in the background. It goes on with
            // a dump by position, so that what changed places is dumped twice or not at all; and when
            // something is missing, something else is there twice.
            if set.elements.len() == dumped {
                if !counts.is_empty() {
                    counters.insert(name.clone(), counts.into_iter().collect());
                }
                return Ok(());
            }
        }
        Err(Stop::Changed)
    }

    /// Dumps all objects of a kind that are in our table; `table` is the attribute with its name.
    fn dump(&mut self, kind: c_int, table: u16, mut each: impl FnMut(&[u8])) -> Result<(), Stop> {
        let mut question = message::start(kind, libc::NLM_F_DUMP);
        question.put_text(table, TABLE);
        let asked = self.socket.ask(question, |answer| {
            // The kernel does not look at the name for every kind.
            if message::attributes(answer).text(table) == Some(TABLE) {
                each(answer);
            }
        });
        whole(asked, || format!("dump {} of {}", plural(kind), Table::NAME))
    }
}

/// A dump is of use only if nobody changed anything meanwhile. What is missing was there a moment ago.
fn whole(asked: Result<Dumped, Errno>, operation: impl FnOnce() -> String) -> Result<(), Stop> {
    match asked {
        Ok(Dumped::Whole) => Ok(()),
        Ok(Dumped::Interrupted) | Err(Errno::ENOENT) => Err(Stop::Changed),
        Err(errno) => Err(failed(operation(), errno)),
    }
}

fn plural(kind: c_int) -> &'static str {
    match kind {
        libc::NFT_MSG_GETCHAIN => "chains",
        libc::NFT_MSG_GETRULE => "rules",
        libc::NFT_MSG_GETOBJ => "stateful objects",
        _ => "sets",
    }
}

fn base(attributes: Attributes<'_>, hook: Attributes<'_>) -> Base {
    const NAT: &str = "nat";
    let number = hook.u32(uapi::chain::HOOK_NUMBER);
    let priority = hook.u32(uapi::chain::HOOK_PRIORITY).unwrap_or(0) as i32;
    let ours = attributes.text(uapi::chain::TYPE) == Some(NAT)
        && attributes.u32(uapi::chain::POLICY) == Some(libc::NF_ACCEPT as u32);
    let hook = [Hook::Prerouting, Hook::Output, Hook::Postrouting]
        .into_iter()
        .find(|hook| ours && hook.number() == number)
        .unwrap_or(Hook::Foreign);
    Base { hook, priority }
}

fn failed(operation: impl Into<String>, errno: Errno) -> Stop {
    Stop::Failed(ReadError { operation: operation.into(), errno: sluice_nft::Errno(errno as i32) })
}
