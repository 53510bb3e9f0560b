//! What a run found out.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::audit::Audit;
use super::latency::Latency;

/// Everything a run found out; data, never an assertion.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Results {
    /// Opening the connections.
    pub connect: ConnectResults,
    /// Messages and bytes.
    pub load: LoadResults,
    /// Latency of the measured messages: from the scheduled time with a rate, else from send.
    pub latency: Latency,
    /// Latency from send, where [`latency`](Self::latency) counts from the schedule.
    pub service: Option<Latency>,
    /// Connections lost outside the audit, by what ended them.
    pub errors: ErrorCounts,
    /// The audit of the stop, where one was made.
    pub audit: Option<Audit>,
    /// The time series.
    pub intervals: Vec<Interval>,
    /// The steps of a ramp.
    pub steps: Vec<StepResults>,
    /// When the measured time began, by the clock of this machine.
    pub measured_from: Option<SystemTime>,
    /// Not all connections were open when measuring was to begin
    /// ([`Plan::start_at`](super::Plan::start_at)): how long after that connecting ended.
    pub late_by: Option<Duration>,
    /// The generator itself stood still.
    pub pauses: Pauses,
    /// The observer ended the run early.
    pub interrupted: bool,
}

/// Opening the connections.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ConnectResults {
    /// Connections asked for.
    pub requested: u64,
    /// Connections opened, not counting those that churn opened anew.
    pub established: u64,
    /// Connections given up after all retries.
    pub failed: u64,
    /// Connects tried again.
    pub retried: u64,
    /// From the first connect until the last was open or given up.
    pub elapsed: Duration,
    /// From connect to connected, churn included.
    pub latency: Latency,
    /// Connections that churn and a reconnect closed and opened anew.
    pub churned: u64,
    /// From the request to reconnect until all were open again.
    pub reconnect_elapsed: Option<Duration>,
}

/// One step of a ramp.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct StepResults {
    /// Connections asked for.
    pub requested: u64,
    /// Connections open at the end of the plateau.
    pub connections: u64,
    /// From the first connect of the step until the last was open or given up.
    pub connect_elapsed: Duration,
    /// The plateau.
    pub elapsed: Duration,
    /// Messages that came back on it.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their latency, counted as in [`Results::latency`].
    pub latency: Latency,
}

impl StepResults {
    /// Messages per second on the plateau.
    #[must_use]
    pub fn messages_per_second(&self) -> f64 {
        per_second(self.messages, self.elapsed)
    }
}

/// How often and how long the load generator stood still: stopped by a signal, a paused virtual
/// machine, or not scheduled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pauses {
    /// How often, for a tenth of a second or more.
    pub count: u64,
    /// All of them together.
    pub total: Duration,
    /// The longest.
    pub longest: Duration,
}

impl Pauses {
    /// Adds a pause in nanoseconds.
    pub(super) fn add(&mut self, nanos: u64) {
        let pause = Duration::from_nanos(nanos);
        self.count = self.count.saturating_add(1);
        self.total = self.total.saturating_add(pause);
        self.longest = self.longest.max(pause);
    }

    /// Combines what two threads saw of the same time.
    pub(super) fn combine(&mut self, other: &Self) {
        self.count = self.count.max(other.count);
        self.total = self.total.max(other.total);
        self.longest = self.longest.max(other.longest);
    }
}

/// Messages and bytes.
///
/// The bytes cover every connection's whole life, warm-up included, and
/// `sent = verified + missing` holds by construction; `received = verified + wrong + extra`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LoadResults {
    /// The measured time.
    pub elapsed: Duration,
    /// Messages of the measured time whose echo came back whole.
    pub messages: u64,
    /// Their bytes.
    pub message_bytes: u64,
    /// Messages due by the schedule in the measured time and never sent.
    pub unsent_messages: u64,
    /// Bytes handed to the kernel.
    pub sent_bytes: u64,
    /// Bytes that came back right and in their place (with `verify` off: that came back).
    pub verified_bytes: u64,
    /// Bytes that came back different.
    pub wrong_bytes: u64,
    /// Bytes sent that never came back right.
    pub missing_bytes: u64,
    /// Bytes that came back and were never sent, or came back twice.
    pub extra_bytes: u64,
    /// Those of `wrong_bytes` that belong to another connection.
    pub foreign_bytes: u64,
    /// Those of `missing_bytes` that were in flight when a run with an audit ended the load:
    /// the audit judges them.
    pub audit_bytes: u64,
}

impl LoadResults {
    /// Messages per second of measured time.
    #[must_use]
    pub fn messages_per_second(&self) -> f64 {
        per_second(self.messages, self.elapsed)
    }

