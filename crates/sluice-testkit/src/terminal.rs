//! Runs a program on a pseudo-terminal whose screen a test reads and on which it types.

use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::Pid;
use pty_process::Size;
use pty_process::blocking::{Command, Pty, open};

use crate::{Lab, Namespace, PATIENCE, eventually, program};

/// A pseudo-terminal, and a program with it as controlling terminal. The program is killed on
/// drop.
pub struct Terminal {
    pty: Arc<Pty>,
    child: Child,
    seen: Arc<Mutex<Seen>>,
}

/// The output of the program, and the resulting screen.
struct Seen {
    bytes: Vec<u8>,
    parser: vt100::Parser,
}

impl Lab {
    /// Runs the command line on a terminal of 24 rows and 100 columns, with the lab's configuration file and control
    /// socket, and with these variables in its environment.
    pub fn terminal(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Terminal {
        let sluice = Command::new("setpriv").args(["--pdeathsig", "KILL", "--"]).arg(program("sluice"));
        let sluice = sluice
            .args(arguments)
            .env("SLUICE_CONFIG", self.config())
            .env("SLUICE_SOCKET", self.path("sluice.sock"))
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .envs(environment.iter().copied());
        Terminal::start(&self.balancer, sluice, (24, 100))
    }
}

impl Terminal {
    /// Starts a program on a terminal with this many rows and columns.
    ///
    /// # Panics
    /// If there is no free pseudo-terminal, or the program does not start.
    pub fn start(namespace: &Namespace, command: Command, (rows, columns): (u16, u16)) -> Self {
        let (pty, pts) = open().unwrap_or_else(|e| panic!("open a pseudo-terminal: {e}"));
        pty.resize(Size::new(rows, columns)).unwrap_or_else(|e| panic!("size a pseudo-terminal: {e}"));
        let child = namespace.run(|| command.spawn(pts)).unwrap_or_else(|e| panic!("start on it: {e}"));
        let parser = vt100::Parser::new(some(rows), some(columns), 0);
        let seen = Arc::new(Mutex::new(Seen { bytes: vec![], parser }));
        let pty = Arc::new(pty);
        let (reads, notes) = (Arc::clone(&pty), Arc::clone(&seen));
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // Reading fails when the other end is closed.
            while let Ok(length @ 1..) = (&*reads).read(&mut buffer) {
                let mut seen = notes.lock().expect("no thread panics with it");
                seen.bytes.extend_from_slice(&buffer[..length]);
                seen.parser.process(&buffer[..length]);
            }
        });
        Terminal { pty, child, seen }
    }

    /// Types text; `\x1b` is Esc, `\r` Enter, `\x03` Ctrl-C.
    ///
    /// # Panics
    /// If the terminal is closed.
    pub fn type_keys(&self, keys: &str) {
        (&*self.pty).write_all(keys.as_bytes()).unwrap_or_else(|e| panic!("type {keys:?}: {e}"));
    }

    /// Sends `SIGTERM` to the program.
    ///
    /// # Panics
    /// If it has exited.
    pub fn terminate(&self) {
        let pid = Pid::from_raw(self.child.id().try_into().expect("process ids are small"));
        kill(pid, Signal::SIGTERM).unwrap_or_else(|e| panic!("SIGTERM to the program on the terminal: {e}"));
    }

    /// Changes the number of rows and columns; the program gets SIGWINCH.
    pub fn resize(&self, rows: u16, columns: u16) {
        self.seen().parser.screen_mut().set_size(some(rows), some(columns));
        self.pty.resize(Size::new(rows, columns)).unwrap_or_else(|e| panic!("resize the terminal: {e}"));
    }

    /// The screen: its lines without trailing spaces.
    pub fn screen(&self) -> String {
        self.seen().parser.screen().contents()
    }

    /// Waits until the screen contains a text and returns the screen.
    ///
    /// # Panics
    /// On timeout, with the screen.
    pub fn shows(&self, text: &str) -> String {
        self.shows_that(text, |screen| screen.contains(text))
    }

    /// Waits until the screen satisfies a condition and returns it.
    ///
    /// # Panics
    /// On timeout, with the screen.
    pub fn shows_that(&self, what: &str, is_expected: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen();
            if is_expected(&screen) {
                return screen;
            }
            assert!(Instant::now() < deadline, "not shown within {PATIENCE:?}: {what}; but:\n{screen}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The output of the program so far, including control sequences.
    pub fn written(&self) -> String {
        String::from_utf8_lossy(&self.seen().bytes).into_owned()
    }

    /// Whether the screen has any colour.
    pub fn is_coloured(&self) -> bool {
        let seen = self.seen();
        let screen = seen.parser.screen();
        let (rows, columns) = screen.size();
        let cells = (0..rows.get()).flat_map(|row| (0..columns.get()).map(move |column| (row, column)));
        cells
            .filter_map(|(row, column)| screen.cell(row, column))
            .any(|it| it.fgcolor() != vt100::Color::Default)
    }

    /// Whether the alternate screen is shown.
    pub fn is_on_the_other_screen(&self) -> bool {
        self.seen().parser.screen().alternate_screen()
    }

    /// Whether the terminal is restored for a shell: main screen, visible cursor, canonical mode with echo.
    pub fn is_restored(&self) -> bool {
        let modes = tcgetattr(&*self.pty).unwrap_or_else(|e| panic!("look at the terminal: {e}"));
        let seen = self.seen();
        let screen = seen.parser.screen();
        modes.local_flags.contains(LocalFlags::ICANON | LocalFlags::ECHO)
            && !screen.alternate_screen()
            && !screen.hide_cursor()
    }

    /// Waits until the program exits.
    ///
    /// # Panics
    /// On timeout, with the screen.
    pub fn ends(&mut self) -> ExitStatus {
        let what = format!("the program on the terminal ends, which shows:\n{}", self.screen());
        eventually(&what, || self.child.try_wait().expect("wait for the program"))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no thread panics with it")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Both fail only if it has exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn some(length: u16) -> NonZeroU16 {
    NonZeroU16::new(length).expect("a terminal has rows and columns")
}
