//! The events of a history. Numbers select among the existing objects, modulo their number, so that every part of a history
//! is a valid history and shrinking can remove events.

use std::fmt;

use proptest::prelude::*;
use proptest::sample::select;

use crate::file::{ADDRESSES, LISTENERS};

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The file is edited and reloaded.
    Reload(Vec<Edit>),
    /// A damaged file is reloaded, and the one before is put back afterwards.
    BadFile,
    /// From now on, backends at an address answer probes and clients like this.
    Host(usize, Answers),
    /// An operator overrides a backend of a service.
    Operator(usize, usize, Verb),
    /// An operator makes the node leave.
    Leave,
    /// An operator makes the node join.
    Join,
    /// Somebody else puts an address on the interface of announced addresses.
    PutAddress(usize),
    /// Somebody else removes an address from it, whoever put it there.
    RemoveAddress(usize),
    /// A client opens flows to a listener.
    Flows(usize, Client),
    /// The host has other addresses.
    Networks(usize),
    /// Somebody else edits our table.
    Foreign(Foreign),
    /// Somebody switches forwarding off; the kernel tells of it, or that is lost.
    ForwardingOff(bool),
    /// A commit to come fails, before it was carried out or after.
    CommitFails(usize, Failure, bool),
    /// Reads to come are interrupted.
    ReadsFail(usize),
    /// The state directory is like this from now on.
    StateDir(Disk),
    /// A backend of a service has so many live connections.
    Load(usize, usize, usize),
    /// The daemon ends and another one starts; the file may be edited meanwhile.
    Restart(End, Vec<Edit>),
    /// Time passes.
    Pass(u64),
}

/// One change of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// A service is added, with this name and listener.
    Add(usize, usize),
    Remove(usize),
    Rename(usize, usize),
    /// The first listener of a service moves to another one.
    Move(usize, usize),
    /// Two services swap all but their names.
    Swap(usize, usize),
    /// The whole file is replaced.
    Whole(usize),
    /// So many plain services beside the others.
    Fill(usize),
    Refresh(usize),
    /// Whether the table stays when the daemon stops.
    Keep(bool),
    /// What the file includes is not there, is there, is damaged, or is missing under its own name.
    Include(usize),
    /// A key of a service changes.
    Of(usize, Key),
}

/// One change of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    Enabled(bool),
    Announce(bool),
    Interface(bool),
    Scheduler(usize),
    Affinity(bool),
    Source(usize),
    Allow(usize),
    Deny(usize),
    Check(usize),
    StartsDown(bool),
    Resets(bool),
    ResetsDenied(bool),
    OnEmpty(usize),
    Quorum(usize),
    Hooks(bool),
    SlowStart(usize),
    Listen(Vec<usize>),
    AddBackend(usize, usize),
    RemoveBackend(usize),
    BackendAddress(usize, usize),
    BackendPort(usize, usize),
    BackendName(usize, usize),
    SwapBackends(usize, usize),
    Weight(usize, usize),
    Backup(usize, bool),
    Limit(usize, usize),
}

/// How a host answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// As it should.
    Well,
    /// It refuses.
    Refuses,
    /// Nobody answers.
    Hangs,
    /// It answers and refuses in turn.
    Flaps,
}

/// What becomes of writes to the state directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    Well,
    /// Something else is in its place.
    Gone,
    /// What there is can be read; nothing can be written, for want of room or of rights.
    Full,
    /// Each write takes its time.
    Slow,
}

/// What an operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Drain,
    Disable,
    Enable,
    Weight(u16),
    FileWeight,
}

/// Where a flow comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// A router away, through eth0.
    Outside(u8),
    /// The same, through eth1.
    Beside(u8),
    /// A process of the balancer.
    Local,
}

/// What somebody else does to the table; the number chooses an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    DeleteTable,
    DeleteElement(usize),
    RepointElement(usize),
    FlushChain(usize),
    AddRule(usize),
    DeleteChainRules,
}

/// How a commit fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    Restart,
    NoMemory,
    NoBuffers,
    Busy,
    NotPermitted,
    FullTable,
}

