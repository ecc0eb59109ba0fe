//! A host that runs the programs under test.

use std::fs::{self, Permissions};
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::{Daemon, Host, program};

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

/// A host with a temporary directory for sluice's configuration file, control socket, state and log.
pub struct Node {
    host: Host,
    dir: TempDir,
}

impl Deref for Node {
    type Target = Host;

    fn deref(&self) -> &Host {
        &self.host
    }
}

impl Node {
    /// A node without files.
    pub fn new(host: Host) -> Self {
        let dir =
            tempfile::Builder::new().prefix("sluice-lab-").tempdir().expect("make a temporary directory");
        Node { host, dir }
    }

    /// A path in the node's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.path("sluice.yaml")
    }

    /// Writes the configuration file: this text, with a control socket in the node's directory.
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

    /// Runs the command line with the node's configuration file and control socket.
    pub fn sluice(&self, arguments: &[&str]) -> Finished {
        self.finish(
            Command::new(program("sluice"))
                .args(arguments)
                .env("SLUICE_CONFIG", self.config())
                .env("SLUICE_SOCKET", self.path("sluice.sock")),
        )
    }

    /// A script that runs these commands, in which `$lab` is the node's directory, and then executes `sluiced`.
    pub fn sluiced_after(&self, commands: &str, sluiced: &str) -> PathBuf {
        let script = self.path("script");
        let lab = self.path("");
        let text = format!("#!/bin/sh\nset -e\nlab={}\n{commands}\nexec {sluiced} \"$@\"\n", lab.display());
        fs::write(&script, text).expect("write a script");
        fs::set_permissions(&script, Permissions::from_mode(0o755)).expect("make the script executable");
        script
    }

    /// Runs a program on the host until it exits.
    pub fn finish(&self, command: &mut Command) -> Finished {
        let output = self.host.try_feed(command, "");
        Finished {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The output of `nft list ruleset` on the host, without counts and without owners of tables.
    pub fn ruleset(&self) -> String {
        let text = self.host.sh("nft --stateless list ruleset");
        let lines = text.lines().filter(|line| !line.starts_with("\tflags "));
        let lines = lines.map(|line| format!("{}\n", line.split(" # progname").next().unwrap_or(line)));
        // There was a blank line between flags and objects.
        lines.collect::<String>().replace(" {\n\n", " {\n")
    }
}
