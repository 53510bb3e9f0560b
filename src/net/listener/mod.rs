//! Listening sockets: bound here or handed in.

use mio::net::{TcpListener, TcpStream, UnixListener};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockRef, TcpKeepalive, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use crate::accept::pair::{Dumped, Pair, Pressure, Sought, Visibility};
use crate::accept::queue::Listen;
use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::net::gate;
use crate::net::sock_diag::{Kernel, pressure};
use crate::net::socket::Socket;

/// A listening socket that is handed in: a TCP or Unix listener of `std` or mio. See
/// [`Server::adopt`](crate::Server::adopt).
#[derive(Debug)]
pub struct ListenSocket(ListenerKind);

impl From<std::net::TcpListener> for ListenSocket {
    fn from(listener: std::net::TcpListener) -> Self {
        Self(ListenerKind::Tcp(TcpListener::from_std(listener)))
    }
}

impl From<TcpListener> for ListenSocket {
    fn from(listener: TcpListener) -> Self {
        Self(ListenerKind::Tcp(listener))
    }
}

impl From<std::os::unix::net::UnixListener> for ListenSocket {
    fn from(listener: std::os::unix::net::UnixListener) -> Self {
        Self(ListenerKind::Unix(UnixListener::from_std(listener)))
    }
}

impl From<UnixListener> for ListenSocket {
    fn from(listener: UnixListener) -> Self {
        Self(ListenerKind::Unix(listener))
    }
}

#[derive(Debug)]
enum ListenerKind {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// One listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    kind: ListenerKind,
    name: String,
    address: Option<SocketAddr>,
    /// TCP_NODELAY must be set on each accepted socket, because they do not inherit it.
    set_nodelay: bool,
}

impl Listener {
    /// Binds and listens.
    pub(crate) fn bind(address: SocketAddr, config: &Config) -> Result<Self, Error> {
        let fail =
            |step: &str, error| Error::io(ErrorKind::Bind, format!("{step} {address}"), error);
        let domain = Domain::for_address(address);
        let socket = socket2::Socket::new(domain, Type::STREAM, Some(Protocol::TCP))
            .map_err(|error| fail("create a socket for", error))?;
        prepare(&socket, address, config)
            .map_err(|error| fail("set the options of the socket for", error))?;
        socket.bind(&address.into()).map_err(|error| fail("bind", error))?;
        let backlog = i32::try_from(config.backlog.unwrap_or_else(system_backlog));
        socket.listen(backlog.unwrap_or(i32::MAX)).map_err(|error| fail("listen on", error))?;
        let listener = TcpListener::from_std(socket.into());
        let bound =
            listener.local_addr().map_err(|error| fail("read back the address of", error))?;
        Ok(Self::tcp(listener, bound, false))
    }

    /// Takes a listening socket that was handed in.
    pub(crate) fn adopt(socket: ListenSocket, config: &Config) -> Result<Self, Error> {
        match socket.0 {
            ListenerKind::Tcp(listener) => Self::adopt_tcp(listener, config),
            ListenerKind::Unix(listener) => Self::adopt_unix(listener),
        }
    }

    fn adopt_tcp(listener: TcpListener, config: &Config) -> Result<Self, Error> {
        let fail = |step: &str, error| {
            Error::io(ErrorKind::Bind, format!("{step} the listener that was passed in"), error)
        };
        let bound = listener.local_addr().map_err(|error| fail("read the address of", error))?;
        let inherits = check_adopted(listener.as_fd(), config).map_err(|e| fail("adopt", e))?;
        Ok(Self::tcp(listener, bound, config.nodelay && !inherits))
    }

    fn adopt_unix(listener: UnixListener) -> Result<Self, Error> {
        let fail = |step: &str, error| {
            Error::io(ErrorKind::Bind, format!("{step} the Unix listener"), error)
        };
        check_listening(&SockRef::from(&listener)).map_err(|error| fail("adopt", error))?;
        let bound = listener.local_addr().map_err(|error| fail("read the address of", error))?;
        let path = bound.as_pathname().map(|path| format!("unix:{}", path.display()));
        let name = path.unwrap_or_else(|| "unix".to_owned());
        let kind = ListenerKind::Unix(listener);
        Ok(Self { kind, name, address: None, set_nodelay: false })
    }

    fn tcp(listener: TcpListener, bound: SocketAddr, set_nodelay: bool) -> Self {
        let kind = ListenerKind::Tcp(listener);
        Self { kind, name: bound.to_string(), address: Some(bound), set_nodelay }
    }

    /// Returns the address that it listens on; `None` for a Unix socket.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address
    }
}

impl Listen for Listener {
    type Stream = Socket;
    type Poll = Registry;
    type Endpoint = SocketAddr;

    fn name(&self) -> &str {
        &self.name
    }

