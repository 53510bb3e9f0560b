//! The system calls at the server's end, and what may go wrong with them.

use std::io;
use std::time::Duration;

use super::duplex::{Side, text};
use super::line::Fate;
use super::network::Network;
use crate::engine::call::reason_of;
use crate::engine::phase::Phase;
use crate::engine::status::{Status, Timing, Transport};

/// Bytes that one call of the engine may move for one connection, read and written: an echo
/// through a pipe or by copy, and a discard.
const CALL_BYTES: u64 = 2 * ((2 << 20) + (256 << 10) + (256 << 10) + (64 << 10));
/// Calls that one call of the engine may make on one connection without moving a byte.
const CALL_FAILURES: u32 = 64;
/// And how many in all, beside those that each byte gives reason for.
const CALLS: u64 = 1_000;

impl Network {
    /// What every call at the server's end goes through; returns an error that is no fault of the
    /// peer's.
    fn enter(&mut self, at: usize, what: &str) -> Option<io::Error> {
        if self.race_rate > 0 && self.random.one_in(self.race_rate) {
            self.lines[at].duplex.hurry(self.now);
            self.act(at);
        }
        let epoch = self.epoch;
        let line = &mut self.lines[at];
        if line.epoch != epoch {
            (line.epoch, line.epoch_bytes, line.epoch_failures) = (epoch, 0, 0);
            line.epoch_calls = 0;
        }
        line.epoch_calls += 1;
        // A read of the smallest window may bring the next one.
        if u64::from(line.epoch_calls) > CALLS + 4 * line.epoch_bytes {
            self.blame(at, "too many calls in one");
        }
        let line = &self.lines[at];
        if line.closed.is_some() {
            self.blame(at, &format!("{what} after it was accounted for"));
        }
        let error = self.hiccup(at);
        self.lines[at].hiccuped = error.is_some();
        if let Some(error) = &error {
            self.lines[at].hiccuped_at = self.now;
            self.tell(|| format!("line {at}: {what}: {error}"));
        }
        error
    }

    fn hiccup(&mut self, at: usize) -> Option<io::Error> {
        let line = &mut self.lines[at];
        if line.interrupts == 0 {
            if self.hiccup_rate == 0 || line.hiccups_left == 0 {
                return None;
            }
            if !self.random.one_in(self.hiccup_rate) {
                return None;
            }
            line.hiccups_left -= 1;
            if self.random.one_in(3) {
                self.progress += 1;
                let error = self.random.pick(&[libc::ENOBUFS, libc::ENOMEM]);
                return Some(io::Error::from_raw_os_error(error));
            }
            line.interrupts = self.random.size(20) as u32;
        }
        let line = &mut self.lines[at];
        line.interrupts -= 1;
        self.progress += 1;
        Some(io::Error::from_raw_os_error(libc::EINTR))
    }

    fn fail(&mut self, at: usize, error: i32) -> io::Error {
        let line = &mut self.lines[at];
        line.epoch_failures += 1;
        if line.epoch_failures > CALL_FAILURES {
            self.blame(at, "too many calls in vain");
        }
        if error != libc::EAGAIN {
            self.lines[at].broke = Some(error);
            self.progress += 1;
        }
        self.tell(|| format!("line {at}: error {error}"));
        io::Error::from_raw_os_error(error)
    }

    /// Takes up to `most` bytes from the receive queue. Returns how many and where they stand.
    fn take(&mut self, at: usize, most: u64, what: &str) -> io::Result<(u64, u64)> {
        if let Some(error) = self.enter(at, what) {
            return Err(error);
        }
        let cutting = self.phase == Phase::Forcing || self.dropping;
        let line = &mut self.lines[at];
        if line.owed() > 0 && !cutting {
            self.blame(at, "a read while bytes are owed");
        }
        let line = &mut self.lines[at];
        let mut count = line.duplex.readable(most);
        if count > 1 && self.race_rate > 0 && self.random.one_in(4) {
            // The others come in just after this call.
            count = self.random.size(count);
        }
        let now = self.now;
        let line = &mut self.lines[at];
        if count > 0 {
            let from = line.start + line.duplex.up.read;
            line.duplex.take(Side::Server, count, now);
            let more = line.duplex.up.unread() > 0;
            line.duplex.edge |= count < most && more && !line.duplex.is_at_mark();
            if line.fin_at.is_some() {
                line.late += count;
            }
            self.bytes_read += count;
            self.moved(at, count);
            self.tell(|| format!("line {at}: {what} gives {count}"));
            return Ok((count, from));
        }
        if let Some(error) = line.duplex.fault.take() {
            return Err(self.fail(at, error));
        }
        if line.duplex.dead || line.duplex.up.fin_arrived {
            line.duplex.eof_read = true;
            line.eof_at = now;
            self.progress += 1;
            self.tell(|| format!("line {at}: {what} gives the end"));
            return Ok((0, 0));
        }
        Err(self.fail(at, libc::EAGAIN))
    }

