//! Clients, which report the answers of backends.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::str::FromStr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Timeout of an answer: long enough for a busy machine and a lost SYN, short enough that a black hole fails the test
/// and not the whole run.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

/// The answer of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Name of the host that answered.
    pub backend: String,
    /// Address of the client, as the backend sees it.
    pub peer: SocketAddr,
    /// Port of the backend.
    pub port: u16,
}

impl FromStr for Answer {
    type Err = io::Error;

    fn from_str(line: &str) -> Result<Self, io::Error> {
        let parse = || {
            let mut words = line.split_whitespace();
            let backend = words.next()?.to_owned();
            Some(Answer { backend, peer: words.next()?.parse().ok()?, port: words.next()?.parse().ok()? })
        };
        parse().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("no greeting: {line:?}")))
    }
}

pub(crate) const TCP: Protocol = Protocol::TCP;
pub(crate) const SCTP: Protocol = Protocol::SCTP;

/// A TCP connection, or an SCTP association, that stays open.
#[derive(Debug)]
pub struct Conversation {
    /// The greeting of the backend.
    pub answer: Answer,
    stream: BufReader<TcpStream>,
}

impl Conversation {
    /// Connects in the namespace of the calling thread and waits for the greeting.
    pub(crate) fn open(protocol: Protocol, from: Option<SocketAddr>, to: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(protocol))?;
        if let Some(from) = from {
            socket.set_reuse_address(true)?;
            socket.bind(&SockAddr::from(from))?;
        }
        socket.connect_timeout(&to.into(), TIMEOUT)?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(TIMEOUT))?;
        let mut stream = BufReader::new(stream);
        Ok(Conversation { answer: read_line(&mut stream)?.parse()?, stream })
    }

    /// Waits for a line without sending anything.
    pub fn listen(&mut self) -> io::Result<String> {
        read_line(&mut self.stream)
    }

    /// Sends a line and returns the answer.
    pub fn echo(&mut self, line: &str) -> io::Result<String> {
        // At once: a line end in a packet of its own would wait for an acknowledgement.
        self.stream.get_mut().write_all(format!("{line}\n").as_bytes())?;
        Ok(read_line(&mut self.stream)?.trim_end().to_owned())
    }
}

/// Sends one datagram from the namespace of the calling thread and waits for the answer.
pub(crate) fn ask_udp(from: SocketAddr, to: SocketAddr) -> io::Result<Answer> {
    let socket = UdpSocket::bind(from)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.connect(to)?;
    socket.send(b"who are you?\n")?;
    let mut datagram = [0; 512];
    let length = socket.recv(&mut datagram)?;
    String::from_utf8_lossy(&datagram[..length]).parse()
}

fn read_line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    match stream.read_line(&mut line)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(line),
    }
}
