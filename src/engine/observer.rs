//! What a host can watch of a server's life.

use std::net::SocketAddr;

use super::phase::Phase;
use super::report::{ByteCounts, CloseReason};

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
/// The methods run on the server's thread, in the midst of a call of the host's: none may block.
/// They get data, not the server; a [`ShutdownHandle`](crate::ShutdownHandle) may be used in
/// them, and a request made there is seen by the next turn. A panic goes through to the host's
/// call, after which the server is only good for dropping. A drop of the server with live
/// connections tells of each of them, unless it comes of a panic.
///
/// Without an observer nothing is paid; with one, a call for each connection's begin and end and
/// for each phase, none for bytes.
pub trait Observer {
    /// Connection number `connection` (from 1, in the order of acceptance, never used again) is
    /// open. `peer` is `None` for a Unix socket.
    fn on_open(&mut self, connection: u64, peer: Option<SocketAddr>) {
        let _ = (connection, peer);
    }

    /// A connection ended: once for each that was opened. Its slot is freed at the end of the
    /// turn.
    fn on_close(&mut self, closed: Closed) {
        let _ = closed;
    }

    /// The server entered a phase: forward only, each at most once, skipped ones not at all.
    fn on_phase(&mut self, phase: Phase) {
        let _ = phase;
    }
}

/// The end of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Closed {
    /// Its number, as given to [`Observer::on_open`].
    pub connection: u64,
    /// Why it ended.
    pub reason: CloseReason,
    /// Its bytes: `read = written + late + unsent + peer_aborted`.
    pub bytes: ByteCounts,
}