    fn moved(&mut self, at: usize, count: u64) {
        let now = self.now;
        let line = &mut self.lines[at];
        line.last_byte = now;
        line.epoch_bytes += count;
        self.progress += count;
        if line.epoch_bytes > CALL_BYTES {
            self.blame(at, "more bytes than one call may move");
        }
        self.settle(at, Some(now + 1));
    }

    pub(super) fn read(&mut self, at: usize, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            self.blame(at, "a read into nothing");
        }
        let (count, from) = self.take(at, buffer.len() as u64, "read")?;
        let count = count as usize;
        let line = &mut self.lines[at];
        let Some(talk) = line.talk.as_mut().filter(|_| line.fin_at.is_none()) else {
            buffer[..count].copy_from_slice(text(from, count));
            return Ok(count);
        };
        if count > 0
            && let Some(wrong) = talk.on_read(&mut buffer[..count])
        {
            self.blame(at, wrong);
        }
        Ok(count)
    }

    /// Room for `size` bytes: how many the send queue takes.
    fn give(&mut self, at: usize, size: u64, what: &str) -> io::Result<u64> {
        if let Some(error) = self.enter(at, what) {
            return Err(error);
        }
        let now = self.now;
        let line = &mut self.lines[at];
        if line.fin_at.is_some() || size == 0 || size > line.owed() {
            self.blame(at, &format!("{what} of {size} bytes, after the FIN or beyond the input"));
        }
        let line = &mut self.lines[at];
        if line.duplex.link.is_unix() && line.duplex.peer_closed {
            // Nothing travels: the kernel knows at once that nobody will read it.
            line.duplex.fail(libc::EPIPE);
        }
        if line.duplex.dead {
            let error = line.duplex.fault.take().unwrap_or(libc::EPIPE);
            return Err(self.fail(at, error));
        }
        if line.owed() > 0 && line.last_byte < now {
            // Something was held, and so nothing read, until now.
            line.strained_at = Some(now);
        }
        let mut count = size.min(line.duplex.down.room());
        if count > 0 && self.race_rate > 0 && self.random.one_in(4) {
            count = if self.random.one_in(4) { 0 } else { self.random.size(count) };
        }
        let line = &mut self.lines[at];
        if count < size {
            line.duplex.starved = true;
            line.full_epoch = line.epoch;
        }
        line.duplex.down.written += count;
        self.bytes_written += count;
        if count == 0 {
            self.wake(at, now + 1);
            return Err(self.fail(at, libc::EAGAIN));
        }
        self.moved(at, count);
        self.tell(|| format!("line {at}: {what} of {size} takes {count}"));
        Ok(count)
    }

    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) -> io::Result<usize> {
        let line = &self.lines[at];
        let right = match &line.talk {
            Some(talk) => talk.owes(bytes),
            None => bytes == text(line.start + line.duplex.down.written, bytes.len()),
        };
        if !right {
            self.blame(at, "bytes that are not those to be written");
        }
        let given = self.give(at, bytes.len() as u64, "write");
        if let Some(talk) = &mut self.lines[at].talk {
            let answered = talk.on_written(*given.as_ref().unwrap_or(&0));
            self.requests.answered += answered;
        }
        given.map(|count| count as usize)
    }

    /// What a read of one byte would give; takes nothing.
    pub(super) fn peek(&mut self, at: usize) -> io::Result<usize> {
        if let Some(error) = self.enter(at, "peek") {
            return Err(error);
        }
        let duplex = &mut self.lines[at].duplex;
        if duplex.up.unread() > 0 {
            return Ok(1);
        }
        if let Some(error) = duplex.fault.take() {
            return Err(self.fail(at, error));
        }
        if duplex.dead || duplex.up.fin_arrived {
            return Ok(0);
        }
        Err(self.fail(at, libc::EAGAIN))
    }

    pub(super) fn fill(&mut self, at: usize, most: usize) -> io::Result<(u64, u64)> {
        if self.random.one_in(8) {
            let error = self.random.pick(&[libc::EINVAL, libc::EINTR, libc::EAGAIN, libc::ENOMEM]);
            return Err(io::Error::from_raw_os_error(error));
        }
        if self.lines[at].duplex.is_at_mark() {
            // Bytes behind the mark of urgent data are only read.
            return Err(self.fail(at, libc::EAGAIN));
        }
        let mut most = most as u64;
        if self.random.one_in(3) {
            most = self.random.size(most);
        }
        self.take(at, most, "fill")
    }

    pub(super) fn drain(&mut self, at: usize, most: u64, from: u64) -> io::Result<u64> {
        let line = &self.lines[at];
        if line.start + line.duplex.down.written != from {
            self.blame(at, "a pipe with bytes of another place");
        }
        let most = if self.random.one_in(3) { self.random.size(most) } else { most };
        self.give(at, most, "drain")
    }

    pub(super) fn shut(&mut self, at: usize) -> io::Result<()> {
        let echoes = self.lines[at].talk.is_none();
        let wrong = if echoes { self.judge_fin(at) } else { None };
        if let Some(wrong) = self.judge_end(at).or(wrong) {
            self.blame(at, wrong);
        }
        let now = self.now;
        let line = &mut self.lines[at];
        if line.duplex.dead {
            return Err(self.fail(at, libc::ENOTCONN));
        }
        line.duplex.down.fin = true;
        line.fin_at = Some(now);
        line.arrived_at_fin = line.duplex.up.arrived;
        self.progress += 1;
        self.tell(|| format!("line {at}: FIN"));
        self.settle(at, Some(now + 1));
        Ok(())
    }

    /// What the kernel says of a connection.
    pub(super) fn status(&mut self, at: usize) -> Status {
        let (now, asks) = (self.now, self.asks);
        let line = &mut self.lines[at];
        if self.is_bounded && line.epoch != self.epoch {
            // Asked about without a read before: paused, if only for part of a turn.
            line.resumed_at.set(now);
        }
        let duplex = &mut line.duplex;
        let status = if duplex.link.is_unix() {
            Status::Alive(Transport::default())
        } else if !asks {
            Status::Unknown
        } else if let Some(error) = duplex.fault.take() {
            line.broke = Some(error);
            Status::Broken(reason_of(&io::Error::from_raw_os_error(error)))
        } else if duplex.dead || duplex.is_over() {
            Status::Acknowledged
        } else {
            let (round_trip, variation) = duplex.link.timing();
            let segment = duplex.up.largest.max(duplex.up.segment.min(536));
            let micros = |time| Duration::from_micros(time);
            Status::Alive(Transport {
                unacknowledged: duplex.down.unacknowledged() as u32,
                repetitions: duplex.repetitions,
                // Here they are counted only for a peer that the network has lost.
                is_repeating: false,
                timing: Some(Timing {
                    round_trip: micros(round_trip),
                    variation: micros(variation),
                    segment: segment as u32,
                    since_ack: micros(now - duplex.last_ack),
                    since_sent: micros(now - duplex.down.last_sent),
                }),
            })
        };
        self.tell(|| format!("line {at}: {status:?}"));
        status
    }

    pub(super) fn quick_ack(&mut self, at: usize) {
        let now = self.now;
        self.lines[at].duplex.up.quick_ack(now);
        self.settle(at, None);
    }

    pub(super) fn drop_end(&mut self, at: usize) {
        self.descriptors -= 1;
        if self.lines[at].fate == Fate::Open {
            self.leave(at);
        } else if !self.dropping {
            self.refuse(at);
        }
        let now = self.now;
        let line = &mut self.lines[at];
        line.duplex.close(now);
        self.tell(|| format!("line {at}: closed, {:?}", self.lines[at].fate));
        self.settle(at, Some(now + 1));
    }

    /// A slot comes free.
    fn leave(&mut self, at: usize) {
        if !self.may_free && !self.dropping {
            self.blame(at, "a slot freed before the end of the turn");
        }
        let line = &mut self.lines[at];
        if line.is_open && line.closed.is_none() {
            self.blame(at, "freed without an account");
        }
        self.freed_count += 1;
    }
}
