//! Encodes steps as messages.

use std::ffi::CString;

use nftnl::nftnl_sys::libc::{NFT_MSG_DELSET, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_NONREC};
use nftnl::{ChainType, MsgType, Policy, ProtoFamily};
use sluice_nft::{Base, Data, Hook, Key, Kind, SetRef, Step};

use crate::attr::Write;
use crate::element::{self, Verb};
use crate::message::{self, Scratch};
use crate::target::Target;
use crate::{object, rule, set, uapi};

/// A position in a list of steps: a step, and an element of it if it is about elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) step: usize,
    pub(crate) element: usize,
}

/// An element in a step.
type KeyAndData = (Key, Data);

impl Position {
    pub(crate) const START: Position = Position { step: 0, element: 0 };
}

/// A message and its steps.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) bytes: Vec<u8>,
    pub(crate) about: About,
}

/// The part of the steps that a message applies: one step, or elements of consecutive steps on the
/// same set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About {
    pub(crate) first: Position,
    /// Number of elements; 0 for a step that is not about elements.
    pub(crate) elements: usize,
}

/// The messages of steps, in order.
pub(crate) struct Messages<'a> {
    table: Target,
    /// Whether the kernel must report deleted elements with counters.
    echo: bool,
    steps: &'a [Step],
    next: Position,
    /// Number of sets so far.
    sets: u32,
    /// The table for nftnl.
    object: nftnl::Table,
    scratch: Scratch,
}

impl<'a> Messages<'a> {
    /// The messages from this position on.
    pub(crate) fn new(table: Target, steps: &'a [Step], from: Position, echo: bool) -> Self {
        let name = CString::new(table.name).expect("names of tables are constants without zero bytes");
        let scratch = Scratch::new();
        let object = nftnl::Table::new(name, ProtoFamily::Inet);
        Messages { table, echo, steps, next: from, sets: 0, object, scratch }
    }

    /// The next message about elements, if any are left in these consecutive steps.
    fn elements(&mut self, verb: Verb, of: &SetRef) -> Option<Message> {
        let first = self.next;
        let elements = || run(self.steps, first).map(|(_, element)| element);
        elements().next()?;
        let verb = match verb {
            Verb::Delete { .. } => Verb::Delete { echo: self.echo && of.declaration.counter },
            Verb::Add => verb,
        };
        let (bytes, count) = element::encode(self.table.name, verb, &of.name, &of.declaration, elements());
        self.next = run(self.steps, first).nth(count).map_or_else(|| self.after(first), |(next, _)| next);
        Some(Message { bytes, about: About { first, elements: count } })
    }

    /// The position after the consecutive steps on the same set.
    fn after(&self, Position { step, .. }: Position) -> Position {
        let steps = &self.steps[step..];
        let length = steps.iter().take_while(|next| same_elements(&steps[0], next)).count();
        Position { step: step + length, element: 0 }
    }

    /// The message of a step about one object; `None` if it cannot be encoded.
    fn object(&mut self, step: &Step) -> Option<Vec<u8>> {
        let Messages { object: table, scratch, .. } = self;
        Some(match step {
            Step::AddTable => self.table.message(NLM_F_CREATE | NLM_F_EXCL),
            Step::DeleteTable => scratch.take(table, MsgType::Del, 0),
            Step::AddSet(name, set) => {
                self.sets += 1;
                set::encode(self.table.name, name, set, self.sets)
            }
            Step::DeleteSet(name) => {
                let mut message = message::start(NFT_MSG_DELSET, 0);
                message.put_text(uapi::set::TABLE, self.table.name);
                message.put_text(uapi::set::NAME, name.as_str());
                message::finish(message)
            }
            Step::AddChain(name, base) => {
                let mut chain = chain(name.as_str(), table)?;
                if let Some(Base { kind, hook, priority }) = *base {
                    chain.set_hook(hook_of(hook)?, priority);
                    chain.set_type(match kind {
                        Kind::Filter => ChainType::Filter,
                        Kind::Nat => ChainType::Nat,
                    });
                    chain.set_policy(Policy::Accept);
                }
                scratch.take(&chain, MsgType::Add, NLM_F_CREATE | NLM_F_EXCL)
            }
            // Without the flag the kernel also deletes the chain's rules.
            Step::DeleteChain(name) => {
                scratch.take(&chain(name.as_str(), table)?, MsgType::Del, NLM_F_NONREC)
            }
            Step::DeleteObject(object) => object::delete(self.table.name, object),
            Step::AddRule(name, rule) => {
                let chain = chain(name.as_str(), table)?;
                let mut encoded = nftnl::Rule::new(&chain);
                rule::expressions(rule)?.iter().for_each(|expr| encoded.add_expr(expr));
                scratch.take(&encoded, MsgType::Add, NLM_F_CREATE | NLM_F_APPEND)
            }
            Step::FlushChain(name) => {
                let chain = chain(name.as_str(), table)?;
                scratch.take(&nftnl::Rule::new(&chain), MsgType::Del, 0)
            }
            Step::AddElements(..) | Step::DeleteElements(..) => return None,
        })
    }
}

impl Iterator for Messages<'_> {
    /// `Err` is the number of a step that cannot be encoded because it has a foreign statement.
    type Item = Result<Message, usize>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let first = self.next;
            let step = self.steps.get(first.step)?;
            if let Some((verb, of, _)) = elements_of(step) {
                match self.elements(verb, of) {
                    Some(message) => return Some(Ok(message)),
                    None => self.next = self.after(first),
                }
            } else {
                self.next = Position { step: first.step + 1, element: 0 };
                let about = About { first, elements: 0 };
                return Some(self.object(step).map(|bytes| Message { bytes, about }).ok_or(first.step));
            }
        }
    }
}

/// The elements from a position on, while the steps have the same verb and set: these can share
/// messages.
pub(crate) fn run(steps: &[Step], first: Position) -> impl Iterator<Item = (Position, &KeyAndData)> {
    let start = &steps[first.step];
    (first.step..)
        .zip(&steps[first.step..])
        .take_while(move |(_, step)| same_elements(start, step))
        .filter_map(|(number, step)| elements_of(step).map(|(_, _, elements)| (number, elements)))
        .flat_map(|(step, elements)| {
            elements.iter().enumerate().map(move |(element, it)| (Position { step, element }, it))
        })
        .skip(first.element)
}

fn same_elements(one: &Step, other: &Step) -> bool {
    match (elements_of(one), elements_of(other)) {
        (Some((verb, of, _)), Some((other_verb, other, _))) => verb == other_verb && of.name == other.name,
        _ => false,
    }
}

fn elements_of(step: &Step) -> Option<(Verb, &SetRef, &[KeyAndData])> {
    match step {
        Step::AddElements(of, elements) => Some((Verb::Add, of, elements)),
        Step::DeleteElements(of, elements) => Some((Verb::Delete { echo: false }, of, elements)),
        _ => None,
    }
}

fn chain<'a>(name: &str, table: &'a nftnl::Table) -> Option<nftnl::Chain<'a>> {
    Some(nftnl::Chain::new(CString::new(name).ok()?, table))
}

fn hook_of(hook: Hook) -> Option<nftnl::Hook> {
    match hook {
        Hook::Prerouting => Some(nftnl::Hook::PreRouting),
        Hook::Input => Some(nftnl::Hook::In),
        Hook::Forward => Some(nftnl::Hook::Forward),
        Hook::Output => Some(nftnl::Hook::Out),
        Hook::Postrouting => Some(nftnl::Hook::PostRouting),
        Hook::Foreign => None,
    }
}
