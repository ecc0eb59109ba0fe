//! The kernel, in the test's own namespace.

use std::cell::{Cell, RefCell};
use std::process::Command;

use sluice_core::plan::diff;
use sluice_core::render::owner::Owners;
use sluice_netlink::Netlink;
use sluice_nft::{
    ChainName, CommitError, Counter, Data, Dataplane, Key, Part, ReadError, Receipt, Set, SetName, Snapshot,
    Step, Table,
};
use sluice_testkit::Namespace;

use crate::edit::Edit;

/// Where nft lists and loads what the table should be, to compare.
const TABLE: &str = "table inet sluice";

/// nf_tables of a namespace: ours over netlink, the others' by `nft`.
pub struct Kernel {
    namespace: Namespace,
    /// Where nothing is but what should be.
    scratch: Namespace,
    netlink: RefCell<Netlink>,
    commits: Cell<u64>,
}

impl Kernel {
    pub fn new() -> Self {
        let namespace = Namespace::new();
        let netlink = namespace.run(Netlink::open).expect("open nf_tables");
        Kernel {
            namespace,
            scratch: Namespace::new(),
            netlink: RefCell::new(netlink),
            commits: Cell::default(),
        }
    }

    /// Removes every table.
    pub fn clear(&self) {
        self.namespace.nft("flush ruleset");
    }

    /// Lets somebody else make an edit; `false` if there is nothing to edit or the kernel refuses.
    pub fn edit(&self, edit: &Edit) -> bool {
        let Some(script) = self.table().and_then(|table| edit.script(&table, |chain| self.handles(chain)))
        else {
            return false;
        };
        let output = self.namespace.try_feed(Command::new("nft").args(["-f", "-"]), &script);
        output.status.success()
    }

    /// Makes a table, where there is none.
    pub fn make(&self, table: &Table) {
        let steps: Vec<_> =
            diff(None, Some(table), &Owners::default()).changes().map(|change| change.step.clone()).collect();
        self.netlink.borrow_mut().commit(&steps, None).unwrap_or_else(|e| panic!("{e}: {}", e.errno));
    }

    pub fn table(&self) -> Option<Table> {
        self.netlink.borrow_mut().read().expect("read the kernel").table
    }

    /// Commits carried out or refused so far.
    pub fn commits(&self) -> u64 {
        self.commits.get()
    }

    pub fn messages_sent(&self) -> u64 {
        self.netlink.borrow().messages_sent()
    }

    /// The words that nft lists our table with, sorted since it lists in order of creation; and those for a
    /// table that it has itself loaded.
    pub fn listings(&self, desired: &Table) -> (Vec<String>, Vec<String>) {
        self.scratch.nft(&format!("flush ruleset\n{desired}"));
        (words(&self.namespace), words(&self.scratch))
    }

    /// What the kernel calls the rules of a chain.
    fn handles(&self, chain: &ChainName) -> Vec<u64> {
        let text = self.namespace.sh(&format!("nft --handle list chain inet sluice {chain}"));
        let rules = text.lines().filter(|line| !line.contains("{ # handle"));
        rules.filter_map(|line| line.rsplit_once("# handle ")?.1.parse().ok()).collect()
    }
}

impl Dataplane for &Kernel {
    fn read(&mut self) -> Result<Snapshot, ReadError> {
        self.netlink.borrow_mut().read()
    }

    fn read_part(&mut self, part: &Part) -> Result<Option<Table>, ReadError> {
        self.netlink.borrow_mut().read_part(part)
    }

    fn counters(&mut self, name: &SetName, set: &Set) -> Result<Vec<(Key, Counter)>, ReadError> {
        self.netlink.borrow_mut().counters(name, set)
    }

    fn dynamic_elements(&mut self, name: &SetName, set: &Set) -> Result<Vec<(Key, Data)>, ReadError> {
        self.netlink.borrow_mut().dynamic_elements(name, set)
    }

    fn unchanged_since(&mut self, generation: u32) -> Result<Option<u32>, ReadError> {
        self.netlink.borrow_mut().unchanged_since(generation)
    }

    fn commit(&mut self, steps: &[Step], planned_from: Option<u32>) -> Result<Receipt, CommitError> {
        self.commits.set(self.commits.get() + 1);
        self.netlink.borrow_mut().commit(steps, planned_from)
    }
}

fn words(namespace: &Namespace) -> Vec<String> {
    let text = namespace.sh(&format!("nft --stateless list {TABLE}"));
    // The table's own flags are no part of the model.
    let lines = text.lines().filter(|line| !line.starts_with("\tflags "));
    let words = lines.flat_map(|line| line.split([' ', '\t', ','])).filter(|word| !word.is_empty());
    let mut words: Vec<_> = words.map(str::to_owned).collect();
    words.sort();
    words
}
