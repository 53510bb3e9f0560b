//! The ends of connections, all of them through [`Worker::finish`].

use std::io;

use super::Worker;
use crate::load::audit::Ending;
use crate::load::clock::nanos;
use crate::load::connection::State;
use crate::load::control::Phase;
use crate::load::plan::Close;

/// Overdue echoes and connects are looked for at most so often, in nanoseconds.
const SCAN_MIN: u64 = 10_000_000;
const SCAN_MAX: u64 = 500_000_000;

/// What ended a connection.
#[derive(Debug)]
pub(super) enum End {
    /// The server ended the stream in order.
    Orderly,
    Reset,
    /// An echo was late.
    Timeout,
    /// The server sent far more than it was given.
    Flood,
    /// We gave up waiting for the server's end.
    Abandoned,
    /// We reset it, as asked for.
    Dropped,
    Other(io::ErrorKind),
}

impl From<&io::Error> for End {
    fn from(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted => Self::Reset,
            kind => Self::Other(kind),
        }
    }
}

impl Worker {
    /// Ends a connection: the single close path.
    pub(super) fn finish(&mut self, key: usize, end: &End) {
        self.mark(key);
        let now = self.now();
        let running = self.phase < Phase::Auditing;
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        if !slot.is_connected() {
            return;
        }
        let in_flight = u64::try_from(slot.in_flight.len()).unwrap_or(0);
        self.inflight = self.inflight.saturating_sub(in_flight);
        self.open = self.open.saturating_sub(1);
        slot.in_flight = Default::default();
        slot.stream = None;
        if slot.mark.is_some() {
            let ending = match end {
                End::Orderly => Ending::EndOfStream,
                End::Abandoned => Ending::Cut,
                _ => Ending::Reset,
            };
            let (lost, late) = (slot.lost_before_mark(), slot.late_after_mark());
            let audited_bytes = self.counts.audit.judge(ending, lost, late, now);
            self.counts.audited_bytes = self.counts.audited_bytes.saturating_add(audited_bytes);
            slot.state = State::Ended;
            return;
        }
        let closing = slot.state == State::Closing;
        let orderly = matches!((closing, end), (true, End::Orderly) | (_, End::Dropped));
        if orderly && running {
            slot.state = State::Waiting;
            self.counts.churned = self.counts.churned.saturating_add(1);
            self.connector.enqueue(key);
            return;
        }
        slot.state = State::Ended;
        if !orderly {
            self.count_end(end);
        }
    }

    fn count_end(&mut self, end: &End) {
        let lost = u64::from(!matches!(end, End::Abandoned | End::Dropped));
        self.counts.lost = self.counts.lost.saturating_add(lost);
        let errors = &mut self.counts.errors;
        match end {
            End::Orderly => errors.eof_early = errors.eof_early.saturating_add(1),
            End::Reset => errors.reset = errors.reset.saturating_add(1),
            End::Timeout => errors.timeout = errors.timeout.saturating_add(1),
            End::Flood => errors.flood = errors.flood.saturating_add(1),
            End::Abandoned => errors.unended = errors.unended.saturating_add(1),
            End::Dropped => {}
            End::Other(kind) => errors.add_other(kind.to_string()),
        }
    }

    /// Closes a connection as the plan says.
    pub(super) fn close(&mut self, key: usize, now: u64) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        let Some(stream) = &slot.stream else { return };
        match self.shared.plan.close {
            Close::Fin => match stream.half_close() {
                Ok(()) => (slot.state, slot.since) = (State::Closing, now),
                Err(_) => self.finish(key, &End::Reset),
            },
            Close::Rst => {
                if let Err(error) = stream.reset_on_close() {
                    log::debug!("reset on close: {error}");
                }
                self.finish(key, &End::Dropped);
            }
        }
    }

    pub(super) fn close_all(&mut self, now: u64) {
        for key in 0..self.worker_plan.slots {
            let state = self.slots.get(key).map(|slot| slot.state);
            if matches!(state, Some(State::Open | State::Retiring)) {
                self.close(key, now);
            }
        }
    }

    /// Gives up all that are still connected.
    pub(super) fn abandon_all(&mut self, _now: u64) {
        for key in 0..self.worker_plan.slots {
            // What has come back until now is still there to be read.
            self.read(key, true, false);
            self.finish(key, &End::Abandoned);
        }
    }

    /// Retires the connections whose turn has come.
    pub(super) fn churn_due(&mut self, now: u64) {
        if self.phase == Phase::Auditing {
            return;
        }
        while let Some(cursor) = self.churn.as_mut().and_then(|churn| churn.take_due(now)) {
            let open =
                |key: &usize| self.slots.get(*key).is_some_and(|slot| slot.state == State::Open);
            let Some(key) = (cursor..self.worker_plan.slots).chain(0..cursor).find(open) else {
                return;
            };
            if let Some(churn) = &mut self.churn {
                churn.advance(
                    key.saturating_add(1).checked_rem(self.worker_plan.slots).unwrap_or(0),
                );
            }
            self.retire(key, now);
        }
    }

    /// Closes a connection as soon as nothing is in flight on it.
    fn retire(&mut self, key: usize, now: u64) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        if slot.state != State::Open {
            return;
        }
        if slot.in_flight.len() == 0 {
            self.close(key, now);
        } else {
            slot.state = State::Retiring;
        }
    }

    pub(super) fn retire_all(&mut self, now: u64) {
        for key in 0..self.worker_plan.slots {
            self.retire(key, now);
        }
    }

    /// Ends an overdue connection unless the echo is there to be read.
    fn end_overdue(&mut self, key: usize, timeout: u64, now: u64) {
        self.read(key, true, false);
        let Some(slot) = self.slots.get(key) else {
            return;
        };
        let since = match slot.state {
            State::Closing => Some(slot.since),
            _ => slot.in_flight.oldest().map(|message| message.sent),
        };
        if since.is_some_and(|since| now.saturating_sub(since) > timeout) {
            self.finish(key, &End::Timeout);
        }
    }

    /// Ends connects and connections that are overdue.
    pub(super) fn scan(&mut self, now: u64) {
        let plan = &self.shared.plan;
        let (connect, echo) = (nanos(plan.connect_timeout), nanos(plan.timeout));
        let step = connect.min(echo).checked_div(8).unwrap_or(0).clamp(SCAN_MIN, SCAN_MAX);
        self.scan_at = now.saturating_add(step);
        // A stop may take its time with echoes; the audit has a deadline of its own.
        let echoes_due = self.phase < Phase::Auditing || self.phase == Phase::Settling;
        // While this thread stood still it read nothing, so nobody has been waited for.
        let resumed_at = self.resumed_at;
        let before = |since: u64, timeout: u64| now.saturating_sub(since.max(resumed_at)) > timeout;
        for key in 0..self.worker_plan.slots {
            let Some(slot) = self.slots.get(key) else {
                continue;
            };
            match slot.state {
                State::Connecting if before(slot.since, connect) => {
                    self.connect_failed(key, &io::ErrorKind::TimedOut.into());
                }
                State::Open | State::Retiring | State::Closing if echoes_due => {
                    let oldest = slot.in_flight.oldest().map(|message| message.sent);
                    let since = match slot.state {
                        State::Closing => Some(slot.since),
                        _ => oldest,
                    };
                    if since.is_some_and(|since| before(since, echo)) {
                        self.end_overdue(key, echo, now);
                    }
                }
                _ => {}
            }
        }
    }
}