    fn accept(&mut self) -> io::Result<(Socket, Option<SocketAddr>)> {
        let accepted = match &self.kind {
            ListenerKind::Tcp(listener) => {
                listener.accept().map(|(stream, address)| (stream, Some(address)))
            }
            ListenerKind::Unix(listener) => {
                listener.accept().map(|(stream, _)| (TcpStream::from(OwnedFd::from(stream)), None))
            }
        };
        let (stream, peer) = accepted?;
        if self.set_nodelay
            && let Err(error) = stream.set_nodelay(true)
        {
            log::debug!("set TCP_NODELAY: {error}");
        }
        Ok((Socket::new(stream), peer))
    }

    fn shut_gate(&mut self) -> bool {
        let shut = match &self.kind {
            ListenerKind::Tcp(listener) => {
                gate::refuse_handshakes(&SockRef::from(listener), self.address)
            }
            ListenerKind::Unix(listener) => gate::refuse_connects(&SockRef::from(listener)),
        };
        if let Err(error) = &shut {
            log::debug!("keep new clients out of the queue of {}: {error}", self.name);
        }
        shut.is_ok()
    }

    fn visibility(&mut self, kernel: &mut Kernel) -> Visibility {
        let (ListenerKind::Tcp(listener), Some(address)) = (&self.kind, self.address) else {
            return Visibility::NoHandshakes;
        };
        let may_share = shares_port(&SockRef::from(listener));
        match if may_share { kernel.count_listeners(address) } else { Some(1) } {
            None => Visibility::Hidden,
            Some(2..) => Visibility::Shared,
            Some(_) if pressure::cookies_are_forced() => Visibility::Cookies,
            Some(_) => Visibility::Shown,
        }
    }

    fn pressure(&mut self) -> Option<Pressure> {
        pressure::pressure()
    }

    fn endpoint(&self) -> Option<SocketAddr> {
        self.address
    }

    fn dump(
        endpoint: &SocketAddr,
        sought: Sought,
        restart: bool,
        kernel: &mut Kernel,
        found: &mut Vec<Pair>,
    ) -> Dumped {
        kernel.dump(sought, restart, *endpoint, found)
    }

    fn ask(_: &SocketAddr, kernel: &mut Kernel, pairs: &mut [Pair]) {
        kernel.ask_pairs(pairs);
    }

    fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match &mut self.kind {
            ListenerKind::Tcp(listener) => registry.register(listener, token, Interest::READABLE),
            ListenerKind::Unix(listener) => registry.register(listener, token, Interest::READABLE),
        }
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match &mut self.kind {
            ListenerKind::Tcp(listener) => registry.deregister(listener),
            ListenerKind::Unix(listener) => registry.deregister(listener),
        }
    }

    fn register_stream(socket: &mut Socket, registry: &Registry, token: Token) -> io::Result<()> {
        socket.register(registry, token)
    }

    fn deregister_stream(socket: &mut Socket, registry: &Registry) -> io::Result<()> {
        socket.deregister(registry)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.kind {
            ListenerKind::Tcp(listener) => listener.as_fd(),
            ListenerKind::Unix(listener) => listener.as_fd(),
        }
    }
}

/// Sets the options that accepted sockets inherit: on Linux and the BSDs they take those of the
/// listener, which saves a system call for each connection.
fn prepare(socket: &socket2::Socket, address: SocketAddr, config: &Config) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    if config.reuse_port {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if config.nodelay {
        socket.set_tcp_nodelay(true)?;
    }
    if let Some(bytes) = config.recv_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(bytes) = config.send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(timeout) = config.user_timeout {
        socket.set_tcp_user_timeout(Some(timeout))?;
    }
    if let Some(time) = config.keepalive {
        let interval = time.checked_div(10).unwrap_or(time).max(Duration::from_secs(1));
        let probes = TcpKeepalive::new().with_time(time).with_interval(interval);
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let probes = probes.with_retries(3);
        socket.set_tcp_keepalive(&probes)?;
    }
    Ok(())
}

/// Refuses a socket that does not listen, where the system can be asked, and makes it
/// non-blocking and closed on exec.
fn check_listening(socket: &SockRef<'_>) -> io::Result<()> {
    #[cfg(any(target_os = "android", target_os = "freebsd", target_os = "linux"))]
    if !socket.is_listener()? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not listening"));
    }
    socket.set_nonblocking(true)?;
    socket.set_cloexec(true)
}

/// Returns whether its connections inherit TCP_NODELAY.
fn check_adopted(listener: BorrowedFd<'_>, config: &Config) -> io::Result<bool> {
    let socket = SockRef::from(&listener);
    check_listening(&socket)?;
    if config.nodelay { socket.tcp_nodelay() } else { Ok(true) }
}

/// Returns whether other sockets may listen on the same port (SO_REUSEPORT).
fn shares_port(socket: &SockRef<'_>) -> bool {
    socket.reuse_port().unwrap_or(true)
}

/// Returns the longest accept queue that the system grants.
pub(crate) fn system_backlog() -> u32 {
    std::fs::read_to_string("/proc/sys/net/core/somaxconn")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(libc::SOMAXCONN.unsigned_abs())
}

#[cfg(test)]
mod tests;