/// How a daemon ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// SIGTERM.
    Stop,
    /// A restart by the service manager.
    HandOver,
    /// kill -9, between two events.
    Kill,
    /// kill -9 at a commit to come, before it was carried out or after; the next event brings it about.
    KillAtCommit(usize, bool),
}

/// So many events.
pub fn any_history(count: usize) -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec(any_event(), count)
}

/// `maglev` and `preserve`, by their places in `SCHEDULERS` and `SOURCES`.
const ADOPT: [Key; 2] = [Key::Scheduler(3), Key::Source(2)];

fn any_event() -> impl Strategy<Value = Event> {
    let edits = || prop::collection::vec(any_edit(), 1..3);
    let few = || 0usize..6;
    prop_oneof![
        12 => edits().prop_map(Event::Reload),
        // What adopts connections takes two keys.
        1 => few().prop_map(|service| Event::Reload(ADOPT.map(|key| Edit::Of(service, key)).into())),
        1 => Just(Event::BadFile),
        8 => (0..ADDRESSES.len(), any_answers()).prop_map(|(host, answers)| Event::Host(host, answers)),
        4 => (few(), few(), any_verb()).prop_map(|(service, backend, verb)| Event::Operator(service, backend, verb)),
        1 => Just(Event::Leave),
        3 => Just(Event::Join),
        2 => few().prop_map(Event::PutAddress),
        2 => few().prop_map(Event::RemoveAddress),
        5 => (0..2 * LISTENERS.len(), any_client()).prop_map(|(listener, client)| Event::Flows(listener, client)),
        2 => few().prop_map(Event::Networks),
        2 => any_foreign().prop_map(Event::Foreign),
        1 => any::<bool>().prop_map(Event::ForwardingOff),
        3 => (0usize..4, any_failure(), any::<bool>()).prop_map(|(nth, how, after)| Event::CommitFails(nth, how, after)),
        1 => (1usize..4).prop_map(Event::ReadsFail),
        2 => select(vec![Disk::Well, Disk::Gone, Disk::Full, Disk::Slow]).prop_map(Event::StateDir),
        6 => (few(), few(), select(vec![0, 1, 2, 5, 20])).prop_map(|(service, backend, count)| Event::Load(service, backend, count)),
        4 => (any_end(), prop::collection::vec(prop_oneof![2 => any_edit(), 1 => any_rename()], 0..3)).prop_map(|(end, edits)| Event::Restart(end, edits)),
        4 => select(vec![1, 3, 11, 70, 400]).prop_map(Event::Pass),
    ]
}

fn any_edit() -> impl Strategy<Value = Edit> {
    let few = || 0usize..6;
    prop_oneof![
        80 => (few(), any_key()).prop_map(|(service, key)| Edit::Of(service, key)),
        14 => (few(), 0..LISTENERS.len()).prop_map(|(name, listener)| Edit::Add(name, listener)),
        4 => few().prop_map(Edit::Remove),
        4 => (few(), few()).prop_map(|(service, to)| Edit::Rename(service, to)),
        4 => (few(), few()).prop_map(|(from, to)| Edit::Move(from, to)),
        3 => (few(), few()).prop_map(|(one, other)| Edit::Swap(one, other)),
        // Hundreds of services take their time.
        1 => (0..LISTENERS.len()).prop_map(|n| if n == 0 { Edit::Fill(256) } else { Edit::Whole(n) }),
        1 => few().prop_map(Edit::Refresh),
        1 => any::<bool>().prop_map(Edit::Keep),
        3 => few().prop_map(Edit::Include),
    ]
}

/// Of a service or a backend.
fn any_rename() -> impl Strategy<Value = Edit> {
    let few = || 0usize..6;
    let key = (few(), few()).prop_map(|(backend, name)| Key::BackendName(backend, name));
    prop_oneof![
        (few(), few()).prop_map(|(service, to)| Edit::Rename(service, to)),
        (few(), key).prop_map(|(service, key)| Edit::Of(service, key)),
    ]
}

