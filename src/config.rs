//! The settings of a server: [`Config`], [`Drain`], their bounds and defaults.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::error::{Error, ErrorKind};

/// When a connection counts as done during a stop.
///
/// Under `Idle` and `Flush` no peer can hold a stop to the end of its budget by sending. After five
/// times [`idle_grace`](Config::idle_grace), one second or ten rounds, whichever is longest, a
/// connection is done as soon as its receive queue is read dry and it has no pending output. But a
/// request of which a part was consumed is waited for as long as it goes on coming, and one that is
/// outstanding until it is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Drain {
    /// Its receive queue was read dry, it has no pending output, and no byte moved either way
    /// for [`idle_grace`](Config::idle_grace) and for a round.
    #[default]
    Idle,
    /// Its receive queue was read dry, it has no pending output, and no byte moved either way for
    /// a round: two round-trip times, at least 50 ms.
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
/// The setters check nothing; [`check`](Self::check), which [`Server::new`](crate::Server::new)
/// and [`Server::bind`](crate::Server::bind) call, returns an error of kind
/// [`ErrorKind::Config`] that names the field, the value and the range. Each setting is read by
/// the method of its name with `get_` before it.
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
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

/// Slots are addressed by 32 bits, and two values are reserved for the lists.
pub(crate) const MAX_CONNECTIONS: usize = 1 << 30;
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
        }
    }
}

/// One getter for each line.
macro_rules! getters {
    ($($getter:ident: $setting:ident, $type:ty;)*) => {$(
        #[doc = concat!("Returns what [`", stringify!($setting), "`](Self::", stringify!($setting),
            ") set, or its default.")]
        #[must_use]
        pub fn $getter(&self) -> $type {
            self.$setting
        }
    )*};
}

impl Config {
    /// Returns the defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Connections open at one time, 1 to 2³⁰; above it clients wait in the accept queue.
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

    /// Pending output of all connections together in bytes, at least 64 KiB. Above it reading
    /// pauses and goes on, oldest pause first, as peers take what is pending. The call of a
    /// protocol that reaches it may go beyond it by what it still puts. Default: no bound.
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

    /// Closes a connection on which no byte moved either way for this long and no request is
    /// outstanding; resolution 1 ms, and up to a sixteenth late. `None` (the default), zero or over
    /// 24 days: never.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.idle_timeout = timeout.into();
        self
    }

    /// The one budget of a stop, from the first request to the last close. Zero: straight to
    /// [`Phase::Forcing`](crate::Phase::Forcing). `None`: no limit. Default: 8 s.
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

    /// How long the server waits for the peer's FIN after its own. Default: 1 s.
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

    /// How long after the stop request the server goes on as before, new clients included. Part of
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

    getters! {
        get_max_connections: max_connections, Option<usize>;
        get_max_per_ip: max_per_ip, Option<usize>;
        get_max_held: max_held, Option<usize>;
        get_backlog: backlog, Option<u32>;
        get_idle_timeout: idle_timeout, Option<Duration>;
        get_shutdown_timeout: shutdown_timeout, Option<Duration>;
        get_drain: drain, Drain;
        get_idle_grace: idle_grace, Duration;
        get_linger: linger, Duration;
        get_handshake_grace: handshake_grace, Duration;
        get_lame_duck: lame_duck, Duration;
        get_nodelay: nodelay, bool;
        get_recv_buffer: recv_buffer, Option<usize>;
        get_send_buffer: send_buffer, Option<usize>;
        get_reuse_port: reuse_port, bool;
        get_user_timeout: user_timeout, Option<Duration>;
        get_keepalive: keepalive, Option<Duration>;
    }

    /// Checks that every value lies in its range.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for the first value that does not.
    pub fn check(&self) -> Result<(), Error> {
        within("max_connections", self.max_connections, 1, MAX_CONNECTIONS)?;
        within("max_per_ip", self.max_per_ip, 1, MAX_CONNECTIONS)?;
        within("max_held", self.max_held, 64 << 10, usize::MAX)?;
        within("backlog", self.backlog, 1, MAX_BACKLOG)?;
        within("recv_buffer", self.recv_buffer, 1, MAX_SOCKET_BUFFER)?;
        within("send_buffer", self.send_buffer, 1, MAX_SOCKET_BUFFER)?;
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

pub(crate) fn within<T: Copy + PartialOrd + fmt::Display>(
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
