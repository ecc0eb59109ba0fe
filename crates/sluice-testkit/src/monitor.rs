//! What changes in the balancer's ruleset, told by the kernel.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command};

use crate::{Lab, eventually};

/// A running `nft monitor` on the balancer; it ends with the value.
pub struct Monitor<'a> {
    lab: &'a Lab,
    child: Child,
    output: PathBuf,
    seen: usize,
}

impl<'a> Monitor<'a> {
    /// Starts it and waits until it listens.
    pub fn start(lab: &'a Lab) -> Self {
        let output = lab.path("monitor.txt");
        let file = File::create(&output).expect("create the monitor's output");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "nft", "monitor"]).stdout(file);
        let child = lab.balancer.run(|| command.spawn()).expect("start nft monitor");
        let mut monitor = Monitor { lab, child, output, seen: 0 };
        eventually("nft monitor listens", || (!monitor.mark().is_empty()).then_some(()));
        monitor.changes();
        monitor
    }

    /// What changed since the last call, in nft syntax; empty if nothing was sent to the kernel.
    pub fn changes(&mut self) -> String {
        // Events come in order: when a change of ours is told, all before it have been.
        self.mark();
        let text = eventually("nft monitor tells of the mark", || {
            let text = self.text();
            text[self.seen..].find(DELETED).map(|end| text[self.seen..][..end].to_owned())
        });
        // The end of what has been seen: after the mark.
        self.seen = eventually("the end of the mark", || {
            let text = self.text();
            let rest = &text[self.seen + text[self.seen..].find(DELETED)?..];
            rest.find('#').and_then(|at| rest[at..].find('\n').map(|line| text.len() - rest.len() + at + line + 1))
        });
        let before_mark = text.find(ADDED).unwrap_or(text.len());
        text[..before_mark].trim().to_owned()
    }
}
