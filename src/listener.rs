//! Listening sockets: bound or adopted, with a policy for every way in which accept fails.

use mio::net::{TcpListener, TcpStream, UnixListener};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::engine::deadline::{after, is_due};
use crate::error::{Error, ErrorKind};
use crate::gate;

/// After this many failures in a row that were the peers' fault, it is taken for ours.
const PEER_FAILURES: u32 = 128;
const FIRST_REST: Duration = Duration::from_millis(100);
const LONGEST_REST: Duration = Duration::from_secs(1);

/// What one call of accept came to.
#[derive(Debug)]
pub(crate) enum Accepted {
    /// A new connection, and its peer's address if that has one.
    Client(TcpStream, Option<SocketAddr>),
    /// The queue is empty.
    Empty,
    /// The new connection was broken before it could be taken: go on with the next.
    Broken(io::Error),
    /// Descriptors or memory are used up: rest, then try again.
    Exhausted(io::Error),
    /// The listener is no more.
    Dead(io::Error),
}

/// Whether the queue is worth a look. Only an empty queue makes a listener wait for an event,
/// because an edge that was once delivered does not come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Intake {
    /// The queue was seen empty.
    Waiting,
    /// There may be clients in it.
    Ready,
    /// There may be clients in it, but no slot for them: after the next close.
    Full,
    /// There may be clients in it, but no means to take them: after the next close, or then.
    Resting { until: Option<Instant>, pause: Duration },
}

#[derive(Debug)]
enum Tap {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// One listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    tap: Tap,
    name: String,
    address: Option<SocketAddr>,
    /// Nobody else holds this socket: its queue is ours to empty.
    owned: bool,
    /// TCP_NODELAY must be set on each socket, because the listener does not pass it on.
    set_nodelay: bool,
    intake: Intake,
    peer_failures: u32,
    /// A Unix socket whose gate is shut.
    refusing: bool,
}

