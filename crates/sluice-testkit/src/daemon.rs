//! Runs the programs under test on the lab's balancer.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{Lab, eventually, program};

/// The result of a program.
#[derive(Debug)]
pub struct Finished {
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Finished {
    /// Checks the exit code.
    ///
    /// # Panics
    /// If it is another one, with the output of the program.
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stderr:\n{}\nstdout:\n{}", self.stderr, self.stdout);
        self
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    /// If it is not JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}\n{}{}", self.stderr, self.stdout))
    }
}

impl Lab {
    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.path("sluice.yaml")
    }

    /// Writes the configuration file: this text, with a control socket in the lab's directory.
    pub fn configure(&self, yaml: &str) {
        let text = format!("{yaml}\ncontrol: {{socket: {}}}\n", self.path("sluice.sock").display());
        fs::write(self.config(), text).expect("write the configuration");
    }

    /// Writes the configuration file, starts the daemon and waits until it is ready.
    ///
    /// # Panics
    /// If it exits before, with its log.
    pub fn start(&self, yaml: &str) -> Daemon<'_> {
        self.configure(yaml);
        Daemon::start(self)
    }

    /// Runs the daemon with these arguments until it exits, for starts that must fail.
    pub fn sluiced(&self, arguments: &[&str]) -> Finished {
        self.finish(Command::new(program("sluiced")).args(arguments))
    }

    /// Runs the command line with the lab's configuration file and control socket.
    pub fn sluice(&self, arguments: &[&str]) -> Finished {
        self.finish(
            Command::new(program("sluice"))
                .args(arguments)
                .env("SLUICE_CONFIG", self.config())
                .env("SLUICE_SOCKET", self.path("sluice.sock")),
        )
    }

    /// A script that runs these commands, in which `$lab` is the lab's directory, and then executes `sluiced`.
    pub fn sluiced_after(&self, commands: &str, sluiced: &str) -> PathBuf {
        let script = self.path("script");
        let lab = self.path("");
        let text = format!("#!/bin/sh\nset -e\nlab={}\n{commands}\nexec {sluiced} \"$@\"\n", lab.display());
        fs::write(&script, text).expect("write a script");
        fs::set_permissions(&script, Permissions::from_mode(0o755)).expect("make the script executable");
        script
    }

    /// Runs a program on the balancer until it exits.
    pub fn finish(&self, command: &mut Command) -> Finished {
        let output = self.balancer.try_feed(command, "");
        Finished {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The output of `nft list ruleset` on the balancer, without counts and without owners of tables.
    pub fn ruleset(&self) -> String {
        let text = self.balancer.sh("nft --stateless list ruleset");
        let lines = text.lines().filter(|line| !line.starts_with("\tflags "));
        let lines = lines.map(|line| format!("{}\n", line.split(" # progname").next().unwrap_or(line)));
        // There was a blank line between flags and objects.
        lines.collect::<String>().replace(" {\n\n", " {\n")
    }
}

/// A running `sluiced` on the balancer. It is killed on drop, and by the kernel if the thread
/// that started it ends without a drop.
pub struct Daemon<'a> {
    lab: &'a Lab,
    child: Child,
    notify: UnixDatagram,
}

impl<'a> Daemon<'a> {
    /// Starts the daemon with the current configuration file and waits until it is ready.
    ///
    /// # Panics
    /// If it exits before, with its log.
    pub fn start(lab: &'a Lab) -> Self {
        Self::start_with(lab, &[])
    }

    /// The same, with these variables in its environment.
    pub fn start_with(lab: &'a Lab, environment: &[(&str, &str)]) -> Self {
        Self::start_program(lab, &program("sluiced"), environment)
    }

    /// The same, with the daemon at this path, as after an upgrade.
    pub fn start_program(lab: &'a Lab, sluiced: &Path, environment: &[(&str, &str)]) -> Self {
        let mut daemon = Self::begin(lab, sluiced, environment);
        daemon.wait_for("READY=1");
        daemon
    }

    /// Starts the daemon with the current configuration file, without waiting.
    pub fn begin(lab: &'a Lab, sluiced: &Path, environment: &[(&str, &str)]) -> Self {
        let notify_path = lab.path("notify.sock");
        // A previous daemon had a socket with the same name.
        let _ = fs::remove_file(&notify_path);
        let notify = UnixDatagram::bind(&notify_path).expect("bind the notify socket");
        // A daemon of another user must be able to send to it.
        fs::set_permissions(&notify_path, Permissions::from_mode(0o777)).expect("open the notify socket");
        notify.set_read_timeout(Some(Duration::from_millis(20))).expect("set a timeout");
        let log = OpenOptions::new().create(true).append(true).open(log_path(lab)).expect("open the log");

        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(sluiced).arg("-c").arg(lab.config());
        command.env("NOTIFY_SOCKET", &notify_path).env_remove("RUST_LOG");
        command.envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = lab.balancer.run(|| command.spawn()).expect("start setpriv");
        Daemon { lab, child, notify }
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
        self.lab.configure(yaml);
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

    /// The log of all daemons of the lab so far.
    pub fn log(&self) -> String {
        fs::read_to_string(log_path(self.lab)).expect("read the log")
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

fn log_path(lab: &Lab) -> PathBuf {
    lab.path("sluiced.log")
}
