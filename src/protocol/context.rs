//! What a protocol is told with each call.

use std::fmt;
use std::time::Instant;

use crate::engine::observer;
use crate::engine::phase::Phase;

/// Names one connection of one server, never another one: who keeps it longer than the connection
/// lives can tell by it that the connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    slot: u32,
    generation: u32,
}

impl ConnectionId {
    /// An id by its parts: the slot, and a number that differs between the connections that one
    /// slot has had. A server makes its own; this is for trying a protocol without a server.
    #[must_use]
    pub const fn new(slot: u32, generation: u32) -> Self {
        Self { slot, generation }
    }

    /// Returns the slot. Of all connections that are open only this one has it.
    #[must_use]
    pub const fn slot(self) -> u32 {
        self.slot
    }

    /// Returns the number that tells the connections of one slot apart.
    #[must_use]
    pub const fn generation(self) -> u32 {
        self.generation
    }
}

impl From<observer::ConnectionId> for ConnectionId {
    /// The same connection, as an observer and [`Server::admit`](crate::Server::admit) name it.
    fn from(id: observer::ConnectionId) -> Self {
        // The low half of the number: as slots are taken, it does not come again in 2^32.
        let low = id.number() & u64::from(u32::MAX);
        Self { slot: id.slot(), generation: u32::try_from(low).unwrap_or(0) }
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.generation)
    }
}

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
