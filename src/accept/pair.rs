//! Connections that a process holds no socket of, known by their two addresses: half-open
//! handshakes, and closed sockets whose last bytes are on their way.

use std::net::SocketAddr;

/// A connection by its two addresses, and what the kernel said of it when it was last asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
    pub(crate) standing: Standing,
}

impl Pair {
    /// What tells it apart from others: accept(2) gives these too.
    pub(crate) fn key(&self) -> SocketAddr {
        key(self.peer)
    }
}

/// A peer's address without flow label and scope, which not every source gives.
pub(crate) fn key(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

/// What the kernel knows of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// A SYN was answered, the final ACK has not arrived (SYN_RECV). So many repetitions of the
    /// SYN-ACK have been sent.
    HalfOpen { repetitions: u8 },
    /// It exists, in any other state. So many bytes of ours, the FIN among them, are not
    /// acknowledged; so many repetitions in a row were left unanswered.
    Known { unacknowledged: u32, repetitions: u8 },
    /// The kernel knows no such connection.
    Gone,
    /// The kernel cannot be asked.
    Unknown,
}

/// What a dump is to find on the address of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sought {
    /// Connections in SYN_RECV.
    HalfOpen,
    /// Connections in FIN_WAIT1, CLOSING or LAST_ACK that no process holds a socket of.
    Closed,
}

/// How far a dump has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dumped {
    /// There is more to be read, in another turn.
    Partly,
    /// It is complete.
    Wholly,
    /// It cannot be had.
    Unknown,
}

/// What can be known of the half-open handshakes of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visibility {
    /// There are none: a connect to a Unix socket ends in the queue.
    NoHandshakes,
    /// A dump shows them all.
    Shown,
    /// Some exist in segments on their way only: SYN cookies are always in use.
    Cookies,
    /// A dump shows those of other listeners on the same port too (SO_REUSEPORT).
    Shared,
    /// The kernel cannot be asked.
    Hidden,
}

/// Counters of the kernel since its start, for all listeners of the host together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pressure {
    /// SYN cookies sent (`SyncookiesSent`).
    pub(crate) cookies: u64,
    /// Final ACKs dropped because an accept queue was full (`ListenOverflows`).
    pub(crate) overflows: u64,
}
