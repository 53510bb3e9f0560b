//! The host's view of a server's life, connection by connection.

use std::fmt;
use std::net::SocketAddr;

use super::phase::Phase;
use super::report::{ByteCounts, CloseReason};

/// Identifies a connection of one server, for the server's whole life: no two connections have the
/// same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    number: u64,
    slot: u32,
}

impl ConnectionId {
    pub(crate) fn new(number: u64, slot: u32) -> Self {
        Self { number, slot }
    }

    /// Returns the number of the connection in the order of acceptance, from 1.
    #[must_use]
    pub fn number(self) -> u64 {
        self.number
    }

    pub(crate) fn slot(self) -> u32 {
        self.slot
    }
}

impl fmt::Display for ConnectionId {
    /// The number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number.fmt(f)
    }
}

/// Follows a server's life from inside its turns: see
/// [`Server::observe`](crate::Server::observe).
///
/// ```
/// use std::net::SocketAddr;
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use netgrace::{Closed, Config, EventLoop, Observer, Server};
///
/// struct Traffic(Arc<AtomicU64>);
///
/// impl Observer for Traffic {
///     fn on_close(&mut self, closed: Closed) {
///         self.0.fetch_add(closed.bytes.read, Ordering::Relaxed);
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bytes = Arc::new(AtomicU64::new(0));
/// let mut server = Server::bind("127.0.0.1:0".parse()?, Config::new())?;
/// server.observe(Traffic(Arc::clone(&bytes)));
/// # let mut event_loop = EventLoop::new(server)?;
/// # event_loop.begin_shutdown();
/// # event_loop.run();
/// # assert_eq!(bytes.load(Ordering::Relaxed), 0);
/// # Ok(())
/// # }
/// ```
///
/// The methods run on the server's thread, within a call of the host's: none may block. They get
/// data, not the server; a [`ShutdownHandle`](crate::ShutdownHandle) may be used in them, and the
/// next turn sees a request made there. A panic propagates to the host's call, after which the
/// server may only be dropped. Dropping a server with open connections calls
/// [`on_close`](Self::on_close) for each of them, unless a panic is the reason.
///
/// Without an observer there is no cost; with one, a call for each connection's begin and end and
/// for each phase, none for bytes.
pub trait Observer {
    /// Returns whether to serve a client that was just accepted, as an allow-list does. A client
    /// that is refused is closed at once, counts as
    /// [`refused`](crate::Stats::refused), and no other method is called for it. `peer` is `None`
    /// for a Unix socket. Default: true.
    fn accepts(&mut self, peer: Option<SocketAddr>) -> bool {
        let _ = peer;
        true
    }

    /// A connection was opened. `peer` is `None` for a Unix socket.
    fn on_open(&mut self, connection: ConnectionId, peer: Option<SocketAddr>) {
        let _ = (connection, peer);
    }

    /// A connection ended: once for each that was opened. Its slot is freed at the end of the
    /// turn.
    fn on_close(&mut self, closed: Closed) {
        let _ = closed;
    }

    /// The server entered a phase: forward only, each at most once, a skipped one not at all.
    fn on_phase(&mut self, phase: Phase) {
        let _ = phase;
    }
}

/// The end of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Closed {
    /// Which connection, as given to [`Observer::on_open`].
    pub connection: ConnectionId,
    /// Why it ended.
    pub reason: CloseReason,
    /// Its bytes; how they add up, [`ByteCounts`] says.
    pub bytes: ByteCounts,
}
