//! What a stop of the server did to its clients.

use std::time::{Duration, SystemTime};

/// The audit of a stop, from the clients' side. Times count from the request to stop.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Audit {
    /// Connections that were open when the server was told to stop.
    pub connections: u64,
    /// Everything handed over before the request came back, then the end of the stream.
    pub clean: u64,
    /// The stream ended in order, but bytes handed over before the request never came back.
    pub lost: u64,
    /// Reset.
    pub reset: u64,
    /// Still open when the audit's patience ended.
    pub cut: u64,
    /// Bytes handed to the kernel before the request that never came back, on any connection.
    pub lost_bytes: u64,
    /// Bytes handed to the kernel after it that never came back: nobody promised them an echo.
    pub late_bytes: u64,
    /// New connects around and after the request.
    pub queue: QueueCounts,
    /// The first connect that was refused.
    pub listener_closed: Option<Duration>,
    /// The last byte that came back.
    pub last_byte: Option<Duration>,
    /// The last connection ended.
    pub last_close: Option<Duration>,
    /// The server process was seen to be gone.
    pub exit: Option<Duration>,
    /// When the mark was taken that divides what was handed over before the request from what
    /// came after it, by the clock of this machine.
    pub marked_at: Option<SystemTime>,
    /// When the server was told to stop.
    pub signalled_at: Option<SystemTime>,
    /// Why the server could not be told to stop.
    pub stop_error: Option<String>,
}

/// What became of clients that connected at the moment of the request and after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueCounts {
    /// Connects that the kernel completed.
    pub connected: u64,
    /// Got their echo and an orderly end.
    pub served: u64,
    /// Were reset.
    pub reset: u64,
    /// Were ended in order without a whole echo.
    pub lost: u64,
    /// Heard nothing at all: they wait in a queue that somebody still holds.
    pub waiting: u64,
    /// Bytes of echo that they got.
    pub echoed_bytes: u64,
    /// Connects refused, as they should be once the listener is closed.
    pub refused: u64,
}

impl Audit {
    /// Whether no client of the server came to harm by its stop.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.clean == self.connections
            && self.lost_bytes == 0
            && self.stop_error.is_none()
            && self.queue.reset == 0
            && self.queue.lost == 0
    }
}

/// How a marked connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    EndOfStream,
    Reset,
    Cut,
}

/// One worker's part of the audit; times in nanoseconds since the start of the run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AuditCounts {
    pub(super) connections: u64,
    clean: u64,
    lost: u64,
    reset: u64,
    cut: u64,
    lost_bytes: u64,
    late_bytes: u64,
    pub(super) last_byte: u64,
    last_close: u64,
}

impl AuditCounts {
    /// Judges a marked connection at its end, of whose bytes `lost` were handed over before the
    /// mark and `late` after it and never came back. Returns the sum of both.
    pub(super) fn judge(&mut self, ending: Ending, lost: u64, late: u64, now: u64) -> u64 {
        let class = match ending {
            Ending::EndOfStream if lost == 0 => &mut self.clean,
            Ending::EndOfStream => &mut self.lost,
            Ending::Reset => &mut self.reset,
            Ending::Cut => &mut self.cut,
        };
        *class = class.saturating_add(1);
        self.lost_bytes = self.lost_bytes.saturating_add(lost);
        self.late_bytes = self.late_bytes.saturating_add(late);
        self.last_close = self.last_close.max(now);
        lost.saturating_add(late)
    }

    pub(super) fn add_to(&self, audit: &mut Audit, signal: u64) {
        let add = |sum: &mut u64, count: u64| *sum = sum.saturating_add(count);
        add(&mut audit.connections, self.connections);
        add(&mut audit.clean, self.clean);
        add(&mut audit.lost, self.lost);
        add(&mut audit.reset, self.reset);
        add(&mut audit.cut, self.cut);
        add(&mut audit.lost_bytes, self.lost_bytes);
        add(&mut audit.late_bytes, self.late_bytes);
        let latest = |time: &mut Option<Duration>, at: u64| {
            let since = at.checked_sub(signal).map(Duration::from_nanos);
            *time = (*time).max(since.filter(|_| at > 0));
        };
        latest(&mut audit.last_byte, self.last_byte);
        latest(&mut audit.last_close, self.last_close);
    }
}
