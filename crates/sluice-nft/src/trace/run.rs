//! Runs one packet through the hooks.

use std::net::SocketAddr;

use super::load::{View, holds};
use super::{Ingress, Outcome, Packet, RoundRobinCounters, Trace, Tracer, Visit};
use crate::jhash::reciprocal_scale;
use crate::{
    ChainName, Data, Element, Field, Hook, Ip, Key, Kind, Octets, Operand, Rule, SetName, SetUpdate,
    SlotExpr, Statement, Table, mask,
};

/// Maximum nesting of chains (`NFT_JUMP_STACK_SIZE`).
const DEPTH: usize = 16;

pub(super) struct Run<'a> {
    view: View<'a>,
    counters: &'a mut RoundRobinCounters,
    /// Rulesets of successive generations.
    tables: &'a [&'a Table],
    /// Index of the current one.
    now: usize,
    advance: &'a mut dyn FnMut() -> usize,
    translated: bool,
    masqueraded: bool,
    /// The listener in whose name the packet leaves.
    answered: Option<SocketAddr>,
    /// Keys that rules added to sets while the packet was processed.
    learned: Vec<(SetName, Key)>,
    visits: Vec<Visit>,
}

/// A rule and its position.
struct RuleRef<'a> {
    /// The table whose copy of the rules is read.
    table: &'a Table,
    chain: &'a ChainName,
    index: usize,
    rule: &'a Rule,
}

