//! What a host can watch of a server's life.

use std::net::SocketAddr;

use super::phase::Phase;
use super::report::{ByteCounts, CloseReason};

/// Follows a server's life from inside its turns.
///
/// Each method gets data, not the server; a [`ShutdownHandle`](crate::ShutdownHandle) may be used
/// in them. They run on the loop: none may block. Without an observer nothing is paid.
pub trait Observer {
    /// Connection number `connection` (from 1, in the order of acceptance) is open. `peer` is
    /// `None` for a Unix socket.
    fn on_open(&mut self, connection: u64, peer: Option<SocketAddr>) {
        let _ = (connection, peer);
    }

    /// A connection ended.
    fn on_close(&mut self, closed: Closed) {
        let _ = closed;
    }

    /// The server entered a phase.
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
