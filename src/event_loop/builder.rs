//! The settings of a loop, apart from those of its server.

use std::time::Duration;

/// Makes an [`EventLoop`](crate::EventLoop) with other settings than the defaults.
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
    pub(super) busy_poll: Option<Duration>,
    pub(super) events_capacity: usize,
    pub(super) measures_turns: bool,
}

impl EventLoopBuilder {
    pub(super) fn new() -> Self {
        Self { busy_poll: None, events_capacity: 1024, measures_turns: false }
    }

    /// How long the loop goes on polling after the last event before it sleeps: lower latency
    /// for a busy core. `None` (the default) or zero: not at all, but for at most 1 ms after each
    /// event of a drain, in which the FINs of the peers come one by one, and 100 ms in all.
    pub fn busy_poll(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.busy_poll = time.into();
        self
    }

    /// Events that one turn takes from the kernel, 1 to 65 536. Default: 1024.
    pub fn events_capacity(mut self, events: usize) -> Self {
        self.events_capacity = events;
        self
    }

    /// Whether to measure [how long turns take](crate::EventLoop::turn_times), at the price of
    /// reading the clock once more in each. Default: false.
    pub fn measure_turns(mut self, on: bool) -> Self {
        self.measures_turns = on;
        self
    }
}

impl Default for EventLoopBuilder {
    fn default() -> Self {
        Self::new()
    }
}