impl Listener {
    /// Binds and listens.
    pub(crate) fn bind(address: SocketAddr, config: &Config) -> Result<Self, Error> {
        let fail =
            |step: &str, error| Error::io(ErrorKind::Bind, format!("{step} {address}"), error);
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))
            .map_err(|error| fail("create a socket for", error))?;
        prepare(&socket, address, config)
            .map_err(|error| fail("set the options of the socket for", error))?;
        socket.bind(&address.into()).map_err(|error| fail("bind", error))?;
        let backlog = i32::try_from(config.backlog.unwrap_or_else(system_backlog));
        socket.listen(backlog.unwrap_or(i32::MAX)).map_err(|error| fail("listen on", error))?;
        let tap = TcpListener::from_std(socket.into());
        let bound = tap.local_addr().map_err(|error| fail("read back the address of", error))?;
        Ok(Self::new(Tap::Tcp(tap), bound.to_string(), Some(bound), true, false))
    }

    /// Takes over a listening socket whose queue somebody else may go on serving.
    pub(crate) fn adopt(listener: std::net::TcpListener, config: &Config) -> Result<Self, Error> {
        let fail = |step: &str, error| {
            Error::io(ErrorKind::Bind, format!("{step} the listener that was passed in"), error)
        };
        let bound = listener.local_addr().map_err(|error| fail("read the address of", error))?;
        let inherits = check_adopted(listener.as_fd(), config).map_err(|e| fail("adopt", e))?;
        let set_nodelay = config.nodelay && !inherits;
        let tap = Tap::Tcp(TcpListener::from_std(listener));
        Ok(Self::new(tap, bound.to_string(), Some(bound), false, set_nodelay))
    }

    /// Takes a listening Unix socket. With `owned` its queue is emptied at a stop.
    pub(crate) fn unix(
        listener: std::os::unix::net::UnixListener,
        owned: bool,
    ) -> Result<Self, Error> {
        let fail = |step: &str, error| {
            Error::io(ErrorKind::Bind, format!("{step} the Unix listener"), error)
        };
        check_listening(&SockRef::from(&listener)).map_err(|error| fail("adopt", error))?;
        let bound = listener.local_addr().map_err(|error| fail("read the address of", error))?;
        let path = bound.as_pathname().map(|path| format!("unix:{}", path.display()));
        let name = path.unwrap_or_else(|| "unix".to_owned());
        Ok(Self::new(Tap::Unix(UnixListener::from_std(listener)), name, None, owned, false))
    }

    fn new(
        tap: Tap,
        name: String,
        address: Option<SocketAddr>,
        owned: bool,
        set_nodelay: bool,
    ) -> Self {
        Self {
            tap,
            name,
            address,
            owned,
            set_nodelay,
            intake: Intake::Waiting,
            peer_failures: 0,
            refusing: false,
        }
    }

    /// What it listens on, for people.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What it listens on; `None` for a Unix socket.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    pub(crate) fn is_owned(&self) -> bool {
        self.owned
    }

    /// From now on somebody else serves its queue.
    pub(crate) fn disown(&mut self) {
        self.owned = false;
    }

    /// From now on its queue is ours alone.
    pub(crate) fn own(&mut self) {
        self.owned = true;
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match &mut self.tap {
            Tap::Tcp(listener) => registry.register(listener, token, Interest::READABLE),
            Tap::Unix(listener) => registry.register(listener, token, Interest::READABLE),
        }
    }

    pub(crate) fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match &mut self.tap {
            Tap::Tcp(listener) => registry.deregister(listener),
            Tap::Unix(listener) => registry.deregister(listener),
        }
    }

    /// Takes one client from the queue.
    pub(crate) fn accept(&mut self) -> Accepted {
        let result = match &self.tap {
            Tap::Tcp(listener) => {
                listener.accept().map(|(stream, address)| (stream, Some(address)))
            }
            Tap::Unix(listener) => {
                listener.accept().map(|(stream, _)| (TcpStream::from(OwnedFd::from(stream)), None))
            }
        };
        let accepted = match result {
            Ok((stream, peer)) => {
                if self.set_nodelay
                    && let Err(error) = stream.set_nodelay(true)
                {
                    log::debug!("set TCP_NODELAY: {error}");
                }
                Accepted::Client(stream, peer)
            }
            // What accept answers once the queue of a listener that refuses connects is empty.
            Err(error) if self.refusing && error.raw_os_error() == Some(libc::EINVAL) => {
                Accepted::Empty
            }
            Err(error) => classify(error),
        };
        match (&accepted, self.peer_failures) {
            (Accepted::Broken(_), failures) => {
                self.peer_failures = failures.saturating_add(1);
            }
            _ => self.peer_failures = 0,
        }
        match accepted {
            Accepted::Broken(error) if self.peer_failures > PEER_FAILURES => {
                self.peer_failures = 0;
                Accepted::Exhausted(error)
            }
            other => other,
        }
    }

    /// An event said that there may be clients. Does not end a rest.
    pub(crate) fn on_event(&mut self) {
        if self.intake == Intake::Waiting {
            self.intake = Intake::Ready;
        }
    }

    /// A connection of ours was closed, and with it a slot and a descriptor came free.
    pub(crate) fn on_freed(&mut self) {
        if self.intake != Intake::Waiting {
            self.intake = Intake::Ready;
        }
    }

    /// The queue was seen empty.
    pub(crate) fn wait(&mut self) {
        self.intake = Intake::Waiting;
    }

    /// There is no slot for the next client.
    pub(crate) fn park(&mut self) {
        self.intake = Intake::Full;
    }

    /// Something was taken: the next rest is a short one again.
    pub(crate) fn proceed(&mut self) {
        self.intake = Intake::Ready;
    }

    /// There is no means to take the next client. `pause` is that of the rest before, if none
    /// was taken since.
    pub(crate) fn rest(&mut self, pause: Option<Duration>, now: Instant) {
        let pause = pause.map_or(FIRST_REST, |pause| pause.saturating_mul(2)).min(LONGEST_REST);
        self.intake = Intake::Resting { until: after(now, Some(pause)), pause };
    }

    /// The length of the rest that it is taking.
    pub(crate) fn pause(&self) -> Option<Duration> {
        match self.intake {
            Intake::Resting { pause, .. } => Some(pause),
            Intake::Waiting | Intake::Ready | Intake::Full => None,
        }
    }

    /// Whether to look into the queue now.
    pub(crate) fn is_ready(&self, now: Instant) -> bool {
        match self.intake {
            Intake::Ready => true,
            Intake::Resting { until, .. } => is_due(until, now),
            Intake::Waiting | Intake::Full => false,
        }
    }

    /// When to look into the queue without an event.
    pub(crate) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        match self.intake {
            Intake::Ready => Some(now),
            Intake::Resting { until, .. } => until,
            Intake::Waiting | Intake::Full => None,
        }
    }

    /// Lets no new handshake begin, so that none completes between the last accept and the close.
    /// What the kernel does not allow is left: then a handshake may fall in between.
    pub(crate) fn shut_gate(&mut self) {
        let shut = match &self.tap {
            Tap::Tcp(listener) => gate::refuse_handshakes(&SockRef::from(listener), self.address),
            Tap::Unix(listener) => {
                let shut = gate::refuse_connects(&SockRef::from(listener));
                self.refusing = shut.is_ok();
                shut
            }
        };
        if let Err(error) = shut {
            log::debug!("keep new clients out of the queue of {}: {error}", self.name);
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.tap {
            Tap::Tcp(listener) => listener.as_fd(),
            Tap::Unix(listener) => listener.as_fd(),
        }
    }
}

/// Sets what accepted sockets are to inherit: on Linux and the BSDs they take the listener's
/// options, which saves a system call for each connection.
fn prepare(socket: &Socket, address: SocketAddr, config: &Config) -> io::Result<()> {
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

/// Answers whether its connections inherit TCP_NODELAY.
fn check_adopted(listener: BorrowedFd<'_>, config: &Config) -> io::Result<bool> {
    let socket = SockRef::from(&listener);
    check_listening(&socket)?;
    if config.nodelay { socket.tcp_nodelay() } else { Ok(true) }
}

/// The longest accept queue that the system grants.
pub(crate) fn system_backlog() -> u32 {
    std::fs::read_to_string("/proc/sys/net/core/somaxconn")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(libc::SOMAXCONN.unsigned_abs())
}

/// Says whose fault a failed accept is; accept(2), "Error handling".
fn classify(error: io::Error) -> Accepted {
    if error.kind() == io::ErrorKind::WouldBlock {
        return Accepted::Empty;
    }
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
            Accepted::Exhausted(error)
        }
        Some(libc::EBADF | libc::ENOTSOCK | libc::EFAULT | libc::ENOSYS) => Accepted::Dead(error),
        // Elsewhere this is what a peer gives that left before it was taken.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        Some(libc::EINVAL) => Accepted::Dead(error),
        _ => Accepted::Broken(error),
    }
}

#[cfg(test)]
mod tests;
