//! Our table as the kernel has it.

use std::collections::{BTreeMap, HashMap};
use std::ffi::c_int;

use nftnl::nftnl_sys::libc;
use nix::errno::Errno;
use sluice_nft::{
    Base, Chain, ChainName, Counters, Element, Hook, Origin, ReadError, Set, SetName, Snapshot, Table,
};

use crate::attr::{Attributes, Write};
use crate::element;
use crate::message;
use crate::rule;
use crate::set;
use crate::socket::{Dumped, Socket};
use crate::uapi;

/// How often a read starts over because somebody changed the ruleset meanwhile.
const ATTEMPTS: u32 = 10;

/// Number of the last commit by anybody.
pub(crate) fn generation(socket: &mut Socket) -> Result<u32, Errno> {
    let mut generation = None;
    socket.ask(message::start(libc::NFT_MSG_GETGEN, libc::NLM_F_ACK), |answer| {
        generation = message::attributes(answer).u32(uapi::generation::ID);
    })?;
    generation.ok_or(Errno::EBADMSG)
}

/// Everything of our table, as of one generation.
pub(crate) fn read(socket: &mut Socket) -> Result<Snapshot, ReadError> {
    let mut last = Errno::EINTR;
    for _ in 0..ATTEMPTS {
        match (Reader { socket, dumped: Dumped::Whole }).read() {
            Ok(Some(snapshot)) => return Ok(snapshot),
            Ok(None) => {}
            // It was deleted since the dump before this one listed it.
            Err(ReadError { errno: sluice_nft::Errno::ENOENT, .. }) => last = Errno::ENOENT,
            Err(error) => return Err(error),
        }
    }
    Err(failed(format!("read table {} while it changes", Table::NAME), last))
}

/// One attempt.
struct Reader<'a> {
    socket: &'a mut Socket,
    dumped: Dumped,
}

impl Reader<'_> {
    /// `None` if the ruleset changed meanwhile.
    fn read(&mut self) -> Result<Option<Snapshot>, ReadError> {
        let before = self.generation()?;
        let mut counters = Counters::new();
        let table = match self.dormant()? {
            None => None,
            Some(dormant) => {
                let mut chains = self.chains(dormant)?;
                self.rules(&mut chains)?;
                let sets = self.sets(&chains, &mut counters)?;
                Some(Table { sets, chains })
            }
        };
        let whole = self.dumped == Dumped::Whole && self.generation()? == before;
        Ok(whole.then_some(Snapshot { table, counters, generation: before }))
    }

    fn generation(&mut self) -> Result<u32, ReadError> {
        generation(self.socket).map_err(|errno| failed("read the generation of nf_tables", errno))
    }

    /// Whether the table is dormant; `None` if there is no table.
    fn dormant(&mut self) -> Result<Option<bool>, ReadError> {
        let mut question = message::start(libc::NFT_MSG_GETTABLE, libc::NLM_F_ACK);
        question.put_text(uapi::table::NAME, uapi::TABLE);
        let mut flags = 0;
        let asked = self.socket.ask(question, |answer| {
            flags = message::attributes(answer).u32(uapi::table::FLAGS).unwrap_or(0);
        });
        match asked {
            Ok(_) => Ok(Some(flags & uapi::table::DORMANT != 0)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(failed(format!("read table {}", Table::NAME), errno)),
        }
    }

    fn chains(&mut self, dormant: bool) -> Result<BTreeMap<ChainName, Chain>, ReadError> {
        let mut chains = BTreeMap::new();
        self.dump(libc::NFT_MSG_GETCHAIN, uapi::chain::TABLE, |answer| {
            let attributes = message::attributes(answer);
            if let Some(name) = attributes.text(uapi::chain::NAME) {
                let base = attributes.nested(uapi::chain::HOOK).map(|hook| base(attributes, hook, dormant));
                chains.insert(ChainName::from(name), Chain { base, rules: vec![] });
            }
        })?;
        Ok(chains)
    }

    fn rules(&mut self, chains: &mut BTreeMap<ChainName, Chain>) -> Result<(), ReadError> {
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
    ) -> Result<BTreeMap<SetName, Set>, ReadError> {
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

    fn elements(
        &mut self,
        name: &SetName,
        set: &mut Set,
        chains: &HashMap<&str, ChainName>,
        counters: &mut Counters,
    ) -> Result<(), ReadError> {
        let mut question = message::start(libc::NFT_MSG_GETSETELEM, libc::NLM_F_DUMP);
        question.put_text(uapi::element::TABLE, uapi::TABLE);
        question.put_text(uapi::element::SET, name.as_str());
        let (mut elements, mut counts) = (Vec::new(), Vec::new());
        let asked = self.socket.ask(question, |answer| {
            element::decode(message::attributes(answer), set, chains, |(key, data, counter)| {
                elements.push((key, Element { data, origin: Origin::default() }));
                counts.extend(counter.map(|counter| (key, counter)));
            });
        });
        self.note(asked.map_err(|errno| failed(format!("dump elements of {} {name}", Table::NAME), errno))?);
        set.elements = elements.into_iter().collect();
        if !counts.is_empty() {
            counters.insert(name.clone(), counts.into_iter().collect());
        }
        Ok(())
    }

    /// Dumps all objects of a kind that are in our table; `table` is the attribute with its name.
    fn dump(&mut self, kind: c_int, table: u16, mut each: impl FnMut(&[u8])) -> Result<(), ReadError> {
        let mut question = message::start(kind, libc::NLM_F_DUMP);
        question.put_text(table, uapi::TABLE);
        let asked = self.socket.ask(question, |answer| {
            // The kernel does not look at the name for every kind.
            if message::attributes(answer).text(table) == Some(uapi::TABLE) {
                each(answer);
            }
        });
        self.note(asked.map_err(|errno| failed(format!("dump {} of {}", plural(kind), Table::NAME), errno))?);
        Ok(())
    }

    fn note(&mut self, dumped: Dumped) {
        if dumped == Dumped::Interrupted {
            self.dumped = dumped;
        }
    }
}

fn plural(kind: c_int) -> &'static str {
    match kind {
        libc::NFT_MSG_GETCHAIN => "chains",
        libc::NFT_MSG_GETRULE => "rules",
        _ => "sets",
    }
}

fn base(attributes: Attributes<'_>, hook: Attributes<'_>, dormant: bool) -> Base {
    const NAT: &str = "nat";
    let number = hook.u32(uapi::chain::HOOK_NUMBER);
    let priority = hook.u32(uapi::chain::HOOK_PRIORITY).unwrap_or(0) as i32;
    let ours = !dormant
        && attributes.text(uapi::chain::TYPE) == Some(NAT)
        && attributes.u32(uapi::chain::POLICY) == Some(libc::NF_ACCEPT as u32);
    let hook = [Hook::Prerouting, Hook::Output, Hook::Postrouting]
        .into_iter()
        .find(|hook| ours && hook.number() == number)
        .unwrap_or(Hook::Foreign);
    Base { hook, priority }
}

fn failed(operation: impl Into<String>, errno: Errno) -> ReadError {
    ReadError { operation: operation.into(), errno: sluice_nft::Errno(errno as i32) }
}
