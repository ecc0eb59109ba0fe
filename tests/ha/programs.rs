//! Programs of Debian's packages on a node, as the host's service manager would start them.

use std::fs::{self, File, create_dir_all};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use sluice_testkit::{Node, eventually};

use crate::pair::{Pair, shipped};

/// A running program. It sees a /run of its node, and /usr/bin/sluice. It is killed on drop, and by the kernel if the
/// thread that started it ends without a drop.
pub(crate) struct Program<'a> {
    node: &'a Node,
    name: &'static str,
    child: Child,
}

/// Mounts, seen by the program and its children only. keepalived trusts scripts only in directories of root.
const MOUNTS: &str = r#"mount --bind "$0/run" /run
mount -t overlay overlay -o "lowerdir=$1:/usr/bin" /usr/bin
shift
exec "$@""#;

impl Pair {
    /// Starts keepalived with the shipped file.
    pub(crate) fn keepalived<'a>(&self, node: &'a Node) -> Program<'a> {
        self.keepalived_with(node, &shipped("keepalived.conf"))
    }

    /// The same, but nothing asks sluice.
    pub(crate) fn keepalived_without_script<'a>(&self, node: &'a Node) -> Program<'a> {
        let text = shipped("keepalived.conf");
        let (before, after) =
            text.split_once("    track_script {\n        sluice\n    }\n").expect("the script");
        self.keepalived_with(node, &format!("{before}{after}"))
    }

    /// The same with this file.
    pub(crate) fn keepalived_with<'a>(&self, node: &'a Node, text: &str) -> Program<'a> {
        let file = file(node, "keepalived.conf", text);
        // A killed child is a zombie until the first process of this machine waits for it; keepalived takes a zombie for a
        // running daemon.
        for pid_file in ["run/keepalived.pid", "run/vrrp.pid"] {
            let _ = fs::remove_file(node.path(pid_file));
        }
        let options = ["--vrrp", "--dont-fork", "--log-console", "--log-detail", "--use-file", &file];
        Program::start(self, node, "keepalived", &options)
    }

    /// Starts conntrackd with the shipped file, which is that of node A, and waits until it copies entries.
    pub(crate) fn conntrackd<'a>(&self, node: &'a Node) -> Program<'a> {
        let text = shipped("conntrackd.conf");
        let (own, other) = ("IPv4_address 10.0.3.1\n", "IPv4_Destination_Address 10.0.3.2\n");
        assert!(text.contains(own) && text.contains(other));
        let exchanged = || {
            let text = text.replacen(own, "IPv4_address 10.0.3.2\n", 1);
            text.replacen(other, "IPv4_Destination_Address 10.0.3.1\n", 1)
        };
        let text = if node.name() == "a" { text.clone() } else { exchanged() };
        let file = file(node, "conntrackd.conf", &text);
        let conntrackd = Program::start(self, node, "conntrackd", &["-C", &file]);
        let is_running = || conntrackd.log().contains("initialization completed").then_some(());
        eventually("conntrackd gets events", is_running);
        conntrackd
    }

    /// Starts BIRD with this file, whose log is this program's.
    pub(crate) fn bird_with<'a>(&self, node: &'a Node, text: &str) -> Program<'a> {
        let log = "log syslog all;";
        assert!(text.contains(log), "{text}");
        let file = file(node, "bird.conf", &text.replace(log, "log stderr all;"));
        let socket = node.path("bird.ctl");
        Program::start(self, node, "bird", &["-f", "-c", &file, "-s", socket.to_str().expect("UTF-8")])
    }
}

impl<'a> Program<'a> {
    fn start(pair: &Pair, node: &'a Node, name: &'static str, arguments: &[&str]) -> Self {
        let run = node.path("run");
        create_dir_all(run.join("lock")).expect("make /run/lock");
        if fs::symlink_metadata(run.join("sluice")).is_err() {
            symlink(node.path(""), run.join("sluice")).expect("make /run/sluice");
        }
        let log = File::options().create(true).append(true).open(log_path(node, name)).expect("open a log");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "unshare", "--mount", "--propagation", "private", "--"]);
        command.args(["sh", "-ec", MOUNTS]).arg(node.path("")).arg(pair.bin.path()).arg(name).args(arguments);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a second descriptor")).stderr(log);
        command.process_group(0);
        let child = node.run(|| command.spawn()).expect("start setpriv");
        Program { node, name, child }
    }

    /// Sends `SIGTERM` and waits for the end.
    pub(crate) fn stop(mut self) {
        kill(self.pid(), Signal::SIGTERM).unwrap_or_else(|e| panic!("SIGTERM to {}: {e}", self.name));
        eventually(&format!("{} ends", self.name), || self.child.try_wait().expect("wait for it"));
    }

    /// Kills it and its children at once: none of them can react to the end of another.
    pub(crate) fn crash(self) {
        drop(self);
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(log_path(self.node, self.name)).unwrap_or_default()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().expect("process ids are small"))
    }
}

impl Drop for Program<'_> {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = killpg(self.pid(), Signal::SIGKILL);
        }
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of {} on {}\n{}---", self.name, self.node.name(), self.log());
        }
    }
}

/// Writes a file of a program and returns its path.
fn file(node: &Node, name: &str, text: &str) -> String {
    let path = node.path(name);
    fs::write(&path, text).unwrap_or_else(|e| panic!("write {}: {e}", path.display()));
    path.to_str().expect("UTF-8").to_owned()
}

fn log_path(node: &Node, name: &str) -> PathBuf {
    node.path(&format!("{name}.log"))
}
