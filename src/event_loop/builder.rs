//! The settings of a loop, apart from those of its server.

use mio::{Events, Poll, Token, Waker};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::EventLoop;
use crate::config::{MAX_CONNECTIONS, within};
use crate::error::{Error, ErrorKind};
use crate::event_loop::turn_times::TurnTimes;
use crate::server::{Server, Service};
use crate::token::TokenRange;

pub(super) const WAKER: Token = Token(usize::MAX);
/// Connections of a loop whose configuration sets no maximum.
const DEFAULT_CONNECTIONS: usize = 1 << 20;
const MAX_EVENTS: usize = 65_536;

/// Makes an [`EventLoop`] with other settings than the defaults.
///
/// ```
/// use std::time::Duration;
/// use netgrace::{Config, EventLoop, Server};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Server::bind("127.0.0.1:0".parse()?, Config::new())?;
/// let event_loop =
///     EventLoop::builder().busy_poll(Duration::from_micros(50)).build(server)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct EventLoopBuilder {
    busy_poll: Option<Duration>,
    events_capacity: usize,
    measures_turns: bool,
}

impl EventLoopBuilder {
    pub(super) fn new() -> Self {
        Self { busy_poll: None, events_capacity: 1024, measures_turns: false }
    }

    /// How long the loop goes on polling after the last event before it sleeps: lower latency
    /// for a busy core. `None` (the default) or zero: not at all.
    pub fn busy_poll(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.busy_poll = time.into();
        self
    }

    /// Events that one turn takes from the kernel, 1 to 65 536. Default: 1024.
    pub fn events_capacity(mut self, events: usize) -> Self {
        self.events_capacity = events;
        self
    }

    /// Whether to measure how long turns take ([`EventLoop::turn_times`]), at the price of reading
    /// the clock once more in each. Default: false.
    pub fn measure_turns(mut self, on: bool) -> Self {
        self.measures_turns = on;
        self
    }

    /// Makes a poll and a waker, registers the server, and ends a first turn, which accepts the
    /// clients that wait. The server gets the tokens from 0 on, as many as its listeners and
    /// [`max_connections`](crate::Config::max_connections) need; without that setting there may
    /// be 2²⁰ connections.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for a value out of its range, [`ErrorKind::Poll`] if the system
    /// refuses a poll or a waker, and the errors of [`Server::register`].
    pub fn build<P: Service>(self, mut server: Server<P>) -> Result<EventLoop<P>, Error> {
        within("events_capacity", Some(self.events_capacity), 1, MAX_EVENTS)?;
        let fail = |attempt: &str, error| Error::io(ErrorKind::Poll, attempt, error);
        let poll = Poll::new().map_err(|error| fail("create the poll", error))?;
        let waker = Waker::new(poll.registry(), WAKER)
            .map_err(|error| fail("create the waker of the poll", error))?;
        let connections = server.config().get_max_connections().unwrap_or(DEFAULT_CONNECTIONS);
        let len = connections.min(MAX_CONNECTIONS).saturating_add(server.listener_count());
        server.register(poll.registry(), TokenRange::new(0..len))?;
        server.end_turn(poll.registry(), Instant::now());
        Ok(EventLoop {
            events: Events::with_capacity(self.events_capacity),
            waker: Arc::new(waker),
            busy_poll: self.busy_poll.filter(|time| !time.is_zero()),
            poll,
            server,
            #[cfg(feature = "signals")]
            signals: None,
            last_event: None,
            broken: false,
            interrupted: false,
            turn_times: self.measures_turns.then(TurnTimes::default),
        })
    }
}

impl Default for EventLoopBuilder {
    fn default() -> Self {
        Self::new()
    }
}
