//! Servers that answer with their name and with the address of the client.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinHandle, JoinSet};

/// Runs all servers of the process. Sockets stay in the namespace in which they were opened, so any thread can serve
/// them.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("start a runtime for servers")
});

/// A TCP and a UDP server, or one of SCTP, on one address, until dropped.
///
/// All answer with `NAME PEER LOCAL_PORT\n`: TCP and SCTP as soon as they accept, then they echo lines; UDP to every
/// datagram, which it repeats after that.
pub(crate) struct Server(Vec<JoinHandle<()>>);

impl Server {
    /// Binds both in the namespace of the calling thread.
    pub(crate) fn start(name: &Arc<str>, address: SocketAddr) -> io::Result<Self> {
        let (tcp, udp) = (std::net::TcpListener::bind(address)?, std::net::UdpSocket::bind(address)?);
        tcp.set_nonblocking(true)?;
        udp.set_nonblocking(true)?;
        let _runtime = RUNTIME.enter();
        let (tcp, udp) = (TcpListener::from_std(tcp)?, UdpSocket::from_std(udp)?);
        Ok(Server(vec![
            RUNTIME.spawn(accept(name.clone(), tcp, address.port())),
            RUNTIME.spawn(serve_udp(name.clone(), udp, address.port())),
        ]))
    }

    /// The same for SCTP. Sockets of one association are accepted, read and written like those of TCP (RFC 6458, 4).
    pub(crate) fn start_sctp(name: &Arc<str>, address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::SCTP))?;
        socket.bind(&address.into())?;
        socket.listen(16)?;
        socket.set_nonblocking(true)?;
        let _runtime = RUNTIME.enter();
        let listener = TcpListener::from_std(socket.into())?;
        Ok(Server(vec![RUNTIME.spawn(accept(name.clone(), listener, address.port()))]))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

async fn accept(name: Arc<str>, listener: TcpListener, port: u16) {
    let mut connections = JoinSet::new();
    loop {
        // A failed accept concerns one client only, who notices.
        let Ok((stream, peer)) = listener.accept().await else { continue };
        connections.spawn(converse(stream, greeting(&name, peer, port)));
        while connections.try_join_next().is_some() {}
    }
}

async fn converse(stream: TcpStream, greeting: String) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    write.write_all(greeting.as_bytes()).await?;
    let mut lines = BufReader::new(read);
    let mut line = String::new();
    while lines.read_line(&mut line).await? > 0 {
        write.write_all(line.as_bytes()).await?;
        line.clear();
    }
    Ok(())
}

async fn serve_udp(name: Arc<str>, socket: UdpSocket, port: u16) {
    let mut datagram = [0; 512];
    loop {
        // Errors are ICMP answers to what we sent before.
        if let Ok((length, peer)) = socket.recv_from(&mut datagram).await {
            let answer = [greeting(&name, peer, port).as_bytes(), &datagram[..length]].concat();
            let _ = socket.send_to(&answer, peer).await;
        }
    }
}

fn greeting(name: &str, peer: SocketAddr, port: u16) -> String {
    format!("{name} {peer} {port}\n")
}
