//! [`Dnsmasq`]: a real DNS server, with records of its configuration and of a hosts file.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

pub struct Dnsmasq {
    child: Child,
    address: SocketAddr,
    directory: TempDir,
}

impl Dnsmasq {
    /// Starts one that knows all of `example`, and waits until it answers.
    pub fn start(address: SocketAddr, records: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let hosts = directory.path().join("hosts");
        fs::write(&hosts, "").unwrap();
        let ip = address.ip();
        let records: String = records.lines().map(|line| format!("{}\n", line.trim())).collect();
        let text = format!(
            "no-resolv\nno-hosts\nlisten-address={ip}\nbind-interfaces\nuser=root\nlocal=/example/\n\
             local=/web/\naddn-hosts={}\npid-file=\n{records}",
            hosts.display(),
        );
        let path = directory.path().join("dnsmasq.conf");
        fs::write(&path, text).unwrap();
        let child = Command::new("/usr/sbin/dnsmasq")
            .arg("--keep-in-foreground")
            .arg(format!("--conf-file={}", path.display()))
            .spawn()
            .expect("install dnsmasq-base, as tests/setup/install does");
        let server = Dnsmasq { child, address, directory };
        server.wait();
        server
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Replaces the records of the hosts file.
    pub fn hosts(&self, text: &str) {
        fs::write(self.hosts_path(), text).unwrap();
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGHUP).unwrap();
    }

    fn hosts_path(&self) -> PathBuf {
        self.directory.path().join("hosts")
    }

    fn wait(&self) {
        let socket = UdpSocket::bind((self.address.ip(), 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        // A query for the root's name servers.
        let query = [0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1];
        loop {
            let _ = socket.send_to(&query, self.address);
            if socket.recv(&mut [0; 512]).is_ok() {
                return;
            }
            assert!(Instant::now() < deadline, "dnsmasq does not answer");
            // A refused query returns at once.
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
