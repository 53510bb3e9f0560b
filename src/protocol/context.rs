//! What a protocol is told with each call.

use std::time::Instant;

use crate::engine::observer::ConnectionId;
use crate::engine::phase::Phase;

/// The circumstances of a call.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Context {
    /// The connection that the call is about.
    pub connection: ConnectionId,
    /// Where the server is in its life.
    pub phase: Phase,
    /// The time; it never goes back.
    pub now: Instant,
}

impl Context {
    /// The circumstances of a call that is made without a server, or by a protocol that wraps
    /// another one.
    #[must_use]
    pub const fn new(connection: ConnectionId, phase: Phase, now: Instant) -> Self {
        Self { connection, phase, now }
    }

    /// Whether a stop was requested: from now on answers should say that the end is near.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.phase >= Phase::LameDuck
    }
}
