//! Tests against the kernel: a network namespace for each, and nft in it.

mod addresses;
mod commit;
mod conformance;
mod conntrack;
mod consistent;
mod damaged;
mod deleted;
mod faults;
mod foreign;
mod hammer;
mod interfaces;
mod large;
mod monitor;
mod own;
mod part;
mod rules;
mod shapes;
mod watch;
mod wire;

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::thread;

use nix::sched::{CloneFlags, unshare};
use sluice_core::plan::diff;
use sluice_core::render::owner::Owners;
use sluice_nft::{Dataplane, Snapshot, Step, Table};

use crate::Netlink;
use crate::target::Target;

/// Runs `test` in a network namespace of its own. Child processes are in it too.
///
/// # Panics
/// If `test` does, and without the privilege to make a namespace.
pub(crate) fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let body = || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace, which takes CAP_SYS_ADMIN");
        test();
    };
    if let Err(panic) = thread::spawn(body).join() {
        std::panic::resume_unwind(panic);
    }
}

/// Standard output of nft.
pub(crate) fn nft_prints(args: &[&str]) -> String {
    let Output { status, stdout, .. } = Command::new("nft").args(args).output().expect("nft runs");
    assert!(status.success(), "nft {args:?} fails");
    String::from_utf8(stdout).expect("nft prints UTF-8")
}

/// Loads a ruleset with nft.
fn nft(ruleset: &str) {
    let mut child = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().expect("nft starts");
    child.stdin.take().expect("a pipe").write_all(ruleset.as_bytes()).expect("nft reads");
    assert!(child.wait().expect("nft ends").success(), "nft -f refuses\n{ruleset}");
}

fn open() -> Netlink {
    Netlink::open().expect("nf_tables answers")
}

/// The table in the kernel.
fn read(netlink: &mut Netlink) -> Snapshot {
    netlink.read().unwrap_or_else(|error| panic!("{error}: {}", error.errno))
}

/// Our table, which exists.
fn table(netlink: &mut Netlink) -> Table {
    read(netlink).table.expect("the table exists")
}

fn commit(netlink: &mut Netlink, steps: &[Step]) {
    netlink.commit(steps, None).unwrap_or_else(|error| panic!("{error}: {}", error.errno));
}

/// One that commits to table `inet other`.
fn elsewhere() -> Netlink {
    let mut netlink = open();
    netlink.table = Target { name: "other", flags: 0 };
    netlink
}

/// The steps from nothing to a table.
fn steps(table: &Table) -> Vec<Step> {
    let plan = diff(None, Some(table), &Owners::default());
    plan.changes().map(|change| change.step.clone()).collect()
}
