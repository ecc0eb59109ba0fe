//! `Aside`: a processor for long work, which the prompt threads avoid meanwhile.
//!
//! Most kernels do not interrupt a system call for another thread, and they leave a thread that wakes up on the processor on which
//! it ran last. The dump of a conntrack with 262,144 buckets and few flows is a single system call of several milliseconds. A
//! thread that computes is interrupted, but only at the next tick if the other one has used more than its share.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::thread::{CpuSet, Pid, gettid, sched_getaffinity, sched_setaffinity};
use tracing::debug;

/// The processors of the process at its start.
static ALLOWED: OnceLock<Option<CpuSet>> = OnceLock::new();

static PROCESSORS: Mutex<Processors> = Mutex::new(Processors { prompt: vec![], aside: 0 });

struct Processors {
    /// Threads that react to health: the reconcile task and the workers of the runtime.
    prompt: Vec<Pid>,
    /// Number of threads that do long work.
    aside: usize,
}

/// Declares the calling thread prompt, for its whole life.
pub fn be_prompt() {
    allowed();
    processors().prompt.push(gettid());
}

/// Gives the calling thread all processors of the process: it may have been started by a thread that avoids one.
pub fn use_all() {
    if let Some(allowed) = allowed() {
        confine(None, &allowed);
    }
}

/// While it exists, the calling thread runs on the last processor of the process, like all others that have one, and prompt threads
/// do not. If the process has a single processor, nothing changes.
#[derive(Debug)]
pub(crate) struct Aside(());

impl Aside {
    /// Moves the calling thread.
    pub(crate) fn new() -> Self {
        let mut processors = processors();
        processors.aside += 1;
        let is_first = processors.aside == 1;
        if let Some((others, last)) = several().and_then(split) {
            confine(None, &last);
            processors.prompt.iter().filter(|_| is_first).for_each(|thread| confine(Some(*thread), &others));
        }
        Aside(())
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        let mut processors = processors();
        processors.aside -= 1;
        if let Some(allowed) = several() {
            let is_last = processors.aside == 0;
            processors.prompt.iter().filter(|_| is_last).for_each(|thread| confine(Some(*thread), &allowed));
            confine(None, &allowed);
        }
    }
}

fn allowed() -> Option<CpuSet> {
    *ALLOWED.get_or_init(|| sched_getaffinity(None).ok())
}

/// The processors of the process, if there are several.
fn several() -> Option<CpuSet> {
    allowed().filter(|allowed| allowed.count() > 1)
}

/// All processors but the last one, and the last one.
fn split(allowed: CpuSet) -> Option<(CpuSet, CpuSet)> {
    let last = (0..CpuSet::MAX_CPU).rev().find(|cpu| allowed.is_set(*cpu))?;
    let (mut others, mut alone) = (allowed, CpuSet::new());
    others.unset(last);
    alone.set(last);
    Some((others, alone))
}

fn confine(thread: Option<Pid>, to: &CpuSet) {
    if let Err(error) = sched_setaffinity(thread, to) {
        debug!("set the processors of a thread: {error}");
    }
}

fn processors() -> MutexGuard<'static, Processors> {
    PROCESSORS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn prompt_thread_avoids_the_processor_of_long_work_until_the_last_thread_has_finished() {
        let of = |thread| sched_getaffinity(thread).unwrap();
        let ((sender, tids), (end, ends)) = (channel(), channel::<()>());
        let prompt = thread::spawn(move || {
            be_prompt();
            sender.send(gettid()).unwrap();
            let _ = ends.recv();
        });
        let (prompt_id, all) = (Some(tids.recv().unwrap()), of(None));
        let avoided = |thread| all.count() - of(thread).count();
        let one = u32::from(all.count() > 1);
        let first = Aside::new();
        let cpu = of(None);
        assert_eq!(cpu.count(), 1, "long work has one processor");
        assert_eq!(avoided(prompt_id), one);
        let second = thread::spawn(|| {
            let aside = Aside::new();
            (aside, sched_getaffinity(None).unwrap())
        });
        let (second, shared) = second.join().unwrap();
        assert_eq!(shared, cpu);
        drop(first);
        assert_eq!(avoided(prompt_id), one);
        assert_eq!(of(None), all);
        drop(second);
        // Threads of other tests may work for a moment.
        let deadline = Instant::now() + Duration::from_secs(10);
        while avoided(prompt_id) > 0 {
            assert!(Instant::now() < deadline, "it may use all processors again");
            thread::yield_now();
        }
        drop(end);
        prompt.join().unwrap();
    }
}
