//! The caller's view of a run, and its hand on the server.

use std::io;

use super::control::{Phase, Progress};
use super::results::Interval;

/// Whether a run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// End early: wait shortly for what is in flight, close, and give the results so far.
    Stop,
}

/// Watches a run, and has a hand on the server where the run audits its stop.
///
/// The calls come from the thread that called [`run`](super::run), some ten a second; they should
/// return at once.
pub trait Observer {
    /// How the run stands.
    fn tick(&mut self, progress: &Progress) -> Flow {
        let _ = progress;
        Flow::Continue
    }

    /// A phase has begun.
    fn entered(&mut self, phase: Phase) {
        let _ = phase;
    }

    /// A step of the time series is complete.
    fn interval(&mut self, interval: &Interval) {
        let _ = interval;
    }

    /// The server will be told to stop at once: the last moment to look at it.
    fn before_stop(&mut self) {}

    /// The audit begins: tell the server to stop, do not wait for it.
    ///
    /// # Errors
    ///
    /// Any; the audit then finds that the server did not stop.
    fn stop_server(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Whether the server process is gone; `None` where that is not known.
    fn is_server_gone(&mut self) -> Option<bool> {
        None
    }
}

/// Watches nothing.
impl Observer for () {}
