//! Clients that put load on a service until they are stopped, and count what fails.
//!
//! Their tasks run on the runtime of the servers; their sockets are in the namespace of the host.

mod connects;
mod datagrams;
mod talk;

pub use connects::{Connected, Connects};
pub use datagrams::{Answered, Datagrams};
pub use talk::{Talk, Talked};

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::io::BufReader;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::client::{Answer, TIMEOUT};

/// An unconnected TCP socket in the namespace of the calling thread.
fn socket(to: SocketAddr) -> io::Result<TcpSocket> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    Ok(TcpSocket::from_std_stream(socket.into()))
}

/// Connects and waits for the greeting.
async fn greet(socket: TcpSocket, to: SocketAddr) -> io::Result<(Answer, BufReader<TcpStream>)> {
    let greeting = async {
        let mut stream = BufReader::new(socket.connect(to).await?);
        stream.get_ref().set_nodelay(true)?;
        let greeting = read_line(&mut stream).await?;
        Ok((greeting.parse()?, stream))
    };
    within(TIMEOUT, greeting).await
}

async fn read_line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    match tokio::io::AsyncBufReadExt::read_line(stream, &mut line).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(line),
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(limit, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
