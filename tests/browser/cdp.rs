//! The Chrome DevTools Protocol over a pipe: what the tests need of it.
//!
//! The crates for it generate the whole protocol, which compiles for minutes; three kinds of message are enough here.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluice_testkit::PATIENCE;
use tempfile::TempDir;

/// A browser and one page of it.
pub struct Connection {
    child: Child,
    input: ChildStdin,
    output: Receiver<Value>,
    session: Option<String>,
    last: u64,
    events: VecDeque<Value>,
    profile: TempDir,
}

impl Connection {
    /// Starts a browser in the network namespace of the calling thread. It ends with this value, and with the thread.
    ///
    /// # Panics
    /// If there is none.
    pub fn start() -> Self {
        let profile = TempDir::with_prefix("sluice-browser-").expect("make a temporary directory");
        let mut command = Command::new("setpriv");
        // It talks on its descriptors 3 and 4.
        command.args(["--pdeathsig", "KILL", "--", "sh", "-c"]);
        command.args([r#"exec chromium "$@" 3<&0 4>&1 </dev/null >/dev/null"#, "sh"]);
        command.args(["--headless", "--remote-debugging-pipe", "--no-first-run", "--hide-scrollbars"]);
        // Root has no sandbox, and labs have neither a graphics card nor much of /dev/shm.
        command.args(["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
        command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
        command.arg(format!("--user-data-dir={}", profile.path().display())).arg("about:blank");
        // What it leaves behind goes with its profile.
        for variable in ["HOME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"] {
            command.env(variable, profile.path());
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("start setpriv");
        let input = child.stdin.take().expect("it was piped");
        let output = BufReader::new(child.stdout.take().expect("it was piped"));
        let (sender, receiver) = channel();
        thread::spawn(move || {
            for message in output.split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).expect("the protocol is JSON");
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        let mut connection = Connection {
            child,
            input,
            output: receiver,
            session: None,
            last: 0,
            events: VecDeque::new(),
            profile,
        };
        connection.attach();
        connection
    }

    /// Everything after this is about one page.
    fn attach(&mut self) {
        let target = self.call("Target.createTarget", json!({"url": "about:blank"}));
        let target = json!({"targetId": target["targetId"], "flatten": true});
        let attached = self.call("Target.attachToTarget", target);
        self.session = Some(attached["sessionId"].as_str().expect("an id").to_owned());
    }

    /// Has the browser do something and returns what came of it.
    ///
    /// # Panics
    /// If it refuses or says nothing.
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut message = message.to_string().into_bytes();
        message.push(0);
        self.input.write_all(&message).unwrap_or_else(|e| {
            panic!("{method} to chromium: {e} (is it installed? `tests/setup/install chromium`)")
        });
        loop {
            // One that starts for the first time reads hundreds of megabytes.
            let mut message = self.output.recv_timeout(3 * PATIENCE).unwrap_or_else(|e| {
                panic!("{method} of chromium: {e} (is it installed? `tests/setup/install chromium`)")
            });
            match message["id"].as_u64() {
                Some(id) if id == self.last => {
                    assert_eq!(message["error"], Value::Null, "{method}");
                    return message["result"].take();
                }
                _ => self.events.push_back(message),
            }
        }
    }

    /// Everything that has happened so far, oldest first.
    pub fn events(&mut self) -> &VecDeque<Value> {
        self.events.extend(self.output.try_iter());
        &self.events
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // What it started ends when it notices, and writes to the profile until then.
        let deadline = Instant::now() + PATIENCE;
        while fs::remove_dir_all(self.profile.path()).is_err() && Instant::now() < deadline {
            sleep(Duration::from_millis(10));
        }
    }
}
