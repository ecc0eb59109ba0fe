//! A Debian of its own on a node: systemd is its first process.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, process};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sluice_testkit::{Finished, Node, eventually};

/// The configuration file of the package.
pub(crate) const CONFIG: &str = "/etc/sluice/sluice.yaml";

/// Where the control groups of containers are, whichever of these there is.
const HIERARCHIES: [&str; 3] = ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"];

/// A Debian in the network namespace of a node, while this lives.
pub(crate) struct Container {
    process: Child,
    name: String,
    /// Its first process.
    leader: u32,
    console: PathBuf,
}

impl Container {
    /// Boots it, without our package.
    ///
    /// # Panics
    /// If it does not come up, with what it said.
    pub(crate) fn boot(node: &Node) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("sluice-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let console = node.path("console");
        let log = fs::File::create(&console).expect("create the console's log");
        let root = made().join(env::var("SLUICE_DEBIAN").expect("SLUICE_DEBIAN: see tests/systemd/run"));
        // If this thread ends, however, systemd-nspawn ends, and with it everything inside.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(tests().join("boot")).arg(root).arg(&name);
        command.arg(node.netns()).arg(made().join("packages"));
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a second descriptor")).stderr(log);
        let process = command.spawn().expect("start setpriv");
        let mut container = Container { process, name, leader: 0, console };
        container.leader = eventually("the container has a first process", || container.first_process());
        eventually("systemd has booted", || {
            let state = container.run("systemctl is-system-running").stdout;
            ["running\n", "degraded\n"].contains(&state.as_str()).then_some(())
        });
        assert_eq!(container.sh("systemctl --failed --plain --no-legend"), "");
        container
    }

    /// Runs a shell command inside, whatever comes of it.
    pub(crate) fn run(&self, command: &str) -> Finished {
        // The process may be one that has just begun, and not know its root yet.
        let mut enter = Command::new("nsenter");
        enter.args(["--target", &self.leader.to_string(), "--all", "--root", "--wdns=/", "--", "env", "-i"]);
        enter.args([
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL=C.UTF-8",
            "DEBIAN_FRONTEND=noninteractive",
        ]);
        enter.args(["sh", "-ec", command]).stdin(Stdio::null());
        let Output { status, stdout, stderr } = enter.output().expect("start nsenter");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Finished { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
    }

    /// Runs a shell command inside and returns what it printed.
    ///
    /// # Panics
    /// If it fails, with what it said.
    pub(crate) fn sh(&self, command: &str) -> String {
        self.run(command).expect(0).stdout
    }

    /// Runs `apt-get` inside and returns all it said.
    pub(crate) fn apt(&self, what: &str) -> String {
        self.sh(&format!("apt-get --quiet --yes {what} 2>&1"))
    }

    /// Types a block of docs/operations.md. Lines are typed one by one if they stand alone, and each
    /// succeeds; `doctor` may have findings, and `plan` changes.
    pub(crate) fn types(&self, block: &str) {
        self.write("/etc/apt/apt.conf.d/assume-yes", "APT::Get::Assume-Yes true;");
        if block.contains("\\\n") || block.contains("\n    ") {
            self.sh(block);
            return;
        }
        for line in block.lines() {
            let done = self.run(line);
            let may_differ = ["sluice doctor", "sluice plan"].contains(&line);
            let code = if may_differ && done.code == Some(3) { 3 } else { 0 };
            done.expect(code);
        }
    }

    /// Writes a file inside.
    pub(crate) fn write(&self, path: &str, text: &str) {
        self.sh(&format!("mkdir -p $(dirname {path}); cat > {path} <<'EOF'\n{text}\nEOF"));
    }

    /// Writes the configuration file.
    pub(crate) fn configure(&self, yaml: &str) {
        self.write(CONFIG, yaml);
    }

    /// Settings of the unit that differ from the package's.
    pub(crate) fn drop_in(&self, settings: &str) {
        self.write("/etc/systemd/system/sluiced.service.d/test.conf", &format!("[Service]\n{settings}"));
        self.sh("systemctl daemon-reload");
    }

    /// A property of the unit (systemctl(1), show).
    pub(crate) fn property(&self, name: &str) -> String {
        self.sh(&format!("systemctl show --property={name} --value sluiced")).trim().to_owned()
    }

    /// The unit's journal from when it was installed, as text.
    pub(crate) fn journal(&self) -> String {
        self.sh("journalctl --sync; journalctl --no-pager --output=cat --unit=sluiced")
    }

    /// What the container's console showed, and the journal's end.
    fn logs(&self) -> String {
        let console = fs::read_to_string(&self.console).unwrap_or_default();
        format!("{console}\n{}", self.run("journalctl --no-pager --lines=60").stdout)
    }

    fn first_process(&mut self) -> Option<u32> {
        if let Some(status) = self.process.try_wait().expect("wait for the container") {
            panic!("the container ended with {status}:\n{}", self.logs());
        }
        let pid = self.process.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        let child = children.split_whitespace().next()?;
        let is_systemd =
            fs::read_to_string(format!("/proc/{child}/comm")).is_ok_and(|name| name == "systemd\n");
        is_systemd.then(|| child.parse().expect("children are numbers"))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- console and journal\n{}---", self.logs());
        }
        // Nothing is written that lasts: no need to power off in order. With the first process all others end, and then
        // the container.
        let first = if self.leader > 0 { self.leader } else { self.process.id() };
        let _ = kill(Pid::from_raw(first.try_into().expect("process ids are small")), Signal::SIGKILL);
        let _ = self.process.wait();
        HIERARCHIES.iter().for_each(|hierarchy| remove_group(&Path::new(hierarchy).join(&self.name)));
    }
}

/// Removes a control group and those below. One that stays, empty, harms nobody.
fn remove_group(group: &Path) {
    let below = fs::read_dir(group).into_iter().flatten().flatten().map(|entry| entry.path());
    below.filter(|path| path.is_dir()).for_each(|path| remove_group(&path));
    let _ = fs::remove_dir(group);
}

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd")
}

/// What tests/systemd/run has made.
fn made() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/systemd")
        .canonicalize()
        .expect("see tests/systemd/run")
}
