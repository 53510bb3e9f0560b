//! What the coordinator and its workers exchange.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU8, AtomicU64};
use std::time::Duration;

use super::clock::{Clock, NEVER};
use super::counts::{Slice, WorkerCounts};

/// The phases of a run, in the order of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Phase {
    /// Opening the connections.
    #[default]
    Connecting,
    /// Under load, not measured yet.
    Warmup,
    /// Under load, measured.
    Measuring,
    /// The server has been told to stop; the load goes on until it ends the connections.
    Auditing,
    /// Nothing new is sent; waiting for what is in flight.
    Settling,
    /// Closing the connections.
    Closing,
    /// Over.
    Finished,
}

impl Phase {
    fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::Connecting,
            1 => Self::Warmup,
            2 => Self::Measuring,
            3 => Self::Auditing,
            4 => Self::Settling,
            5 => Self::Closing,
            _ => Self::Finished,
        }
    }

    fn as_u8(self) -> u8 {
        match self {
            Self::Connecting => 0,
            Self::Warmup => 1,
            Self::Measuring => 2,
            Self::Auditing => 3,
            Self::Settling => 4,
            Self::Closing => 5,
            Self::Finished => 6,
        }
    }
}

/// Set by the coordinator, read by the workers.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) clock: Clock,
    phase: AtomicU8,
    /// When the current phase began.
    since: AtomicU64,
    /// When the measured time is to end.
    planned_end: AtomicU64,
    /// The position in the ramp: step n is climbed at 2n, its plateau is 2n + 1.
    ramp: AtomicU64,
}

impl Control {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            phase: AtomicU8::new(0),
            since: AtomicU64::new(0),
            planned_end: AtomicU64::new(NEVER),
            ramp: AtomicU64::new(0),
        }
    }

    pub(super) fn phase(&self) -> Phase {
        Phase::from_u8(self.phase.load(SeqCst))
    }

    pub(super) fn since(&self) -> u64 {
        self.since.load(SeqCst)
    }

    pub(super) fn planned_end(&self) -> u64 {
        self.planned_end.load(SeqCst)
    }

    /// Says when the measured time is to end, before it begins.
    pub(super) fn plan_end(&self, end: u64) {
        self.planned_end.store(end, SeqCst);
    }

    pub(super) fn ramp(&self) -> u64 {
        self.ramp.load(SeqCst)
    }

    pub(super) fn set_ramp(&self, ramp: u64) {
        self.ramp.store(ramp, SeqCst);
    }

    pub(super) fn enter(&self, phase: Phase, now: u64) {
        self.since.store(now, SeqCst);
        self.phase.store(phase.as_u8(), SeqCst);
    }
}

/// Running figures of one worker, for display.
#[derive(Debug, Default)]
pub(super) struct Gauges {
    pub(super) open: AtomicU64,
    pub(super) established: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) retried: AtomicU64,
    pub(super) messages: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) verified: AtomicU64,
    pub(super) lost: AtomicU64,
}

impl Gauges {
    pub(super) fn publish(&self, counts: &WorkerCounts, open: u64) {
        self.open.store(open, Relaxed);
        self.established.store(counts.established, Relaxed);
        self.failed.store(counts.failed, Relaxed);
        self.retried.store(counts.retried, Relaxed);
        self.messages.store(counts.messages, Relaxed);
        self.sent.store(counts.sent, Relaxed);
        self.verified.store(counts.verified, Relaxed);
        self.lost.store(counts.lost, Relaxed);
    }
}

/// A state that a worker reaches and that the coordinator waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Milestone {
    /// Every slot is connected or given up.
    Connected,
    /// The message budget is used up and everything is back.
    Spent,
    /// Nothing is in flight any more.
    Settled,
    /// No connection is open any more.
    Empty,
    /// All connections that were to be opened anew are.
    Reconnected,
}

/// A set of milestones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Milestones(u8);

impl Milestones {
    /// Adds a milestone; returns whether it is new.
    pub(super) fn insert(&mut self, milestone: Milestone) -> bool {
        let is_new = !self.contains(milestone);
        self.0 |= Self::bit(milestone);
        is_new
    }

    pub(super) fn remove(&mut self, milestone: Milestone) {
        self.0 &= !Self::bit(milestone);
    }

    pub(super) fn contains(self, milestone: Milestone) -> bool {
        self.0 & Self::bit(milestone) != 0
    }

    fn bit(milestone: Milestone) -> u8 {
        match milestone {
            Milestone::Connected => 1,
            Milestone::Spent => 2,
            Milestone::Settled => 4,
            Milestone::Empty => 8,
            Milestone::Reconnected => 16,
        }
    }
}

/// What a worker sends to the coordinator.
#[derive(Debug)]
pub(super) enum WorkerMessage {
    /// It has reached a milestone; sent at most once a phase.
    Reached(Milestone),
    /// A step of the time series.
    Step(Box<Step>),
    /// What came back on the plateau of this step of the ramp.
    Plateau(usize, Box<Slice>),
    /// The worker is at its end.
    Done(Box<WorkerCounts>),
}

/// A worker's part of an interval.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) index: u64,
    pub(super) measured: Slice,
    pub(super) after: Slice,
    pub(super) open: u64,
    pub(super) opened: u64,
    pub(super) lost: u64,
    /// The worker stood still in it.
    pub(super) is_paused: bool,
}

/// How a run stands, for display.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Progress {
    /// The phase.
    pub phase: Phase,
    /// Since the start of the phase.
    pub elapsed: Duration,
    /// How long the phase is planned to take, where that is known.
    pub planned: Option<Duration>,
    /// Connections asked for.
    pub requested: u64,
    /// Connections that were opened.
    pub established: u64,
    /// Connections given up.
    pub failed: u64,
    /// Connects tried again.
    pub retried: u64,
    /// Connections open now.
    pub open: u64,
    /// Messages that came back, warm-up included.
    pub messages: u64,
    /// Bytes handed to the kernel.
    pub sent_bytes: u64,
    /// Bytes that came back right.
    pub verified_bytes: u64,
    /// Connections lost.
    pub lost: u64,
}

impl Progress {
    pub(super) fn add(&mut self, gauges: &Gauges) {
        let add = |sum: &mut u64, gauge: &AtomicU64| *sum = sum.saturating_add(gauge.load(Relaxed));
        add(&mut self.open, &gauges.open);
        add(&mut self.established, &gauges.established);
        add(&mut self.failed, &gauges.failed);
        add(&mut self.retried, &gauges.retried);
        add(&mut self.messages, &gauges.messages);
        add(&mut self.sent_bytes, &gauges.sent);
        add(&mut self.verified_bytes, &gauges.verified);
        add(&mut self.lost, &gauges.lost);
    }
}
