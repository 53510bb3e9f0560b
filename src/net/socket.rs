//! A connection's socket as the engine's stream.

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::SockRef;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use crate::engine::status::{Locality, Status};
use crate::engine::stream::Stream;
use crate::net::sock_diag::{self, Kernel};
use crate::net::splice::{self, Pipe};

/// The interests of a connection, which never change. PRIORITY, because a read stops at the mark
/// of urgent data.
#[cfg(any(target_os = "linux", target_os = "android"))]
const INTEREST: Interest = Interest::READABLE.add(Interest::WRITABLE).add(Interest::PRIORITY);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const INTEREST: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// A connected, non-blocking stream socket.
///
/// Internet and Unix sockets are both held as mio's `TcpStream`: the same system calls are made on
/// them (recv, send without SIGPIPE, shutdown, close), and a connection is as small as its
/// descriptor.
#[derive(Debug)]
pub(crate) struct Socket(TcpStream);

impl Socket {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self(stream)
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.0, token, INTEREST)
    }

    pub(crate) fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        registry.deregister(&mut self.0)
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Socket {
    type Pipe = Pipe;

    const HAS_PIPES: bool = splice::AVAILABLE;

    fn open_pipe() -> io::Result<Pipe> {
        Pipe::open()
    }

    fn fill(&mut self, pipe: &mut Pipe, most: usize) -> io::Result<usize> {
        pipe.fill_from(&self.0, most)
    }

    fn drain(&mut self, pipe: &mut Pipe, most: usize) -> io::Result<usize> {
        pipe.drain_to(&self.0, most)
    }

    fn peek(&mut self) -> io::Result<usize> {
        self.0.peek(&mut [0])
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.0.shutdown(Shutdown::Write)
    }

    fn reset_on_close(&mut self) {
        // Never above zero: close would block for that time, even on a non-blocking socket.
        if let Err(error) = SockRef::from(&self.0).set_linger(Some(Duration::ZERO)) {
            log::debug!("set SO_LINGER before a reset: {error}");
        }
    }

    type Kernel = Kernel;

    fn locality(&self) -> Locality {
        let Ok(peer) = self.0.peer_addr() else {
            return if sock_diag::is_unix(&self.0) { Locality::Unix } else { Locality::Network };
        };
        let near = peer.ip().to_canonical().is_loopback()
            || self.0.local_addr().is_ok_and(|local| local.ip() == peer.ip());
        if near { Locality::Host } else { Locality::Network }
    }

    fn status(&mut self, kernel: &mut Kernel) -> Status {
        sock_diag::status(&self.0, kernel)
    }

    fn ask_ahead<'s>(streams: impl Iterator<Item = &'s Self>, kernel: &mut Kernel) {
        sock_diag::ask_ahead(streams.map(|stream| &stream.0), kernel);
    }

    fn quick_ack(&mut self) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Err(error) = SockRef::from(&self.0).set_tcp_quickack(true) {
            log::debug!("set TCP_QUICKACK: {error}");
        }
    }

    fn receive_buffer(&self) -> usize {
        SockRef::from(&self.0).recv_buffer_size().unwrap_or(0)
    }

    fn send_buffer(&self) -> usize {
        SockRef::from(&self.0).send_buffer_size().unwrap_or(0)
    }
}

#[cfg(test)]
impl std::os::fd::AsFd for Socket {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}
