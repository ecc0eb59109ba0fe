//! Another program commits to other tables all the time.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use sluice_nft::{Chain, Dataplane, Errno, Rule, Statement, Step, Table};

use super::large::large;
use super::{commit, elsewhere, in_namespace, open, steps};
use crate::Netlink;

/// How often a commit is retried because of a commit of another program.
const ATTEMPTS: usize = 100;

/// Pause between two commits of the other program. Without it, no dump of chains would ever be consistent.
const PAUSE: Duration = Duration::from_millis(2);

/// Many services, and many chains.
fn held() -> Table {
    let mut table = large();
    for n in 0..5000 {
        let chain = Chain { base: None, rules: vec![Rule(vec![Statement::Counter, Statement::Drop])] };
        table.chains.insert(format!("chain-{n}").into(), chain);
    }
    table
}

/// Lets another socket add and delete chains of a table that the kernel lists before ours, until `work` is
/// done.
fn hammered(work: impl FnOnce(&mut Netlink)) -> u32 {
    let mut other = elsewhere();
    commit(&mut other, &[Step::AddTable]);
    let mut netlink = open();
    commit(&mut netlink, &steps(&held()));
    let (done, commits) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            let chains =
                |step: fn(String) -> Step| (0..50).map(|n| step(format!("c{n}"))).collect::<Vec<_>>();
            let add = chains(|name| Step::AddChain(name.into(), None));
            let delete = chains(|name| Step::DeleteChain(name.into()));
            for steps in [&add, &delete].into_iter().cycle() {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                commit(&mut other, steps);
                commits.fetch_add(1, Ordering::Relaxed);
                thread::sleep(PAUSE);
            }
        });
        // The other thread must also stop if the work fails.
        struct Done<'a>(&'a AtomicBool);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _done = Done(&done);
        work(&mut netlink);
    });
    commits.into_inner()
}

#[test]
fn read_of_a_large_table_while_others_commit_elsewhere_is_whole() {
    in_namespace(|| {
        let commits = hammered(|netlink| {
            let held = held();
            for _ in 0..2 {
                let snapshot = netlink.read().unwrap_or_else(|error| panic!("{error}: {}", error.errno));
                assert_eq!(snapshot.table.as_ref(), Some(&held));
            }
        });
        assert!(commits > 100, "{commits} commits");
    });
}

#[test]
fn commits_planned_from_a_generation_succeed_while_others_commit_elsewhere() {
    in_namespace(|| {
        hammered(|netlink| {
            let mut generation = netlink.read().expect("it can be read").generation;
            let mut stale = 0;
            for n in 0..50 {
                let step = [Step::AddChain(format!("ours-{n}").into(), None)];
                let receipt = (0..ATTEMPTS).find_map(|_| match netlink.commit(&step, Some(generation)) {
                    Ok(receipt) => Some(receipt),
                    Err(error) => {
                        assert_eq!(error.errno, Errno::ERESTART, "{error}");
                        stale += 1;
                        let now = netlink.unchanged_since(generation).expect("it can be found out");
                        generation = now.expect("nobody touches our table");
                        None
                    }
                });
                generation = receipt.expect("it succeeds in the end").generation.expect("it is known");
            }
            assert!(stale > 0, "nobody interfered");
        });
    });
}
