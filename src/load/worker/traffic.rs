//! Events, sending and receiving.

use std::io::{self, Read, Write};

use mio::event::Event;

use super::Worker;
use super::finish::End;
use crate::load::clock::NEVER;
use crate::load::connection::{InFlight, State};
use crate::load::control::Phase;
use crate::load::payload::SLICE_MAX;

/// Messages begun by the schedule before events are looked at again.
const DUE_PER_TURN: usize = 1024;

/// A server that sends so much more than it was given has the connection ended.
const EXTRA_MAX: u64 = 1024 * 1024;

impl Worker {
    pub(super) fn handle(&mut self, event: &Event) {
        let key = event.token().0;
        let Some(slot) = self.slots.get(key) else {
            return;
        };
        match slot.state {
            State::Connecting => self.check_connect(key),
            State::Open | State::Retiring | State::Closing => {
                let closed = event.is_read_closed() || event.is_error();
                let unsent = slot.sent < slot.wanted;
                if event.is_readable() || closed {
                    self.read(key, closed, false);
                }
                if unsent && event.is_writable() {
                    self.flush(key);
                }
            }
            State::Waiting | State::Ended => {}
        }
    }

    /// Reads what is there; a short read has drained it unless the end is known to be `near`.
    /// `broken`: a write has failed, so that an end of the stream is no orderly one.
    pub(super) fn read(&mut self, key: usize, near: bool, broken: bool) {
        let before = self.counts.messages;
        let extra_limit = self.counts.extra.saturating_add(EXTRA_MAX);
        let mut now = 0;
        let end = loop {
            let Some(slot) = self.slots.get_mut(key) else {
                return;
            };
            let Some(stream) = &mut slot.stream else {
                return;
            };
            let len = match stream.read(&mut self.buffer) {
                Ok(0) => break Some(if broken { End::Reset } else { End::Orderly }),
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break None,
                Err(error) => break Some(End::from(&error)),
            };
            now = self.shared.control.clock.now();
            let data = self.buffer.get(..len).unwrap_or_default();
            slot.receive(data, &self.shared.block, self.shared.plan.verify, &mut self.counts);
            while let Some(message) = slot.in_flight.take(slot.position) {
                let bytes = message.end.saturating_sub(slot.completed);
                slot.completed = message.end;
                self.inflight = self.inflight.saturating_sub(1);
                self.counts.complete(message.scheduled, message.sent, now, bytes);
            }
            if self.counts.extra > extra_limit {
                break Some(End::Flood);
            }
            if len < self.buffer.len() && !near {
                break None;
            }
        };
        if now > 0 && self.phase == Phase::Auditing {
            self.counts.audit.last_byte = self.counts.audit.last_byte.max(now);
        }
        match end {
            Some(end) => self.finish(key, &end),
            None if self.counts.messages > before => self.proceed(key, now),
            None => {}
        }
    }

    /// Goes on with a connection on which messages have come back.
    fn proceed(&mut self, key: usize, now: u64) {
        let Some(slot) = self.slots.get(key) else {
            return;
        };
        match slot.state {
            State::Open => self.feed(key, now),
            State::Retiring if slot.in_flight.len() == 0 => self.close(key, now),
            _ => {}
        }
    }

    /// Begins as many messages as may be in flight and are due, and sends them.
    pub(super) fn feed(&mut self, key: usize, now: u64) {
        if !self.is_sending() {
            return;
        }
        let (shortest, longest) = self.shared.plan.size;
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        if slot.state != State::Open || !slot.active {
            return;
        }
        while slot.in_flight.len() < self.shared.plan.pipeline {
            let scheduled = match &self.schedule {
                None => now,
                Some(_) if slot.taken >= slot.due => break,
                Some(schedule) => schedule.time_of(key, slot.taken),
            };
            if self.phase == Phase::Measuring
                && scheduled >= self.counts.measure_from
                && let Some(left) = &mut self.left
            {
                if *left == 0 {
                    break;
                }
                *left = left.saturating_sub(1);
            }
            slot.taken = slot.taken.saturating_add(1);
            let size = if shortest == longest {
                shortest
            } else {
                let span = longest.saturating_sub(shortest).saturating_add(1);
                let more = self.sizes.below(u64::try_from(span).unwrap_or(1));
                shortest.saturating_add(usize::try_from(more).unwrap_or(0))
            };
            slot.wanted = slot.wanted.saturating_add(u64::try_from(size).unwrap_or(0));
            slot.in_flight.push(InFlight { end: slot.wanted, scheduled, sent: now });
            self.inflight = self.inflight.saturating_add(1);
        }
        if slot.sent < slot.wanted {
            self.flush(key);
        }
    }

    /// Writes what has been begun, until the socket is full.
    fn flush(&mut self, key: usize) {
        loop {
            let Some(slot) = self.slots.get_mut(key) else {
                return;
            };
            if slot.sent >= slot.wanted {
                return;
            }
            let bytes = slot.unsent(&self.shared.block, SLICE_MAX);
            let Some(stream) = &mut slot.stream else {
                return;
            };
            match stream.write(bytes) {
                Ok(len) => {
                    let all = len == bytes.len();
                    let len = u64::try_from(len).unwrap_or(0);
                    // Only what was handed over before the request counts as such: the mark
                    // comes before these bytes if the request came before the write returned.
                    self.mark(key);
                    let Some(slot) = self.slots.get_mut(key) else {
                        return;
                    };
                    slot.sent = slot.sent.saturating_add(len);
                    self.counts.sent = self.counts.sent.saturating_add(len);
                    if !all {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    // What came back before the failure is still there to be read.
                    self.read(key, true, true);
                    self.finish(key, &End::from(&error));
                    return;
                }
            }
        }
    }

    /// Gives out the messages that are due by the schedule.
    pub(super) fn send_due(&mut self, now: u64) {
        // A message due at the very end is outside; only an audit goes on sending.
        let end = if self.shared.plan.has_audit() { NEVER } else { self.counts.measure_to };
        for _ in 0..DUE_PER_TURN {
            let Some(schedule) = &mut self.schedule else {
                return;
            };
            let Some(key) = schedule.take_due(now, end) else {
                return;
            };
            if let Some(slot) = self.slots.get_mut(key) {
                slot.due = slot.due.saturating_add(1);
                let sent_at = self.shared.control.clock.now();
                self.feed(key, sent_at);
            }
        }
    }
}
