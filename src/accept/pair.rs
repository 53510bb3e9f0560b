//! Connections of which the process holds no socket and knows only the two addresses: half-open
//! handshakes, and closed sockets whose last bytes are not acknowledged yet.

use std::net::SocketAddr;

/// A connection by its two addresses, and the kernel's last report of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
    pub(crate) standing: Standing,
}

impl Pair {
    /// What identifies it: accept(2) returns the same address.
    pub(crate) fn key(&self) -> SocketAddr {
        key(self.peer)
    }
}

/// Returns a peer's address without flow label and scope, which not every source includes.
pub(crate) fn key(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

/// What the kernel knows of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(any(test, all(feature = "diagnosis", target_os = "linux"))),
    expect(dead_code, reason = "only a kernel that can be asked says so")
)]
pub(crate) enum Standing {
    /// A SYN was answered, the final ACK has not arrived (SYN_RECV); with the number of times that
    /// the SYN-ACK was repeated.
    HalfOpen { repetitions: u8 },
    /// It is in any other state; with the number of our bytes that are not acknowledged, our FIN
    /// included, and of repetitions in a row that were left unanswered.
    Known { unacknowledged: u32, repetitions: u8 },
    /// The kernel knows no such connection.
    Gone,
    /// The kernel cannot be asked.
    Unknown,
}

/// The connections that a dump lists on the address of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sought {
    /// Connections in SYN_RECV.
    HalfOpen,
    /// Connections in FIN_WAIT1, CLOSING or LAST_ACK that no process holds a socket of.
    Closed,
}

/// The progress of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(any(test, all(feature = "diagnosis", target_os = "linux"))),
    expect(dead_code, reason = "only a kernel that can be asked says so")
)]
pub(crate) enum Dumped {
    /// There is more to be read, in another turn.
    Partly,
    /// It is complete.
    Wholly,
    /// The kernel cannot be asked.
    Unknown,
}

/// What can be known of the half-open handshakes of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visibility {
    /// There are none: a connect to a Unix socket ends in the queue.
    NoHandshakes,
    /// A dump shows them all.
    Shown,
    /// Some are in no table of the kernel: SYN cookies are always in use.
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
