//! The daemon under test.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{Node, eventually, program};

/// A running `sluiced`. It is killed on drop, and by the kernel if the thread
/// that started it ends without a drop.
pub struct Daemon<'a> {
    node: &'a Node,
    child: Child,
    notify: UnixDatagram,
}

impl<'a> Daemon<'a> {
    /// Starts the daemon with the current configuration file and waits until it is ready.
    ///
    /// # Panics
    /// If it exits before, with its log.
    pub fn start(node: &'a Node) -> Self {
        Self::start_with(node, &[])
    }

    /// The same, with these variables in its environment.
    pub fn start_with(node: &'a Node, environment: &[(&str, &str)]) -> Self {
        Self::start_program(node, &program("sluiced"), environment)
    }

    /// The same, with the daemon at this path, as after an upgrade.
    pub fn start_program(node: &'a Node, sluiced: &Path, environment: &[(&str, &str)]) -> Self {
        let mut daemon = Self::begin(node, sluiced, environment);
        daemon.wait_for("READY=1");
        daemon
    }

    /// Starts the daemon with the current configuration file, without waiting.
    pub fn begin(node: &'a Node, sluiced: &Path, environment: &[(&str, &str)]) -> Self {
        let notify_path = node.path("notify.sock");
        // A previous daemon had a socket with the same name.
        let _ = fs::remove_file(&notify_path);
        let notify = UnixDatagram::bind(&notify_path).expect("bind the notify socket");
        // A daemon of another user must be able to send to it.
        fs::set_permissions(&notify_path, Permissions::from_mode(0o777)).expect("open the notify socket");
        notify.set_read_timeout(Some(Duration::from_millis(20))).expect("set a timeout");
        let log = OpenOptions::new().create(true).append(true).open(log_path(node)).expect("open the log");

        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(sluiced).arg("-c").arg(node.config());
        command.env("NOTIFY_SOCKET", &notify_path).env_remove("RUST_LOG");
        command.envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = node.run(|| command.spawn()).expect("start setpriv");
        Daemon { node, child, notify }
    }

    /// Sends `SIGHUP` and waits until the reload has ended, successful or not.
    pub fn hang_up(&mut self) {
        // Earlier messages are about earlier reloads.
        while self.notify.recv(&mut []).is_ok() {}
        self.begin_reload();
        self.wait_for("RELOADING=1");
        self.wait_for("READY=1");
    }

    /// Writes the configuration file, sends `SIGHUP` and waits until the reload has ended.
    pub fn reload(&mut self, yaml: &str) {
        self.node.configure(yaml);
        self.hang_up();
    }

    /// Sends `SIGHUP` without waiting.
    pub fn begin_reload(&self) {
        self.signal(Signal::SIGHUP);
    }

    /// Sends `SIGTERM` without waiting.
    pub fn begin_stop(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Sends `SIGTERM` and waits until the daemon exits.
    pub fn stop(mut self) -> ExitStatus {
        self.begin_stop();
        eventually("sluiced ends after SIGTERM", || self.child.try_wait().expect("wait for sluiced"))
    }

    /// Sends `SIGUSR2`, as for a restart, and waits until the daemon exits.
    pub fn hand_over(mut self) -> ExitStatus {
        self.signal(Signal::SIGUSR2);
        eventually("sluiced ends after SIGUSR2", || self.child.try_wait().expect("wait for sluiced"))
    }

    /// Kills the daemon, like a crash.
    pub fn crash(self) {
        drop(self);
    }

    /// The log of all daemons of the node so far.
    pub fn log(&self) -> String {
        fs::read_to_string(log_path(self.node)).expect("read the log")
    }

    /// Number of lines of the log that contain a text.
    pub fn logged(&self, text: &str) -> usize {
        self.log().lines().filter(|line| line.contains(text)).count()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().expect("process ids are small"));
        kill(pid, signal).unwrap_or_else(|e| panic!("{signal} to sluiced: {e}"));
    }

    /// Waits for a message of sd_notify(3).
    fn wait_for(&mut self, message: &str) {
        let mut datagram = [0; 4096];
        eventually(&format!("{message} from sluiced"), || {
            if let Some(status) = self.child.try_wait().expect("wait for sluiced") {
                panic!("sluiced ended with {status} before {message}");
            }
            let length = self.notify.recv(&mut datagram).ok()?;
            String::from_utf8_lossy(&datagram[..length]).lines().any(|line| line == message).then_some(())
        });
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        // Both fail only if it has exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of sluiced\n{}---", self.log());
        }
    }
}

fn log_path(node: &Node) -> PathBuf {
    node.path("sluiced.log")
}
