//! What changes in the balancer's ruleset, as the kernel tells it.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command};

use crate::{Lab, eventually};

/// A running `nft monitor` on the balancer. It ends with the value.
pub struct Monitor<'a> {
    lab: &'a Lab,
    child: Child,
    output: PathBuf,
    /// Lines of the output already looked at.
    seen: usize,
    /// Changes of ours, each under a name of its own, to know how far the monitor is.
    marks: usize,
}

impl<'a> Monitor<'a> {
    /// Starts it and waits until it listens.
    pub fn start(lab: &'a Lab) -> Self {
        let output = lab.path("monitor.txt");
        let file = File::create(&output).expect("create the monitor's output");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "nft", "monitor"]).stdout(file);
        let child = lab.balancer.run(|| command.spawn()).expect("start nft monitor");
        let mut monitor = Monitor { lab, child, output, seen: 0, marks: 0 };
        eventually("nft monitor listens", || {
            monitor.mark();
            (!monitor.text().is_empty()).then_some(())
        });
        monitor.changes();
        monitor
    }

    /// What others changed since the last call, in nft syntax; empty if nobody sent anything.
    pub fn changes(&mut self) -> String {
        let mark = self.mark();
        // Events come in order: when ours is told, all before it have been.
        let text = eventually("nft monitor tells of a change", || {
            let text = self.text();
            text.lines().any(|line| line.ends_with(&mark)).then_some(text)
        });
        let new: Vec<_> = text.lines().skip(self.seen).take_while(|line| !line.ends_with(&mark)).collect();
        self.seen += new.len();
        let others = new.into_iter().filter(|line| !line.contains("mark-") && !line.ends_with("(nft)"));
        others.collect::<Vec<_>>().join("\n")
    }

    /// Changes the ruleset and changes it back; returns a name that the monitor will tell.
    fn mark(&mut self) -> String {
        self.marks += 1;
        let mark = format!("mark-{}", self.marks);
        self.lab.balancer.sh(&format!("nft 'add table ip {mark}; delete table ip {mark}'"));
        mark
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.output).expect("read the monitor's output")
    }
}

impl Drop for Monitor<'_> {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