/// The effect of a statement.
enum Effect<'a> {
    /// Continue with the next statement.
    Next,
    /// Continue with the next rule.
    Leave,
    /// Continue in another chain.
    Goto(&'a ChainName),
    /// Continue in another chain, and return.
    Jump(&'a ChainName),
    /// End the base chain.
    End(Verdict),
}

type Verdict = Result<(), Outcome>;

impl<'a> Run<'a> {
    pub(super) fn new(
        tracer: &'a mut Tracer,
        tables: &'a [&'a Table],
        packet: &'a Packet,
        advance: &'a mut dyn FnMut() -> usize,
    ) -> Self {
        let destination = packet.destination;
        let view = View { host: &tracer.host, packet, destination, tracked: true, proxied: false };
        Run {
            view,
            counters: &mut tracer.counters,
            tables,
            now: 0,
            advance,
            translated: false,
            masqueraded: false,
            answered: None,
            learned: Vec::new(),
            visits: Vec::new(),
        }
    }

    pub(super) fn finish(mut self) -> Trace {
        let outcome = match (self.hooks(), self.answered) {
            (Err(end), _) => end,
            (Ok(()), Some(from)) => Outcome::Answered { from },
            (Ok(()), None) if self.translated => {
                Outcome::Translated { to: self.view.destination, masqueraded: self.masqueraded }
            }
            (Ok(()), None) => Outcome::Untranslated { masqueraded: self.masqueraded },
        };
        Trace { outcome, visits: self.visits }
    }

    fn hooks(&mut self) -> Verdict {
        match self.view.packet.ingress {
            Ingress::Local => self.hook(Hook::Output)?,
            Ingress::Arriving(_) => {
                self.hook(Hook::Prerouting)?;
                let kind = self.view.host.address_type(self.view.destination.ip());
                let stays = matches!(kind, Field::LOCAL | Field::BROADCAST | Field::MULTICAST);
                self.hook(if stays { Hook::Input } else { Hook::Forward })?;
                if self.view.proxied {
                    // The client has completed the handshake; the kernel opens the connection in its name.
                    self.view.tracked = true;
                    self.hook(Hook::Output)?;
                } else if stays {
                    return Ok(());
                }
            }
        }
        self.hook(Hook::Postrouting)
    }

    /// Calls the base chains of a hook until one translates.
    fn hook(&mut self, hook: Hook) -> Verdict {
        let mut start = self.read();
        let mut chains: Vec<_> = self.tables[start]
            .chains
            .iter()
            .filter_map(|(name, chain)| {
                chain.base.filter(|base| base.hook == hook).map(|base| (base.priority, name, base.kind))
            })
            .collect();
        chains.sort();
        for (n, (_, chain, kind)) in chains.into_iter().enumerate() {
            // Untracked packets skip nat chains.
            if kind == Kind::Nat && !self.view.tracked {
                continue;
            }
            if n > 0 {
                start = self.read();
            }
            self.chain(chain, start, 0).unwrap_or(Ok(()))?;
            let done = match hook {
                Hook::Postrouting => self.masqueraded || self.answered.is_some(),
                Hook::Input | Hook::Forward => self.view.proxied,
                Hook::Prerouting | Hook::Output | Hook::Foreign => self.translated,
            };
            if done {
                break;
            }
        }
        Ok(())
    }

    /// Runs a chain for a base chain that began in generation `start`; `None` if it ends without a verdict.
    fn chain(&mut self, name: &'a ChainName, start: usize, depth: usize) -> Option<Verdict> {
        if depth == DEPTH {
            return Some(Err(Outcome::Dropped));
        }
        let now = self.read();
        // Commits write the two copies in turn: the copy of this packet was last written by the
        // latest commit that is an even number of commits after `start`.
        let copy = self.tables[now - (now - start) % 2];
        let rules = copy.chains.get(name).map_or(&[][..], |chain| &chain.rules);
        for (index, rule) in rules.iter().enumerate() {
            match self.rule(&RuleRef { table: copy, chain: name, index, rule }) {
                Effect::Next | Effect::Leave => {}
                Effect::Goto(chain) => return self.chain(chain, start, depth + 1),
                Effect::Jump(chain) => {
                    if let Some(verdict) = self.chain(chain, start, depth + 1) {
                        return Some(verdict);
                    }
                }
                Effect::End(verdict) => return Some(verdict),
            }
        }
        None
    }

    fn rule(&mut self, place: &RuleRef<'a>) -> Effect<'a> {
        for (at, statement) in place.rule.0.iter().enumerate() {
            let mut element = None;
            let effect = self.statement(place, statement, &mut element);
            if !matches!(effect, Effect::Leave) {
                let chain = place.chain.clone();
                self.visits.push(Visit { chain, rule: place.index, statement: at, element });
            }
            if !matches!(effect, Effect::Next) {
                return effect;
            }
        }
        Effect::Next
    }

    fn statement(
        &mut self,
        place: &RuleRef<'a>,
        statement: &'a Statement,
        found: &mut Option<(SetName, Key)>,
    ) -> Effect<'a> {
        let mut look_up = |run: &mut Self, parts: &[Operand], set: &SetName| {
            let (key, element) = run.look_up(place, parts, set)?;
            *found = Some((set.clone(), key));
            Some(element)
        };
        match statement {
            Statement::Match(field, test) => match self.view.load(*field) {
                Some(value) if holds(value.as_slice(), test) => Effect::Next,
                _ => Effect::Leave,
            },
            Statement::InSet(parts, set) => match look_up(self, parts, set) {
                Some(_) => Effect::Next,
                None if self.has_learned(place, parts, set) => Effect::Next,
                None => Effect::Leave,
            },
            Statement::NotInSet(parts, set) => match look_up(self, parts, set) {
                Some(_) => Effect::Leave,
                None if self.has_learned(place, parts, set) => Effect::Leave,
                None => Effect::Next,
            },
            Statement::Update { key, set, update } => match self.key(place, key) {
                None => Effect::Leave,
                Some(key) => {
                    self.learned.push((set.clone(), key));
                    match update {
                        SetUpdate::Data(..) => Effect::Next,
                        // A single packet exceeds no limit, and the set is not full.
                        SetUpdate::LimitOver(_) | SetUpdate::CtCountOver(_) => Effect::Leave,
                    }
                }
            },
            Statement::VerdictMap(parts, map) => match look_up(self, parts, map).map(|element| &element.data)
            {
                Some(Data::Goto(chain)) => Effect::Goto(chain),
                _ => Effect::Leave,
            },
            Statement::Dnat { ip, key, map, port } => {
                match look_up(self, key, map).map(|element| &element.data) {
                    Some(Data::Value(value)) => self.dnat(*ip, *port, value.as_slice()),
                    _ => Effect::Leave,
                }
            }
            Statement::Masquerade | Statement::Snat { .. } => {
                self.masqueraded = true;
                Effect::End(Ok(()))
            }
            Statement::SnatTo { ip, key, map } => {
                match look_up(self, key, map).map(|element| &element.data) {
                    Some(Data::Value(value)) => self.snat(*ip, value.as_slice()),
                    _ => Effect::Leave,
                }
            }
            Statement::Counter => Effect::Next,
            Statement::Drop => Effect::End(Err(Outcome::Dropped)),
            Statement::Notrack => {
                self.view.tracked = false;
                Effect::Next
            }
            Statement::Synproxy { .. } if self.view.packet.protocol.has_synproxy() => {
                self.view.proxied = true;
                Effect::End(Ok(()))
            }
            Statement::Synproxy { .. } => Effect::Leave,
            // Other protocols have no reset, but the packet is dropped.
            Statement::RejectReset if !self.view.packet.protocol.has_reset() => {
                Effect::End(Err(Outcome::Dropped))
            }
            Statement::RejectReset => Effect::End(Err(Outcome::Reset)),
            Statement::RejectPort => Effect::End(Err(Outcome::Unreachable)),
            Statement::Accept => Effect::End(Ok(())),
            Statement::Goto(chain) => Effect::Goto(chain),
            Statement::Jump(chain) => Effect::Jump(chain),
            Statement::Foreign(_) => Effect::Leave,
        }
    }

    fn dnat(&mut self, ip: Ip, port: bool, value: &[u8]) -> Effect<'a> {
        if ip != self.view.packet.ip() {
            return Effect::Next;
        }
        let (address, rest) = ip.split_address(value).expect("a map to addresses");
        let port = if port { u16::from_be_bytes([rest[0], rest[1]]) } else { self.view.destination.port() };
        self.view.destination = SocketAddr::new(address, port);
        self.translated = true;
        Effect::End(Ok(()))
    }

    fn snat(&mut self, ip: Ip, value: &[u8]) -> Effect<'a> {
        let (address, rest) = ip.split_address(value).expect("a map to addresses");
        self.answered = Some(SocketAddr::new(address, u16::from_be_bytes([rest[0], rest[1]])));
        Effect::End(Ok(()))
    }

    fn look_up(
        &mut self,
        place: &RuleRef<'_>,
        parts: &[Operand],
        set: &SetName,
    ) -> Option<(Key, &'a Element)> {
        let key = self.key(place, parts)?;
        let now = self.read();
        let found = self.tables[now].sets.get(set)?;
        // A rule uses the set to which it was bound, even if another set has the name now.
        let same = place.table.sets.get(set).is_none_or(|bound| bound.same_declaration(found));
        found.find(&key).filter(|_| same).map(|(key, element)| (*key, element))
    }

    /// The key of a lookup.
    fn key(&mut self, place: &RuleRef<'_>, parts: &[Operand]) -> Option<Key> {
        let mut key = Key::EMPTY;
        for part in parts {
            key = match part {
                Operand::Field(field) => key.with(self.view.load(*field)?.as_slice()),
                Operand::Slot(pick) => key.slot(self.pick(place, pick)?),
                Operand::Prefix(field, bits) => key.with(masked(self.view.load(*field)?, *bits).as_slice()),
            };
        }
        Some(key)
    }

    /// Whether a rule added the key of the lookup to this set.
    fn has_learned(&mut self, place: &RuleRef<'_>, parts: &[Operand], set: &SetName) -> bool {
        self.learned.iter().any(|(name, _)| name == set)
            && self.key(place, parts).is_some_and(|key| self.learned.contains(&(set.clone(), key)))
    }

    fn pick(&mut self, place: &RuleRef<'_>, pick: &SlotExpr) -> Option<u32> {
        let (modulus, offset) = pick.range();
        let number = match pick {
            SlotExpr::Inc { .. } => self.count(place, modulus),
            SlotExpr::Random { .. } => reciprocal_scale(self.view.packet.random, modulus),
            SlotExpr::Jhash { on, seed, .. } => self.view.hash(on, modulus, *seed)?,
        };
        Some(offset + number)
    }

    /// The next number of a rule's counter, 0 for its first packet.
    fn count(&mut self, place: &RuleRef<'_>, modulus: u32) -> u32 {
        let at = (place.chain.clone(), place.index);
        let number = match self.counters.get(&at) {
            Some((rule, last)) if rule == place.rule && last + 1 < modulus => last + 1,
            _ => 0,
        };
        self.counters.insert(at, (place.rule.clone(), number));
        number
    }

    /// Advances to and returns the current generation.
    fn read(&mut self) -> usize {
        let last = self.tables.len() - 1;
        self.now = (self.now + (self.advance)()).min(last);
        self.now
    }
}

/// The leading bits of a value, the rest zero.
fn masked(value: Octets<16>, bits: u8) -> Octets<16> {
    let mask = mask(value.as_slice().len(), bits);
    let bytes: Vec<u8> =
        value.as_slice().iter().zip(mask.as_slice()).map(|(byte, mask)| byte & mask).collect();
    Octets::new(&bytes).expect("it is as long as before")
}