    /// Bytes per second of measured time, one way.
    #[must_use]
    pub fn bytes_per_second(&self) -> f64 {
        per_second(self.message_bytes, self.elapsed)
    }

    /// Whether every byte came back once, right and in its place, as far as it is not the
    /// audit's to judge.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.wrong_bytes == 0 && self.extra_bytes == 0 && self.missing_bytes <= self.audit_bytes
    }
}

fn per_second(count: u64, elapsed: Duration) -> f64 {
    if elapsed.is_zero() { 0.0 } else { count as f64 / elapsed.as_secs_f64() }
}

/// The reason in [`ErrorCounts::connect_other`] where the kernel had no local port to connect
/// from.
pub const NO_LOCAL_PORT: &str = "no free local port";

/// The reason in [`ErrorCounts::connect_other`] where the ports of the source addresses were all
/// in use.
pub const NO_SOURCE_PORT: &str = "no free source port";

/// Connections lost or never had, by what ended them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErrorCounts {
    /// Connects refused, retries used up.
    pub connect_refused: u64,
    /// Connects unfinished in time, retries used up.
    pub connect_timeout: u64,
    /// Connects that failed otherwise, by the reason, retries used up.
    pub connect_other: BTreeMap<String, u64>,
    /// Connections reset by the server.
    pub reset: u64,
    /// Connections that the server ended before their last byte, or unasked.
    pub eof_early: u64,
    /// Connections given up because an echo was late.
    pub timeout: u64,
    /// Connections given up because the server sent far more than it was given.
    pub flood: u64,
    /// Connections that the server left open after our half-close; no data is lost by that.
    pub unended: u64,
    /// Connections lost otherwise, and failures of the generator itself, by the reason.
    pub other: BTreeMap<String, u64>,
}

impl ErrorCounts {
    /// All of them together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.connect_failures().saturating_add(self.lost()).saturating_add(self.unended)
    }

    /// Connects that failed for good.
    #[must_use]
    pub fn connect_failures(&self) -> u64 {
        self.connect_refused
            .saturating_add(self.connect_timeout)
            .saturating_add(sum(&self.connect_other))
    }

    /// Open connections that were lost.
    #[must_use]
    pub fn lost(&self) -> u64 {
        [self.reset, self.eof_early, self.timeout, self.flood, sum(&self.other)]
            .into_iter()
            .fold(0, u64::saturating_add)
    }

    pub(super) fn add_other(&mut self, name: String) {
        count(&mut self.other, name, 1);
    }

    pub(super) fn add_connect_other(&mut self, name: String) {
        count(&mut self.connect_other, name, 1);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        let add = |sum: &mut u64, count: u64| *sum = sum.saturating_add(count);
        add(&mut self.connect_refused, other.connect_refused);
        add(&mut self.connect_timeout, other.connect_timeout);
        add(&mut self.reset, other.reset);
        add(&mut self.eof_early, other.eof_early);
        add(&mut self.timeout, other.timeout);
        add(&mut self.flood, other.flood);
        add(&mut self.unended, other.unended);
        for (name, more) in &other.connect_other {
            count(&mut self.connect_other, name.clone(), *more);
        }
        for (name, more) in &other.other {
            count(&mut self.other, name.clone(), *more);
        }
    }
}

fn sum(counts: &BTreeMap<String, u64>) -> u64 {
    counts.values().fold(0, |sum, count| sum.saturating_add(*count))
}

fn count(counts: &mut BTreeMap<String, u64>, name: String, more: u64) {
    let count = counts.entry(name).or_default();
    *count = count.saturating_add(more);
}

/// One step of the time series.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Interval {
    /// The end of the step, from the start of the measured time.
    pub at: Duration,
    /// Its length; the last step may be shorter than the others.
    pub length: Duration,
    /// Open connections at its end.
    pub connections: u64,
    /// Connections opened in it.
    pub opened: u64,
    /// Messages that came back in it.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their latency, counted as in [`Results::latency`].
    pub latency: Latency,
    /// Connections lost in it.
    pub errors: u64,
    /// The server had been told to stop before the end of this step.
    pub stopping: bool,
    /// The generator stood still in it: its latencies are the generator's own.
    pub paused: bool,
}

impl Interval {
    /// Messages per second in this step.
    #[must_use]
    pub fn messages_per_second(&self) -> f64 {
        per_second(self.messages, self.length)
    }

    /// Bytes per second in this step, one way.
    #[must_use]
    pub fn bytes_per_second(&self) -> f64 {
        per_second(self.bytes, self.length)
    }
}
