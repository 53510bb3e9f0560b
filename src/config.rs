//! What a server can be told: [`Config`], [`Drain`], their bounds and defaults.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::error::{Error, ErrorKind};

/// When a connection counts as done during a stop.
///
/// Under `Idle` and `Flush` a connection that never falls quiet or dry is done at its first
/// instant with an empty write buffer from five times
/// [`idle_grace`](Config::idle_grace) after the drain began, so that no peer can hold a stop to
/// the end of its budget by talking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the three answers to one question; a host may match")]
pub enum Drain {
    /// Its receive queue was read dry, its write buffer is empty, and no byte moved either way
    /// for [`idle_grace`](Config::idle_grace).
    #[default]
    Idle,
    /// Its receive queue was read dry once and its write buffer is empty.
    Flush,
    /// The peer closed.
    Peer,
}

impl fmt::Display for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::Flush => "flush",
            Self::Peer => "peer",
        })
    }
}

impl FromStr for Drain {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "idle" => Ok(Self::Idle),
            "flush" => Ok(Self::Flush),
            "peer" => Ok(Self::Peer),
            _ => Err(Error::new(
                ErrorKind::Config,
                format!("drain {text:?}: expected idle, flush or peer"),
            )),
        }
    }
}

/// The settings of a server, as chained setters over their defaults.
///
/// Nothing is checked here; `bind`, `from_std` and `register` check and answer with an error of
/// kind [`ErrorKind::Config`] that names the field, the value and the range.
///
/// ```
/// use std::time::Duration;
/// use netgrace::{Config, Drain};
///
/// let config = Config::new()
///     .max_connections(10_000)
///     .idle_timeout(Duration::from_secs(60))
///     .drain(Drain::Flush);
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) max_connections: Option<usize>,
    pub(crate) max_per_ip: Option<usize>,
    pub(crate) max_held: Option<usize>,
    pub(crate) backlog: Option<u32>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) shutdown_timeout: Option<Duration>,
    pub(crate) drain: Drain,
    pub(crate) idle_grace: Duration,
    pub(crate) linger: Duration,
    pub(crate) handshake_grace: Duration,
    pub(crate) lame_duck: Duration,
    pub(crate) nodelay: bool,
    pub(crate) recv_buffer: Option<usize>,
    pub(crate) send_buffer: Option<usize>,
    pub(crate) reuse_port: bool,
    pub(crate) user_timeout: Option<Duration>,
    pub(crate) keepalive: Option<Duration>,
    pub(crate) busy_poll: Option<Duration>,
    pub(crate) events_capacity: usize,
}

/// Slots are addressed by 32 bits, and two values are reserved for the lists.
pub(crate) const MAX_CONNECTIONS: usize = 1 << 30;
const MAX_EVENTS: usize = 65_536;
const MAX_SOCKET_BUFFER: usize = 1 << 30;
const MAX_BACKLOG: u32 = 1 << 30;

impl Default for Config {
    fn default() -> Self {
        Self {
            max_connections: None,
            max_per_ip: None,
            max_held: None,
            backlog: None,
            idle_timeout: None,
            shutdown_timeout: Some(Duration::from_secs(8)),
            drain: Drain::Idle,
            idle_grace: Duration::from_millis(200),
            linger: Duration::from_secs(1),
            handshake_grace: Duration::from_millis(1500),
            lame_duck: Duration::ZERO,
            nodelay: true,
            recv_buffer: None,
            send_buffer: None,
            reuse_port: false,
            user_timeout: None,
            keepalive: None,
            busy_poll: None,
            events_capacity: 1024,
        }
    }
}

impl Config {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Connections open at one time, 1 to 2³⁰; above it clients wait in the kernel's queue.
    /// Default: as many as the token range holds.
    #[must_use]
    pub fn max_connections(mut self, count: usize) -> Self {
        self.max_connections = Some(count);
        self
    }

    /// Connections open at one time from one address, at least 1; more are closed as soon as
    /// they are accepted. IPv4-mapped addresses count as IPv4, IPv6 counts by its first 64 bits.
    /// Default: no bound.
    #[must_use]
    pub fn max_per_ip(mut self, count: usize) -> Self {
        self.max_per_ip = Some(count);
        self
    }

    /// Bytes held for all connections together, at least 64 KiB. Above it reading pauses and
    /// goes on, oldest pause first, as peers take what is held. Default: no bound.
    #[must_use]
    pub fn max_held(mut self, bytes: usize) -> Self {
        self.max_held = Some(bytes);
        self
    }

    /// Length of the accept queue, 1 to 2³⁰; the kernel caps it at `somaxconn`.
    /// Default: `somaxconn`.
    #[must_use]
    pub fn backlog(mut self, connections: u32) -> Self {
        self.backlog = Some(connections);
        self
    }

