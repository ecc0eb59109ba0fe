//! HTTP servers for probes, with configurable behaviour.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::server::RUNTIME;

/// The behaviour of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Answers with 200.
    Well,
    /// Answers with 500.
    Fails,
    /// Begins a response and never ends it.
    Drips,
    /// Accepts and sends nothing.
    Silent,
    /// Accepts and resets the connection.
    Resets,
    /// Answers with 200 and 500 alternately.
    Alternates,
}

/// An HTTP server on one address, until dropped.
pub struct HealthServer {
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

struct State {
    behaviour: Behaviour,
    /// Time of the first connection with this behaviour.
    since: Option<Instant>,
    /// Number of connections so far.
    accepted: u64,
}

impl HealthServer {
    /// Binds in the namespace of the calling thread.
    pub(crate) fn start(address: SocketAddr) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let _runtime = RUNTIME.enter();
        let listener = TcpListener::from_std(listener)?;
        let state = Arc::new(Mutex::new(State { behaviour: Behaviour::Well, since: None, accepted: 0 }));
        let task = RUNTIME.spawn(serve(listener, state.clone()));
        Ok(HealthServer { state, task })
    }

    /// Changes the behaviour for further connections.
    pub fn behave(&self, behaviour: Behaviour) {
        let mut state = self.state.lock().expect("no thread panics with it");
        (state.behaviour, state.since) = (behaviour, None);
    }

    /// Time of the first connection with the current behaviour.
    pub fn behaves_since(&self) -> Option<Instant> {
        self.state.lock().expect("no thread panics with it").since
    }

    /// Number of connections so far.
    pub fn accepted(&self) -> u64 {
        self.state.lock().expect("no thread panics with it").accepted
    }
}

impl Drop for HealthServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (behaviour, number) = {
            let mut state = state.lock().expect("no thread panics with it");
            state.accepted += 1;
            state.since.get_or_insert_with(Instant::now);
            (state.behaviour, state.accepted)
        };
        connections.spawn(answer(stream, behaviour, number));
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(mut stream: TcpStream, behaviour: Behaviour, number: u64) -> io::Result<()> {
    let mut request = [0; 1024];
    let text = match behaviour {
        Behaviour::Resets => {
            SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
            return Ok(());
        }
        Behaviour::Silent => "",
        Behaviour::Drips => "HTTP/1.1 2",
        Behaviour::Fails => "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
        Behaviour::Alternates if number.is_multiple_of(2) => {
            "HTTP/1.1 500 Now and Then\r\nContent-Length: 0\r\n\r\n"
        }
        Behaviour::Well | Behaviour::Alternates => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    };
    let _asked = stream.read(&mut request).await?;
    stream.write_all(text.as_bytes()).await?;
    // Waits until the peer closes.
    while stream.read(&mut request).await? > 0 {}
    Ok(())
}
