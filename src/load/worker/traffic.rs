//! Events, sending and receiving.

use std::io::{self, Read, Write};

use mio::event::Event;

use super::{Worker, finish::End};
use crate::load::{
    connection::{Flight, State},
    control::Phase,
    payload::SLICE_MAX,
};

/// Messages begun by the schedule before events are looked at again.
const DUE_PER_TURN: usize = 1024;

/// A server that sends so much more than it was given has the connection ended.
const EXTRA_MAX: u64 = 1024 * 1024;

impl Worker {
    pub(super) fn handle(&mut self, event: &Event) {
        let key = event.token().0;
        let Some(seat) = self.seats.get(key) else {
            return;
        };
        match seat.state {
            State::Connecting => self.check_connect(key),
            State::Open | State::Retiring | State::Closing => {
                let closed = event.is_read_closed() || event.is_error();
                let unsent = seat.sent < seat.wanted;
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
    fn read(&mut self, key: usize, near: bool, broken: bool) {
        let before = self.tally.messages;
        let extra_limit = self.tally.extra.saturating_add(EXTRA_MAX);
        let mut now = 0;
        let end = loop {
            let Some(seat) = self.seats.get_mut(key) else {
                return;
            };
            let Some(stream) = &mut seat.stream else {
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
            seat.receive(data, &self.shared.block, self.shared.plan.verify, &mut self.tally);
            while let Some(flight) = seat.flights.take(seat.position) {
                let bytes = flight.end.saturating_sub(seat.completed);
                seat.completed = flight.end;
                self.inflight = self.inflight.saturating_sub(1);
                self.tally.complete(flight.scheduled, flight.sent, now, bytes);
            }
            if self.tally.extra > extra_limit {
                break Some(End::Flood);
            }
            if len < self.buffer.len() && !near {
                break None;
            }
        };
        if now > 0 && self.phase == Phase::Auditing {
            self.tally.verdicts.last_byte = self.tally.verdicts.last_byte.max(now);
        }
        match end {
            Some(end) => self.finish(key, &end),
            None if self.tally.messages > before => self.proceed(key, now),
            None => {}
        }
    }

    /// Goes on with a connection on which messages have come back.
    fn proceed(&mut self, key: usize, now: u64) {
        let Some(seat) = self.seats.get(key) else {
            return;
        };
        match seat.state {
            State::Open => self.feed(key, now),
            State::Retiring if seat.flights.len() == 0 => self.close(key, now),
            _ => {}
        }
    }

    /// Begins as many messages as may be in flight and are due, and sends them.
    pub(super) fn feed(&mut self, key: usize, now: u64) {
        if !self.is_sending() {
            return;
        }
        let (shortest, longest) = self.shared.plan.size;
        let Some(seat) = self.seats.get_mut(key) else {
            return;
        };
        if seat.state != State::Open || !seat.active {
            return;
        }
        while seat.flights.len() < self.shared.plan.pipeline {
            let scheduled = match &self.schedule {
                None => now,
                Some(_) if seat.taken >= seat.due => break,
                Some(schedule) => schedule.time_of(key, seat.taken),
            };
            if self.phase == Phase::Measuring
                && scheduled >= self.tally.measure_from
                && let Some(left) = &mut self.left
            {
                if *left == 0 {
                    break;
                }
                *left = left.saturating_sub(1);
            }
            seat.taken = seat.taken.saturating_add(1);
            let size = if shortest == longest {
                shortest
            } else {
                let span = longest.saturating_sub(shortest).saturating_add(1);
                let more = self.sizes.below(u64::try_from(span).unwrap_or(1));
                shortest.saturating_add(usize::try_from(more).unwrap_or(0))
            };
            seat.wanted = seat.wanted.saturating_add(u64::try_from(size).unwrap_or(0));
            seat.flights.push(Flight { end: seat.wanted, scheduled, sent: now });
            self.inflight = self.inflight.saturating_add(1);
        }
        if seat.sent < seat.wanted {
            self.flush(key);
        }
    }

    /// Writes what has been begun, until the socket is full.
    fn flush(&mut self, key: usize) {
        self.mark(key);
        loop {
            let Some(seat) = self.seats.get_mut(key) else {
                return;
            };
            if seat.sent >= seat.wanted {
                return;
            }
            let bytes = seat.unsent(&self.shared.block, SLICE_MAX);
            let Some(stream) = &mut seat.stream else {
                return;
            };
            match stream.write(bytes) {
                Ok(len) => {
                    let all = len == bytes.len();
                    let len = u64::try_from(len).unwrap_or(0);
                    seat.sent = seat.sent.saturating_add(len);
                    self.tally.sent = self.tally.sent.saturating_add(len);
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
        for _ in 0..DUE_PER_TURN {
            let Some(schedule) = &mut self.schedule else {
                return;
            };
            let Some(key) = schedule.take_due(now) else {
                return;
            };
            if let Some(seat) = self.seats.get_mut(key) {
                seat.due = seat.due.saturating_add(1);
                let sent_at = self.shared.control.clock.now();
                self.feed(key, sent_at);
            }
        }
    }
}
