//! Anonymous network namespaces.

use std::fs::{self, File};
use std::marker::PhantomData;
use std::os::fd::AsRawFd;
use std::process::{Command, Output, Stdio};
use std::{io::Write, process, thread};

use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace, held by a file descriptor. It exists until its last user ends.
#[derive(Debug)]
pub struct Namespace(File);

impl Namespace {
    /// A new namespace: loopback up, no duplicate address detection (addresses work at once), no forwarding, no
    /// limit on ICMP errors, and no firewall on bridged frames.
    ///
    /// # Panics
    /// Without the right to create namespaces; the message says so.
    pub fn new() -> Self {
        let made = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)
                .unwrap_or_else(|e| panic!("unshare network: {e} (the labs need root; see `make test`)"));
            current()
        });
        let namespace = Namespace(made.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        for (key, value) in [
            ("net/ipv4/ip_forward", "0"),
            ("net/ipv4/conf/default/rp_filter", "0"),
            ("net/ipv4/conf/all/rp_filter", "0"),
            ("net/ipv4/icmp_ratelimit", "0"),
            ("net/ipv6/icmp/ratelimit", "0"),
            ("net/ipv6/conf/default/accept_dad", "0"),
            ("net/ipv6/conf/default/router_solicitations", "0"),
        ] {
            namespace.set_sysctl(key, value);
        }
        // Exists only if br_netfilter is loaded, and is then 1 in every new namespace.
        namespace.run(|| {
            for key in ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"] {
                let path = format!("/proc/sys/net/bridge/{key}");
                if fs::exists(&path).unwrap_or(false) {
                    fs::write(&path, "0").unwrap_or_else(|e| panic!("write {path}: {e}"));
                }
            }
        });
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs `work` with the calling thread in the namespace; its sockets and processes stay in the namespace.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        let _inside = Entered::new(&self.0);
        work()
    }

    /// Runs `ip` commands inside, one per line.
    pub fn ip(&self, commands: &str) {
        self.feed(Command::new("ip").args(["-batch", "-"]), commands);
    }

    /// Loads a ruleset inside.
    pub fn nft(&self, ruleset: &str) {
        self.feed(Command::new("nft").args(["-f", "-"]), ruleset);
    }

    /// Runs a shell command inside and returns its standard output.
    ///
    /// # Panics
    /// If it fails, with its standard error.
    pub fn sh(&self, command: &str) -> String {
        self.feed(Command::new("sh").args(["-ec", command]), "")
    }

    /// Runs a command inside with `input` on its standard input and returns its standard output.
    ///
    /// # Panics
    /// If it fails, with its standard error.
    pub fn feed(&self, command: &mut Command, input: &str) -> String {
        let Output { status, stdout, stderr } = self.try_feed(command, input);
        let stdout = String::from_utf8_lossy(&stdout).into_owned();
        let stderr = String::from_utf8_lossy(&stderr);
        assert!(status.success(), "{command:?}: {status}\n{stderr}{stdout}given:\n{input}");
        stdout
    }

    /// Runs a command inside with `input` on its standard input and returns its result.
    pub fn try_feed(&self, command: &mut Command, input: &str) -> Output {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.run(|| command.spawn()).unwrap_or_else(|e| panic!("start {command:?}: {e}"));
        let mut stdin = child.stdin.take().expect("it was piped");
        thread::scope(|scope| {
            // A program may exit without reading: its status is more useful than our EPIPE.
            scope.spawn(move || stdin.write_all(input.as_bytes()));
            child.wait_with_output().unwrap_or_else(|e| panic!("wait for {command:?}: {e}"))
        })
    }

    /// Reads a sysctl, `net/ipv4/ip_forward`.
    pub fn sysctl(&self, key: &str) -> String {
        let path = format!("/proc/sys/{key}");
        let read = self.run(|| fs::read_to_string(&path));
        read.unwrap_or_else(|e| panic!("read {path}: {e}")).trim().to_owned()
    }

    /// Writes a sysctl.
    pub fn set_sysctl(&self, key: &str, value: &str) {
        let path = format!("/proc/sys/{key}");
        self.run(|| fs::write(&path, value)).unwrap_or_else(|e| panic!("write {value} to {path}: {e}"));
    }

    /// A counter of the network stack: a heading and a column of
    /// /proc/net/netstat or /proc/net/snmp, for example `TcpExt` and `TCPSynRetrans`.
    pub fn statistic(&self, heading: &str, column: &str) -> u64 {
        let text = self.sh("cat /proc/net/netstat /proc/net/snmp");
        // Two lines per heading: the names of the columns, then their values.
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(heading)?.strip_prefix(": "));
        let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        let mut columns = names.split(' ').zip(values.split(' '));
        let found = columns.find(|(name, _)| *name == column).and_then(|(_, value)| value.parse().ok());
        found.unwrap_or_else(|| panic!("no {heading} {column} in:\n{text}"))
    }

    /// A path of the namespace for `ip`, valid as long as the value lives.
    pub fn netns(&self) -> String {
        format!("/proc/{}/fd/{}", process::id(), self.0.as_raw_fd())
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

/// Keeps the calling thread in another namespace until it is dropped; it must not leave the thread.
struct Entered {
    home: File,
    _stay: PhantomData<*const ()>,
}

impl Entered {
    fn new(namespace: &File) -> Self {
        let home = current();
        setns(namespace, CloneFlags::CLONE_NEWNET).unwrap_or_else(|e| panic!("enter namespace: {e}"));
        Entered { home, _stay: PhantomData }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Err(e) = setns(&self.home, CloneFlags::CLONE_NEWNET) {
            // Further code would run in the wrong network.
            eprintln!("return from namespace: {e}");
            process::abort();
        }
    }
}

/// The calling thread's network namespace.
fn current() -> File {
    let path = "/proc/thread-self/ns/net";
    File::open(path).unwrap_or_else(|e| panic!("open {path}: {e}"))
}
