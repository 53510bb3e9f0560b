//! A client stream of either family, and how it is dialled.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream as StdTcpStream};
use std::path::Path;
use std::time::Duration;

use mio::{Interest, Registry, Token, net};
use socket2::{Domain, SockRef, Socket, Type};

use super::target::Address;

/// A client stream.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(net::TcpStream),
    Unix(net::UnixStream),
}

/// What a connect has come to.
#[derive(Debug)]
pub(super) enum Dial {
    Connected,
    Pending,
    Failed(io::Error),
}

impl Stream {
    /// Starts a connect; the stream turns writable when it is decided.
    ///
    /// # Errors
    ///
    /// [`AddrInUse`](io::ErrorKind::AddrInUse) if all that is wrong is that `source` is taken.
    pub(super) fn dial(address: Address<'_>, source: Option<SocketAddr>) -> io::Result<Self> {
        let addr = match address {
            Address::Tcp(addr) => addr,
            Address::Unix(path) => return connect_unix(path).map(Self::Unix),
        };
        let socket = Self::socket(addr)?;
        if let Some(source) = source {
            // The port may still be in TIME_WAIT from an earlier connection.
            socket.set_reuse_address(true)?;
            socket.bind(&source.into())?;
        }
        Self::connect(socket, addr, source.is_some())
    }

    /// As [`dial`](Self::dial), but the kernel is to hold back the last ACK of the handshake until
    /// something is sent, where it can be told so.
    pub(super) fn dial_holding_ack(address: Address<'_>) -> io::Result<Self> {
        let Address::Tcp(addr) = address else {
            return Self::dial(address, None);
        };
        let socket = Self::socket(addr)?;
        #[cfg(target_os = "linux")]
        socket.set_tcp_quickack(false)?;
        Self::connect(socket, addr, false)
    }

    fn socket(addr: SocketAddr) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        Ok(socket)
    }

    fn connect(socket: Socket, addr: SocketAddr, is_bound: bool) -> io::Result<Self> {
        match socket.connect(&addr.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            // Bound to an address of this machine, so it is the port that is in use.
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable && is_bound => {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            Err(error) => return Err(error),
        }
        Ok(Self::Tcp(net::TcpStream::from_std(StdTcpStream::from(socket))))
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        match self {
            Self::Tcp(stream) => registry.register(stream, token, interest),
            Self::Unix(stream) => registry.register(stream, token, interest),
        }
    }

    /// Whether the connect has been decided.
    pub(super) fn dialled(&self) -> Dial {
        let decided = match self {
            Self::Tcp(stream) => stream.take_error(),
            Self::Unix(stream) => stream.take_error(),
        };
        match decided {
            Ok(None) => {}
            Ok(Some(error)) | Err(error) => return Dial::Failed(error),
        }
        let Self::Tcp(stream) = self else {
            return Dial::Connected;
        };
        match (stream.peer_addr(), stream.local_addr()) {
            // On loopback a connect to a free port of the ephemeral range can meet itself.
            (Ok(peer), Ok(local)) if peer == local => {
                Dial::Failed(io::ErrorKind::ConnectionRefused.into())
            }
            (Ok(_), _) => Dial::Connected,
            (Err(error), _) if error.kind() == io::ErrorKind::NotConnected => Dial::Pending,
            (Err(error), _) => Dial::Failed(error),
        }
    }

    pub(super) fn half_close(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    /// Makes the close that follows a reset.
    pub(super) fn reset_on_close(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => SockRef::from(stream).set_linger(Some(Duration::ZERO)),
            Self::Unix(_) => Ok(()),
        }
    }
}

#[cfg(target_os = "linux")]
fn connect_unix(path: &Path) -> io::Result<net::UnixStream> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::SocketAddr;
    match path.as_os_str().as_bytes().strip_prefix(b"@") {
        Some(name) => net::UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?),
        None => net::UnixStream::connect(path),
    }
}

#[cfg(not(target_os = "linux"))]
fn connect_unix(path: &Path) -> io::Result<net::UnixStream> {
    net::UnixStream::connect(path)
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buf),
            Self::Unix(stream) => stream.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(buf),
            Self::Unix(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
