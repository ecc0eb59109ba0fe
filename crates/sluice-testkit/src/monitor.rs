//! Changes of the balancer's ruleset, from `nft monitor`.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command};

use crate::{Lab, eventually};

/// A running `nft monitor` on the balancer. It is killed on drop.
pub struct Monitor<'a> {
    lab: &'a Lab,
    child: Child,
    output: PathBuf,
    /// Number of output lines already returned.
    seen: usize,
    /// Number of our markers, which show how much of the output is written.
    marks: usize,
}

impl<'a> Monitor<'a> {
    /// Starts the monitor and waits until it receives events.
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

    /// Changes by others since the last call, in nft syntax.
    pub fn changes(&mut self) -> String {
        let mark = self.mark();
        // Events are in order: after our marker, all earlier events have arrived.
        let text = eventually("nft monitor tells of a change", || {
            let text = self.text();
            text.lines().any(|line| line.ends_with(&mark)).then_some(text)
        });
        let new: Vec<_> = text.lines().skip(self.seen).take_while(|line| !line.ends_with(&mark)).collect();
        self.seen += new.len();
        let others = new.into_iter().filter(|line| !line.contains("mark-") && !line.ends_with("(nft)"));
        others.collect::<Vec<_>>().join("\n")
    }

    /// Changes the ruleset and reverts the change; returns a name that the monitor will print.
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
        // Both fail only if it has exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
