//! A client's connection.

use std::io;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::SocketAddr;
use std::net::TcpStream as StdTcpStream;

use mio::Interest;
use mio::Registry;
use mio::Token;
use mio::net::TcpStream;
use socket2::Domain;
use socket2::Socket;
use socket2::Type;

/// The receive buffer of a slow client, before the kernel doubles it.
const SMALL_BUFFER: usize = 16 * 1024;

/// A connection, or one on its way.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    local: Option<SocketAddr>,
    /// Requests that were answered on it.
    pub(super) requests: u64,
}

/// What a connect has come to.
#[derive(Debug)]
pub(super) enum Dial {
    Connected,
    Pending,
    Failed(Obstacle),
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    Refused,
    Unreachable,
    /// The server's kernel completed the connect and then reset it.
    Reset,
    /// This machine has no port, descriptor or memory left.
    Own,
}

/// What a read has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    Bytes(usize),
    Nothing,
    Fin,
    Reset,
    /// The client's kernel gave up.
    TimedOut,
}

impl Connection {
    /// Starts a connect; the stream turns writable when it is decided.
    pub(super) fn dial(
        peer: SocketAddr,
        is_slow: bool,
        registry: &Registry,
        token: Token,
    ) -> Result<Self, Obstacle> {
        let stream = connect(peer, is_slow).map_err(|error| obstacle(&error))?;
        let mut connection = Self { stream, peer, local: None, requests: 0 };
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = registry.register(&mut connection.stream, token, interest);
        registered.map_err(|_| Obstacle::Own)?;
        Ok(connection)
    }

    /// Returns whether the connect has been decided.
    pub(super) fn dialled(&mut self) -> Dial {
        match self.stream.take_error() {
            Ok(None) => {}
            Ok(Some(error)) | Err(error) => return Dial::Failed(obstacle(&error)),
        }
        match (self.stream.peer_addr(), self.stream.local_addr()) {
            // On loopback a connect to a free port of the ephemeral range can meet itself.
            (Ok(peer), Ok(local)) if peer == local => Dial::Failed(Obstacle::Refused),
            (Ok(_), Ok(local)) => {
                self.local = Some(local);
                Dial::Connected
            }
            (Ok(_), Err(_)) => Dial::Connected,
            (Err(error), _) if error.kind() == io::ErrorKind::NotConnected => Dial::Pending,
            (Err(error), _) => Dial::Failed(obstacle(&error)),
        }
    }

    /// Returns the two ends, for a question to the kernel.
    pub(super) fn ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        Some((self.local?, self.peer))
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Input {
        // A signal can interrupt a read any number of times in theory.
        for _ in 0..100 {
            match self.stream.read(buffer) {
                Ok(0) => return Input::Fin,
                Ok(count) => return Input::Bytes(count),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => return Input::Nothing,
                    io::ErrorKind::TimedOut => return Input::TimedOut,
                    _ => return Input::Reset,
                },
            }
        }
        Input::Nothing
    }

    /// Writes; `Ok(0)`: not now.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for _ in 0..100 {
            match self.stream.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                written => return written,
            }
        }
        Ok(0)
    }

    /// Sends a FIN. A connection that is gone already needs none.
    pub(super) fn half_close(&self) {
        if let Err(error) = self.stream.shutdown(Shutdown::Write) {
            log::debug!("half-close: {error}");
        }
    }
}

fn connect(peer: SocketAddr, is_slow: bool) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(peer), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if is_slow {
        socket.set_recv_buffer_size(SMALL_BUFFER)?;
    }
    match socket.connect(&peer.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(TcpStream::from_std(StdTcpStream::from(socket))),
    }
}

fn obstacle(error: &io::Error) -> Obstacle {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => Obstacle::Refused,
        Some(libc::ECONNRESET | libc::EPIPE) => Obstacle::Reset,
        Some(
            libc::EADDRNOTAVAIL
            | libc::EMFILE
            | libc::ENFILE
            | libc::ENOBUFS
            | libc::ENOMEM
            | libc::EAGAIN,
        ) => Obstacle::Own,
        _ => Obstacle::Unreachable,
    }
}
