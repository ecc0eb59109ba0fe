//! The kernel of a history: the fake or the real one, with injected faults, and a record of the table after each commit.

use std::cell::RefCell;
use std::panic::resume_unwind;
use std::rc::Rc;

use sluice_core::plan::diff;
use sluice_core::render::owner::Owners;
use sluice_netlink::{Netlink, TableOwnership};
use sluice_nft::fake::FakeKernel;
use sluice_nft::{
    CommitError, Counter, Data, Dataplane, Errno, Key, Part, ReadError, Receipt, Set, SetName, Snapshot,
    Step, Table,
};
use sluice_testkit::Namespace;
use tokio::time::Instant;

use crate::event::Failure;

/// Ends the daemon's task as kill -9 ends the daemon: nothing of it runs any more.
pub struct Killed;

/// Where the table lives.
enum Kernel {
    Fake(Box<FakeKernel>),
    /// Ours, and somebody else's way to it.
    Real(Box<(Netlink, Netlink)>),
}

/// Clones are the same plane.
#[derive(Clone)]
pub struct Plane(Rc<RefCell<Inner>>);

struct Inner {
    kernel: Kernel,
    faults: Vec<(usize, Fault)>,
    reads_to_fail: usize,
    /// What the kernel held after each commit since the record was taken.
    record: Vec<Option<Table>>,
    /// Steps of each batch that was carried out since they were taken.
    batches: Vec<Vec<String>>,
    /// Commits tried so far.
    tried: usize,
    last_whole_read: Instant,
    began: Instant,
    /// All that happened, if somebody wants to compare it.
    log: Option<Vec<String>>,
}

/// What happens at a commit.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Fails(Errno, bool),
    Kills(bool),
}

impl Plane {
    pub fn fake() -> Self {
        Plane::of(Kernel::Fake(Box::default()))
    }

    /// The kernel of the thread's network namespace, or of this one.
    pub fn real(namespace: &Namespace) -> Self {
        let open = || Netlink::open_to(TableOwnership::None).expect("open nf_tables");
        namespace.nft("flush ruleset");
        Plane::of(Kernel::Real(Box::new(namespace.run(|| (open(), open())))))
    }

    fn of(kernel: Kernel) -> Self {
        Plane(Rc::new(RefCell::new(Inner {
            kernel,
            faults: vec![],
            reads_to_fail: 0,
            record: vec![],
            batches: vec![],
            tried: 0,
            last_whole_read: Instant::now(),
            began: Instant::now(),
            log: None,
        })))
    }

    pub fn table(&self) -> Option<Table> {
        self.0.borrow_mut().kernel.table()
    }

    /// Commits that were tried.
    pub fn tried(&self) -> usize {
        self.0.borrow().tried
    }

    /// When the daemon last read the whole table.
    pub fn last_whole_read(&self) -> Instant {
        self.0.borrow().last_whole_read
    }

    /// What the kernel held after each commit since this was last asked.
    pub fn take_record(&self) -> Vec<Option<Table>> {
        std::mem::take(&mut self.0.borrow_mut().record)
    }

    /// Steps of each batch that was carried out since this was last asked.
    pub fn take_batches(&self) -> Vec<Vec<String>> {
        std::mem::take(&mut self.0.borrow_mut().batches)
    }

    /// Notes what happens from now on.
    pub fn keep_log(&self) {
        self.0.borrow_mut().log = Some(vec![]);
    }

    /// What happened since then, each with its time.
    pub fn take_log(&self) -> Vec<String> {
        self.0.borrow_mut().log.take().unwrap_or_default()
    }

    /// Notes something, if anybody wants to know.
    pub fn note(&self, what: impl FnOnce() -> String) {
        if self.0.borrow().log.is_some() {
            let line = format!("{:?} {}", self.0.borrow().began.elapsed(), what());
            self.0.borrow_mut().log.get_or_insert_default().push(line);
        }
    }

    /// Makes the `nth` commit from now fail, 0 being the next, before it was carried out or after.
    pub fn fail_commit(&self, nth: usize, failure: Failure, after: bool) {
        let errno = match failure {
            Failure::Restart => Errno::ERESTART,
            Failure::NoMemory => Errno(12),
            Failure::NoBuffers => Errno(105),
            Failure::Busy => Errno::EBUSY,
            Failure::NotPermitted => Errno::EPERM,
            Failure::FullTable => Errno::ENFILE,
        };
        self.0.borrow_mut().faults.push((nth, Fault::Fails(errno, after)));
    }

    /// Kills the daemon at the `nth` commit from now, before it was carried out or after.
    pub fn kill_at_commit(&self, nth: usize, after: bool) {
        self.0.borrow_mut().faults.push((nth, Fault::Kills(after)));
    }

