//! The server under audit, as the audit needs it: somebody else knows how it is stopped.

use std::io;
use std::time::Duration;

/// The server under audit and whoever watches the audit.
pub trait Subject {
    /// Returns whether the process that is stopped is gone; `None` where none is known.
    fn is_gone(&mut self) -> Option<bool>;

    /// Makes the process and its children stand still, so that new connections stay in the accept
    /// queue; returns whether they do. The stop or [`thaw`](Self::thaw) lets them run again.
    fn freeze(&mut self) -> bool {
        false
    }

    /// Stops the server. A process that stands still is continued at once, its children are not.
    ///
    /// # Errors
    ///
    /// When the server cannot be stopped that way.
    fn stop(&mut self) -> io::Result<()>;

    /// Lets everything run that [`freeze`](Self::freeze) made stand still.
    fn thaw(&mut self) {}

    /// Is called ten times a second; ends the audit by [`Flow::Stop`].
    fn tick(&mut self, progress: &Progress) -> Flow {
        let _ = progress;
        Flow::Continue
    }
}

/// Whether an audit goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// It does.
    Continue,
    /// It ends now and reports what it has.
    Stop,
}

/// The stages of an audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// The right answer is learned.
    Learning,
    /// Load before the stop.
    Warmup,
    /// The server has been told to stop.
    Stopping,
    /// No new requests; what is in flight is waited for.
    Settling,
}

/// How an audit stands.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Progress {
    /// The stage.
    pub stage: Stage,
    /// Time since the start of the load, or since the stop.
    pub elapsed: Duration,
    /// Whole, correct answers so far.
    pub answered: u64,
    /// Requests in flight.
    pub in_flight: u64,
    /// Requests lost since the stop.
    pub lost: u64,
    /// Requests raced since the stop.
    pub raced: u64,
}
