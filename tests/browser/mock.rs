//! A daemon that says what it is told.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde::Serialize;
use sluice_api::{LIVE_PATH, Status, StatusChanges, Timestamp};
use sluiced::api::http::page::{Page, page};

/// Serves the status page and events on 127.0.0.1, in the network namespace of the thread that started it.
pub struct Mock {
    /// Where.
    pub origin: String,
    state: Arc<Mutex<State>>,
}

struct State {
    status: Status,
    /// Who hears of changes.
    listeners: Vec<TcpStream>,
    /// Whether nobody is let in.
    away: bool,
}

impl Mock {
    /// Starts with this to tell.
    pub fn start(status: Status) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let origin = format!("http://{}", listener.local_addr().expect("it is bound"));
        let state = Arc::new(Mutex::new(State { status, listeners: vec![], away: false }));
        let served = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = served.clone();
                // A browser that goes away while it is answered has had enough.
                thread::spawn(move || answer(stream, &state).unwrap_or_default());
            }
        });
        Mock { origin, state }
    }

    /// Tells everybody of changes, as of now.
    pub fn tell(&self, changes: StatusChanges) {
        self.tell_at(Timestamp::now(), changes);
    }

    /// Tells everybody of changes, as of then.
    pub fn tell_at(&self, at: Timestamp, changes: StatusChanges) {
        let changes = StatusChanges { at, ..changes };
        let event = event("changes", &changes);
        self.state().listeners.retain_mut(|listener| listener.write_all(event.as_bytes()).is_ok());
    }

    /// How many listen.
    pub fn listeners(&self) -> usize {
        self.state().listeners.len()
    }

    /// Ends all connections and answers nobody.
    pub fn leave(&self) {
        let mut state = self.state();
        state.away = true;
        state.listeners.clear();
    }

    /// Answers again, with this to tell.
    pub fn come_back(&self, status: Status) {
        let mut state = self.state();
        state.away = false;
        state.status = status;
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics with it")
    }
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let mut state = state.lock().expect("no thread panics with it");
    if state.away {
        return Ok(());
    }
    match request.split(' ').nth(1) {
        Some("/") => {
            let Page { html, policy } = page();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Security-Policy: {policy}\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n{html}",
                html.len()
            )
        }
        Some(LIVE_PATH) => {
            let status = event("status", &state.status);
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n{status}")?;
            state.listeners.push(stream);
            Ok(())
        }
        _ => write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
    }
}

fn event(name: &str, data: &impl Serialize) -> String {
    format!("event: {name}\ndata: {}\n\n", serde_json::to_string(data).expect("it has a JSON form"))
}
