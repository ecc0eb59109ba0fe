//! Any bytes, taken for an answer of the kernel: for fuzzing, and for tests with damaged answers.

use std::collections::HashMap;

use nftnl::nftnl_sys::libc;
use sluice_nft::{ChainName, Counter, Element, Key, Origin, SetName, Table};

use crate::attr::Attributes;
use crate::conntrack::Flow;
use crate::listener::Commit;
use crate::{dump, element, message, object, reply, rule, set, uapi};

/// What a datagram says, by whatever may read its messages.
#[derive(Debug, Default)]
pub struct Said {
    /// Of our table.
    pub table: Table,
    /// What elements counted that are there or were deleted.
    pub counters: Vec<(Key, Counter)>,
    /// Of conntrack.
    pub flows: Vec<Flow>,
    /// Generations, and who made them.
    pub commits: Vec<(u32, u32, String)>,
    /// What was refused or done.
    pub replies: usize,
}

/// Reads a datagram, as far as it can be split.
pub fn read(datagram: &[u8]) -> Said {
    let mut said = Said::default();
    let _ = message::split(datagram, |message| said.take(message));
    said
}

impl Said {
    fn take(&mut self, message: &[u8]) {
        self.replies += usize::from(reply::parse(message) != reply::Reply::Data);
        self.flows.extend(Flow::parse(message));
        element::deleted(message, &mut self.counters);
        element::at_offset(message, message.len() / 2);
        let attributes = message::attributes(message);
        match message::kind(message) & 0xff {
            libc::NFT_MSG_NEWCHAIN => self.table.chains.extend(dump::chain(message)),
            libc::NFT_MSG_NEWRULE => {
                let Some(name) = attributes.text(uapi::rule::CHAIN) else { return };
                let rule = rule::decode(message);
                if let Some(chain) = self.table.chains.get_mut(&ChainName::from(name)) {
                    chain.rules.push(rule);
                }
            }
            libc::NFT_MSG_NEWSET => self.table.sets.extend(set::decode(attributes)),
            libc::NFT_MSG_NEWSETELEM => self.elements(attributes),
            libc::NFT_MSG_NEWOBJ => self.table.objects.extend(object::decode(attributes)),
            libc::NFT_MSG_NEWGEN => {
                let commit = Commit { touched: true, message };
                let (id, name) = commit.process();
                self.commits.push((commit.generation(), id, name.to_owned()));
            }
            _ => {}
        }
    }

    fn elements(&mut self, attributes: Attributes<'_>) {
        element::counts(attributes, &mut self.counters);
        let Some(name) = attributes.text(uapi::element::SET) else { return };
        let Some(set) = self.table.sets.get_mut(&SetName::from(name)) else { return };
        // As in a dump: of other sets nobody asks for elements.
        if set.key.is_empty() {
            return;
        }
        let mut elements = Vec::new();
        element::decode(attributes, set, &HashMap::new(), |(key, data, _)| {
            elements.push((key, Element { data, origin: Origin::default() }));
        });
        set.elements.extend(elements);
    }
}
