//! Decodes arbitrary bytes as messages of the kernel, for fuzzing and for tests with damaged answers.

use std::collections::HashMap;

use nftnl::nftnl_sys::libc;
use sluice_nft::{ChainName, Counter, Element, Key, SetName, Table};

use crate::attr::Attributes;
use crate::conntrack::Flow;
use crate::listener::Commit;
use crate::{dump, element, message, object, reply, rule, set, uapi};

/// The content of a datagram, as decoded by all decoders of this crate.
#[derive(Debug, Default)]
pub struct Decoded {
    /// Objects of our table.
    pub table: Table,
    /// Counters of existing and of deleted elements.
    pub counters: Vec<(Key, Counter)>,
    /// Conntrack entries.
    pub flows: Vec<Flow>,
    /// Commits: generation, process id and process name.
    pub commits: Vec<(u32, u32, String)>,
    /// Number of errors and acknowledgements.
    pub replies: usize,
}

/// Decodes a datagram up to the first message with an invalid length.
pub fn read(datagram: &[u8]) -> Decoded {
    let mut decoded = Decoded::default();
    let _ = message::split(datagram, |message| decoded.take(message));
    decoded
}

impl Decoded {
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
        // As in a dump, which does not request the elements of sets with a foreign declaration.
        if set.key.is_empty() {
            return;
        }
        let mut elements = Vec::new();
        element::decode(attributes, set, &HashMap::new(), |(key, data, _)| {
            elements.push((key, Element { data }));
        });
        set.elements.extend(elements);
    }
}
