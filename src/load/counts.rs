//! What one worker counts.

use super::audit::AuditCounts;
use super::clock::NEVER;
use super::latency::Latency;
use super::results::{ErrorCounts, Pauses};

/// The most mismatches whose origin is looked for; it takes a search of the whole block.
const DIAGNOSES_MAX: u32 = 5_000;

/// Messages that came back since the last interval.
#[derive(Clone, Debug)]
pub(super) struct Slice {
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) latency: Latency,
    /// Latency from send; only kept where `latency` counts from a schedule.
    pub(super) service: Option<Latency>,
}

impl Slice {
    pub(super) fn new(with_service: bool) -> Self {
        let service = with_service.then(Latency::new);
        Self { messages: 0, bytes: 0, latency: Latency::new(), service }
    }

    fn add(&mut self, scheduled: u64, sent: u64, now: u64, bytes: u64) {
        self.messages = self.messages.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
        self.latency.record(now.saturating_sub(scheduled));
        if let Some(service) = &mut self.service {
            service.record(now.saturating_sub(sent));
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.messages = self.messages.saturating_add(other.messages);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.latency.merge(&other.latency);
        if let (Some(mine), Some(theirs)) = (&mut self.service, &other.service) {
            mine.merge(theirs);
        }
    }
}

/// Everything that one worker counts.
#[derive(Debug)]
pub(super) struct WorkerCounts {
    pub(super) sent: u64,
    pub(super) verified: u64,
    pub(super) wrong: u64,
    pub(super) extra: u64,
    pub(super) foreign: u64,
    /// Bytes whose fate is the audit's to judge.
    pub(super) audited_bytes: u64,
    /// Slots that were connected at least once, and those given up.
    pub(super) established: u64,
    pub(super) failed: u64,
    pub(super) retried: u64,
    pub(super) churned: u64,
    /// All successful connects, and all connections lost.
    pub(super) opened: u64,
    pub(super) lost: u64,
    pub(super) unsent_messages: u64,
    pub(super) connect_latency: Latency,
    pub(super) errors: ErrorCounts,
    pub(super) audit: AuditCounts,
    /// Messages that were to be sent in the measured time, since the last interval.
    pub(super) measured: Slice,
    /// Those that were to be sent after it.
    pub(super) after: Slice,
    /// Completed messages of all phases.
    pub(super) messages: u64,
    /// The measured time, in nanoseconds.
    pub(super) measure_from: u64,
    pub(super) measure_to: u64,
    /// The times that the thread stood still.
    pub(super) pauses: Pauses,
    /// Since when and what came back on a plateau of a ramp.
    plateau: Option<(u64, Slice)>,
    diagnoses: u32,
}

impl WorkerCounts {
    pub(super) fn new(with_service: bool) -> Self {
        Self {
            sent: 0,
            verified: 0,
            wrong: 0,
            extra: 0,
            foreign: 0,
            audited_bytes: 0,
            established: 0,
            failed: 0,
            retried: 0,
            churned: 0,
            opened: 0,
            lost: 0,
            unsent_messages: 0,
            connect_latency: Latency::new(),
            errors: ErrorCounts::default(),
            audit: AuditCounts::default(),
            measured: Slice::new(with_service),
            after: Slice::new(with_service),
            messages: 0,
            measure_from: NEVER,
            measure_to: NEVER,
            pauses: Pauses::default(),
            plateau: None,
            diagnoses: 0,
        }
    }

    /// Whether the origin of another mismatch may be looked for; each asking counts.
    pub(super) fn may_diagnose(&mut self) -> bool {
        self.diagnoses = self.diagnoses.saturating_add(1);
        self.diagnoses <= DIAGNOSES_MAX
    }

    /// Counts a message that came back whole.
    pub(super) fn complete(&mut self, scheduled: u64, sent: u64, now: u64, bytes: u64) {
        self.messages = self.messages.saturating_add(1);
        if scheduled < self.measure_from {
            return;
        }
        let slice = if scheduled < self.measure_to { &mut self.measured } else { &mut self.after };
        slice.add(scheduled, sent, now, bytes);
        if let Some((from, slice)) = &mut self.plateau
            && scheduled >= *from
        {
            slice.add(scheduled, sent, now, bytes);
        }
    }

    pub(super) fn begin_plateau(&mut self, now: u64) {
        self.plateau = Some((now, Slice::new(false)));
    }

    pub(super) fn end_plateau(&mut self) -> Option<Slice> {
        self.plateau.take().map(|(_, slice)| slice)
    }

    /// Takes what came back since the last interval: measured, and after the measured time.
    pub(super) fn take_slices(&mut self) -> (Slice, Slice) {
        let with_service = self.measured.service.is_some();
        let measured = std::mem::replace(&mut self.measured, Slice::new(with_service));
        let after = std::mem::replace(&mut self.after, Slice::new(with_service));
        (measured, after)
    }
}