fn any_key() -> impl Strategy<Value = Key> {
    let few = || 0usize..6;
    prop_oneof![
        3 => any::<bool>().prop_map(Key::Enabled),
        5 => any::<bool>().prop_map(Key::Announce),
        1 => any::<bool>().prop_map(Key::Interface),
        8 => prop_oneof![few(), Just(5)].prop_map(Key::Scheduler),
        1 => any::<bool>().prop_map(Key::Affinity),
        3 => few().prop_map(Key::Source),
        2 => (0usize..8).prop_map(Key::Allow),
        5 => (0usize..8).prop_map(Key::Deny),
        6 => few().prop_map(Key::Check),
        2 => any::<bool>().prop_map(Key::StartsDown),
        2 => any::<bool>().prop_map(Key::Resets),
        3 => any::<bool>().prop_map(Key::ResetsDenied),
        2 => few().prop_map(Key::OnEmpty),
        4 => few().prop_map(Key::Quorum),
        2 => any::<bool>().prop_map(Key::Hooks),
        5 => few().prop_map(Key::SlowStart),
        3 => prop::collection::vec(0..LISTENERS.len(), 1..4).prop_map(Key::Listen),
        3 => (few(), few()).prop_map(|(address, port)| Key::AddBackend(address, port)),
        3 => few().prop_map(Key::RemoveBackend),
        4 => (few(), few()).prop_map(|(backend, address)| Key::BackendAddress(backend, address)),
        2 => (few(), few()).prop_map(|(backend, port)| Key::BackendPort(backend, port)),
        3 => (few(), few()).prop_map(|(backend, name)| Key::BackendName(backend, name)),
        2 => (few(), few()).prop_map(|(one, other)| Key::SwapBackends(one, other)),
        3 => (few(), few()).prop_map(|(backend, weight)| Key::Weight(backend, weight)),
        3 => (few(), any::<bool>()).prop_map(|(backend, backup)| Key::Backup(backend, backup)),
        6 => (few(), few()).prop_map(|(backend, limit)| Key::Limit(backend, limit)),
    ]
}

fn any_answers() -> impl Strategy<Value = Answers> {
    prop_oneof![
        4 => Just(Answers::Well), 4 => Just(Answers::Refuses), 2 => Just(Answers::Hangs), 1 => Just(Answers::Flaps),
    ]
}

fn any_verb() -> impl Strategy<Value = Verb> {
    let weight = select(vec![0, 1, 2, 255, 256]).prop_map(Verb::Weight);
    prop_oneof![Just(Verb::Drain), Just(Verb::Disable), Just(Verb::Enable), weight, Just(Verb::FileWeight)]
}

fn any_client() -> impl Strategy<Value = Client> {
    let number = || select(vec![1, 2, 3, 66, 77]);
    prop_oneof![4 => number().prop_map(Client::Outside), 1 => number().prop_map(Client::Beside), 1 => Just(Client::Local)]
}

fn any_foreign() -> impl Strategy<Value = Foreign> {
    let any = || 0usize..64;
    prop_oneof![
        Just(Foreign::DeleteTable),
        any().prop_map(Foreign::DeleteElement),
        any().prop_map(Foreign::RepointElement),
        any().prop_map(Foreign::FlushChain),
        any().prop_map(Foreign::AddRule),
        Just(Foreign::DeleteChainRules),
    ]
}

fn any_failure() -> impl Strategy<Value = Failure> {
    use Failure::{Busy, FullTable, NoBuffers, NoMemory, NotPermitted, Restart};
    select(vec![Restart, NoMemory, NoBuffers, Busy, NotPermitted, FullTable])
}

fn any_end() -> impl Strategy<Value = End> {
    let at_commit = (0usize..3, any::<bool>()).prop_map(|(nth, after)| End::KillAtCommit(nth, after));
    prop_oneof![Just(End::Stop), Just(End::HandOver), Just(End::Kill), at_commit]
}

/// A history as it stands in a regression test, one line an event.
pub struct Story<'a>(pub &'a [Event]);

impl fmt::Display for Story<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|event| writeln!(f, "        {event:?},"))
    }
}