    /// Closes a connection that moved no byte either way for this long; resolution 1 ms, and
    /// up to a sixteenth late. `None` (the default), zero or over 24 days: never.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.idle_timeout = timeout.into();
        self
    }

    /// The one budget of a stop, from the first request to the last close. Zero: straight to
    /// forcing. `None`: no end. Default: 8 s.
    #[must_use]
    pub fn shutdown_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.shutdown_timeout = timeout.into();
        self
    }

    /// When a connection is done during a stop. Default: [`Drain::Idle`].
    #[must_use]
    pub fn drain(mut self, drain: Drain) -> Self {
        self.drain = drain;
        self
    }

    /// The quiet time that makes a connection done under [`Drain::Idle`], counted from its last
    /// byte even if that was before the stop; resolution 1 ms. Default: 200 ms.
    #[must_use]
    pub fn idle_grace(mut self, grace: Duration) -> Self {
        self.idle_grace = grace;
        self
    }

    /// How long after its FIN the server waits for the peer's. Default: 1 s.
    #[must_use]
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// How long a stop waits at most for half-open handshakes to complete before it closes its
    /// listeners. Zero: not at all. Default: 1500 ms, longer than the first repetition of a
    /// SYN-ACK.
    #[must_use]
    pub fn handshake_grace(mut self, grace: Duration) -> Self {
        self.handshake_grace = grace;
        self
    }

    /// How long after the stop request everything goes on, new clients too. Comes out of
    /// [`shutdown_timeout`](Self::shutdown_timeout) and must be shorter. Default: zero.
    #[must_use]
    pub fn lame_duck(mut self, time: Duration) -> Self {
        self.lame_duck = time;
        self
    }

    /// Whether accepted sockets send small segments at once (TCP_NODELAY). Default: true.
    #[must_use]
    pub fn nodelay(mut self, on: bool) -> Self {
        self.nodelay = on;
        self
    }

    /// SO_RCVBUF of accepted sockets in bytes, 1 to 2³⁰. Default: the kernel's.
    #[must_use]
    pub fn recv_buffer(mut self, bytes: usize) -> Self {
        self.recv_buffer = Some(bytes);
        self
    }

    /// SO_SNDBUF of accepted sockets in bytes, 1 to 2³⁰. Default: the kernel's.
    #[must_use]
    pub fn send_buffer(mut self, bytes: usize) -> Self {
        self.send_buffer = Some(bytes);
        self
    }

    /// Whether several processes may listen on one port (SO_REUSEPORT). Default: false.
    #[must_use]
    pub fn reuse_port(mut self, on: bool) -> Self {
        self.reuse_port = on;
        self
    }

    /// How long sent bytes may stay unacknowledged before the kernel gives the peer up
    /// (TCP_USER_TIMEOUT; Linux), 1 ms to 24 days. `None` (the default): the kernel's rule.
    #[must_use]
    pub fn user_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.user_timeout = timeout.into();
        self
    }

    /// Probes a silent peer after this long, then every tenth of it (at least 1 s), and gives it
    /// up after three probes without an answer (SO_KEEPALIVE), 1 s to 9 h. `None` (the
    /// default): no probes.
    #[must_use]
    pub fn keepalive(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.keepalive = time.into();
        self
    }

    /// How long an [`EventLoop`](crate::EventLoop) goes on asking for events after the last one
    /// before it sleeps: lower latency for a busy core. `None` (the default) or zero: off.
    #[must_use]
    pub fn busy_poll(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.busy_poll = time.into();
        self
    }

    /// Events that an [`EventLoop`](crate::EventLoop) takes from the kernel at a time, 1 to
    /// 65 536. Default: 1024.
    #[must_use]
    pub fn events_capacity(mut self, events: usize) -> Self {
        self.events_capacity = events;
        self
    }

    /// Checks every bound.
    pub(crate) fn check(&self) -> Result<(), Error> {
        within("max_connections", self.max_connections, 1, MAX_CONNECTIONS)?;
        within("max_per_ip", self.max_per_ip, 1, MAX_CONNECTIONS)?;
        within("max_held", self.max_held, 64 << 10, usize::MAX)?;
        within("backlog", self.backlog, 1, MAX_BACKLOG)?;
        within("recv_buffer", self.recv_buffer, 1, MAX_SOCKET_BUFFER)?;
        within("send_buffer", self.send_buffer, 1, MAX_SOCKET_BUFFER)?;
        within("events_capacity", Some(self.events_capacity), 1, MAX_EVENTS)?;
        let days = Duration::from_secs(24 * 86_400);
        between("user_timeout", self.user_timeout, Duration::from_millis(1), days)?;
        let hours = Duration::from_secs(9 * 3600);
        between("keepalive", self.keepalive, Duration::from_secs(1), hours)?;
        if let Some(budget) = self.shutdown_timeout
            && !self.lame_duck.is_zero()
            && self.lame_duck >= budget
        {
            return Err(Error::new(
                ErrorKind::Config,
                format!(
                    "lame_duck {:?}: must be shorter than shutdown_timeout {budget:?}, \
                     out of which it comes",
                    self.lame_duck
                ),
            ));
        }
        Ok(())
    }
}

fn within<T: Copy + PartialOrd + fmt::Display>(
    field: &str,
    value: Option<T>,
    least: T,
    most: T,
) -> Result<(), Error> {
    match value {
        Some(value) if value < least || value > most => Err(Error::new(
            ErrorKind::Config,
            format!("{field} {value}: must be from {least} to {most}"),
        )),
        _ => Ok(()),
    }
}

fn between(
    field: &str,
    value: Option<Duration>,
    least: Duration,
    most: Duration,
) -> Result<(), Error> {
    match value {
        Some(value) if value < least || value > most => Err(Error::new(
            ErrorKind::Config,
            format!("{field} {value:?}: must be from {least:?} to {most:?}"),
        )),
        _ => Ok(()),
    }
}