    pub fn fail_reads(&self, count: usize) {
        self.0.borrow_mut().reads_to_fail += count;
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        let mut inner = self.0.borrow_mut();
        (inner.faults, inner.reads_to_fail) = (vec![], 0);
    }

    pub fn is_faulty(&self) -> bool {
        let inner = self.0.borrow();
        !inner.faults.is_empty() || inner.reads_to_fail > 0
    }

    /// Lets somebody else change the table; `false` if the kernel refuses.
    pub fn edit(&self, change: impl FnOnce(&mut Option<Table>)) -> bool {
        self.0.borrow_mut().kernel.edit(change)
    }

    /// The fault that is due at this commit.
    fn fault(&self) -> Option<Fault> {
        let mut inner = self.0.borrow_mut();
        inner.tried += 1;
        let due = inner.faults.iter().position(|(nth, _)| *nth == 0);
        inner.faults.iter_mut().for_each(|(nth, _)| *nth = nth.saturating_sub(1));
        due.map(|index| inner.faults.remove(index).1)
    }

    fn read_fault(&self, whole: bool) -> Result<(), ReadError> {
        self.note(|| format!("reads, {} in vain", self.0.borrow().reads_to_fail));
        let mut inner = self.0.borrow_mut();
        if whole {
            inner.last_whole_read = Instant::now();
        }
        if inner.reads_to_fail == 0 {
            return Ok(());
        }
        inner.reads_to_fail -= 1;
        Err(ReadError { operation: "read".to_owned(), errno: Errno::EINTR })
    }
}

impl Kernel {
    fn plane(&mut self) -> &mut dyn Dataplane {
        match self {
            Kernel::Fake(fake) => &mut **fake,
            Kernel::Real(real) => &mut real.0,
        }
    }

    fn table(&mut self) -> Option<Table> {
        match self {
            Kernel::Fake(fake) => fake.table().cloned(),
            Kernel::Real(real) => real.1.read().expect("read the kernel").table,
        }
    }

    fn edit(&mut self, change: impl FnOnce(&mut Option<Table>)) -> bool {
        match self {
            Kernel::Fake(fake) => {
                fake.edit(change);
                true
            }
            Kernel::Real(real) => {
                let current = real.1.read().expect("read the kernel").table;
                let mut edited = current.clone();
                change(&mut edited);
                let plan = diff(current.as_ref(), edited.as_ref(), &Owners::default());
                let batches = plan.batches.into_iter();
                let mut steps =
                    batches.map(|batch| batch.changes.into_iter().map(|change| change.step).collect());
                steps.all(|steps: Vec<Step>| real.1.commit(&steps, None).is_ok())
            }
        }
    }
}

impl Dataplane for Plane {
    fn read(&mut self) -> Result<Snapshot, ReadError> {
        self.read_fault(true)?;
        self.0.borrow_mut().kernel.plane().read()
    }

    fn read_part(&mut self, part: &Part) -> Result<Option<Table>, ReadError> {
        self.read_fault(false)?;
        self.0.borrow_mut().kernel.plane().read_part(part)
    }

    fn counters(&mut self, name: &SetName, set: &Set) -> Result<Vec<(Key, Counter)>, ReadError> {
        self.read_fault(false)?;
        self.0.borrow_mut().kernel.plane().counters(name, set)
    }

    fn dynamic_elements(&mut self, name: &SetName, set: &Set) -> Result<Vec<(Key, Data)>, ReadError> {
        self.read_fault(false)?;
        self.0.borrow_mut().kernel.plane().dynamic_elements(name, set)
    }

    fn unchanged_since(&mut self, generation: u32) -> Result<Option<u32>, ReadError> {
        self.read_fault(false)?;
        self.0.borrow_mut().kernel.plane().unchanged_since(generation)
    }

    fn commit(&mut self, steps: &[Step], planned_from: Option<u32>) -> Result<Receipt, CommitError> {
        if steps.is_empty() {
            return self.0.borrow_mut().kernel.plane().commit(steps, planned_from);
        }
        let fault = self.fault();
        let lines: Vec<String> = steps.iter().map(Step::to_string).collect();
        self.note(|| format!("commits {lines:#?}, {fault:?}"));
        let refused = |errno| Err(CommitError { operation: "commit a batch".to_owned(), errno });
        match fault {
            Some(Fault::Kills(false)) => resume_unwind(Box::new(Killed)),
            Some(Fault::Fails(errno, false)) => return refused(errno),
            _ => {}
        }
        let receipt = self.0.borrow_mut().kernel.plane().commit(steps, planned_from)?;
        let mut inner = self.0.borrow_mut();
        let table = inner.kernel.table();
        inner.record.push(table);
        inner.batches.push(lines);
        drop(inner);
        match fault {
            Some(Fault::Kills(_)) => resume_unwind(Box::new(Killed)),
            Some(Fault::Fails(errno, _)) => refused(errno),
            None => Ok(receipt),
        }
    }
}
