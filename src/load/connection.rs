//! One slot of the load: a connection and what is in flight on it.

use std::collections::VecDeque;

use super::counts::WorkerCounts;
use super::payload::{Fault, NEEDLE_MIN, PayloadBlock};
use super::stream::Stream;

/// Where a slot is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Has no stream and waits for its connect.
    Waiting,
    /// Its connect is under way.
    Connecting,
    /// Connected.
    Open,
    /// Connected; sends nothing new and is half-closed when its last echo is back.
    Retiring,
    /// Half-closed by us; reads to the end of the stream.
    Closing,
    /// Over, for good.
    Ended,
}

/// A message in flight; times in nanoseconds since the start of the run.
#[derive(Clone, Copy, Debug)]
pub(super) struct InFlight {
    /// The stream position of its end.
    pub(super) end: u64,
    /// When it was to be sent: its scheduled time, in a closed loop the time of sending.
    pub(super) scheduled: u64,
    pub(super) sent: u64,
}

/// The messages in flight, oldest first; one alone takes no heap memory.
#[derive(Debug, Default)]
pub(super) struct InFlightQueue {
    first: Option<InFlight>,
    rest: VecDeque<InFlight>,
}

impl InFlightQueue {
    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()).saturating_add(self.rest.len())
    }

    pub(super) fn oldest(&self) -> Option<&InFlight> {
        self.first.as_ref()
    }

    pub(super) fn push(&mut self, message: InFlight) {
        if self.first.is_none() {
            self.first = Some(message);
        } else {
            self.rest.push_back(message);
        }
    }

    /// Takes the oldest message if it ends at `position` or before.
    pub(super) fn take(&mut self, position: u64) -> Option<InFlight> {
        let first = self.first.filter(|message| message.end <= position)?;
        self.first = self.rest.pop_front();
        Some(first)
    }
}

/// A slot: one of the connections asked for. It outlives its stream where churn opens it anew.
///
/// Positions count the bytes of the stream, and `position <= sent <= wanted`.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: Option<Stream>,
    pub(super) state: State,
    /// Sends; the others are held open and watched.
    pub(super) active: bool,
    /// It was connected before.
    pub(super) was_open: bool,
    /// Failed connects since the last success.
    pub(super) tries: u8,
    /// Where its stream starts in the block.
    pub(super) base: u32,
    /// The index of its target.
    pub(super) target: u32,
    /// The number of the target's address that is tried first, and how many have failed since.
    pub(super) first_address: u32,
    pub(super) failed_addresses: u16,
    /// When its state began, in nanoseconds.
    pub(super) since: u64,
    /// The end of the messages begun.
    pub(super) wanted: u64,
    /// The end of the bytes handed to the kernel.
    pub(super) sent: u64,
    /// The end of the bytes accounted for: verified, wrong or skipped.
    pub(super) position: u64,
    /// The end of the last message that came back whole.
    pub(super) completed: u64,
    /// `sent` when the server was told to stop; none if it was not open then.
    pub(super) mark: Option<u64>,
    /// Bytes since then that came back wrong or were left out.
    pub(super) skipped: u64,
    /// How far off in the block the last bytes of another connection were; 0 without any.
    pub(super) offset: u64,
    /// Messages that the schedule has given to this slot.
    pub(super) due: u64,
    /// How many of these were begun.
    pub(super) taken: u64,
    pub(super) in_flight: InFlightQueue,
}

impl Connection {
    pub(super) fn new(active: bool, target: u32) -> Self {
        Self {
            stream: None,
            state: State::Waiting,
            active,
            was_open: false,
            tries: 0,
            base: 0,
            target,
            first_address: 0,
            failed_addresses: 0,
            since: 0,
            wanted: 0,
            sent: 0,
            position: 0,
            completed: 0,
            mark: None,
            skipped: 0,
            offset: 0,
            due: 0,
            taken: 0,
            in_flight: InFlightQueue::default(),
        }
    }

    /// Begins the life of a new stream.
    pub(super) fn renew(&mut self, stream: Stream, base: u32, now: u64) {
        self.stream = Some(stream);
        self.state = State::Connecting;
        self.base = base;
        self.since = now;
        (self.wanted, self.sent, self.position, self.completed) = (0, 0, 0, 0);
        (self.mark, self.skipped, self.offset) = (None, 0, 0);
        self.in_flight = InFlightQueue::default();
    }

    pub(super) fn is_connected(&self) -> bool {
        matches!(self.state, State::Open | State::Retiring | State::Closing)
    }

    /// The bytes that may be written now, at most `limit`.
    pub(super) fn unsent<'b>(&self, block: &'b PayloadBlock, limit: usize) -> &'b [u8] {
        let len = self.wanted.saturating_sub(self.sent);
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(limit);
        block.slice(u64::from(self.base).wrapping_add(self.sent), len)
    }

    /// Accounts for bytes that came back.
    pub(super) fn receive(
        &mut self,
        data: &[u8],
        block: &PayloadBlock,
        verify: bool,
        counts: &mut WorkerCounts,
    ) {
        let mut rest = data;
        while !rest.is_empty() {
            let owed = self.sent.saturating_sub(self.position);
            let len = rest.len().min(usize::try_from(owed).unwrap_or(usize::MAX));
            if len == 0 {
                counts.extra = add(counts.extra, rest.len());
                return;
            }
            let at = u64::from(self.base).wrapping_add(self.position);
            let expected = block.slice(at, len);
            let (head, tail) = rest.split_at_checked(len).unwrap_or((rest, &[]));
            if head == expected || !verify {
                self.position = add(self.position, len);
                counts.verified = add(counts.verified, len);
                rest = tail;
                continue;
            }
            let same = head.iter().zip(expected).take_while(|(a, b)| a == b).count();
            self.position = add(self.position, same);
            counts.verified = add(counts.verified, same);
            rest = rest.get(same..).unwrap_or_default();
            let used = self.resynchronize(rest, block, counts);
            rest = rest.get(used..).unwrap_or_default();
        }
    }

    /// Accounts for a mismatch at the front of `got`; returns how many bytes of it are done with.
    fn resynchronize(
        &mut self,
        got: &[u8],
        block: &PayloadBlock,
        counts: &mut WorkerCounts,
    ) -> usize {
        let at = u64::from(self.base).wrapping_add(self.position);
        let owed = self.sent.saturating_sub(self.position);
        let again = block.agreement(at.wrapping_add(self.offset), got, owed);
        let fault = if self.offset > 0 && again >= NEEDLE_MIN {
            Fault::Foreign { len: again, offset: self.offset }
        } else if counts.may_diagnose() {
            block.diagnose(at, got, owed, self.position)
        } else {
            block.compare(at, got, owed)
        };
        // Bytes of `got` used up, how many of them are right and wrong, bytes of ours passed.
        let (used, right, wrong, passed) = match fault {
            Fault::Wrong { len, wrong } => (len, len.saturating_sub(wrong), wrong, add(0, len)),
            Fault::Foreign { len, offset } => {
                self.offset = offset;
                counts.foreign = add(counts.foreign, len);
                (len, 0, len, add(0, len))
            }
            Fault::Missing { len } => (0, 0, 0, len),
            Fault::Repeated { len } => {
                counts.extra = add(counts.extra, len);
                (len, 0, 0, 0)
            }
        };
        counts.wrong = add(counts.wrong, wrong);
        counts.verified = add(counts.verified, right);
        self.skipped = self.skipped.saturating_add(passed.saturating_sub(add(0, right)));
        self.position = self.position.saturating_add(passed);
        used
    }

    /// Bytes handed over before the mark that never came back.
    pub(super) fn lost_before_mark(&self) -> u64 {
        let mark = self.mark.unwrap_or(self.sent);
        mark.saturating_sub(self.position).saturating_add(self.skipped)
    }

    /// Bytes handed over after the mark that never came back.
    pub(super) fn late_after_mark(&self) -> u64 {
        let mark = self.mark.unwrap_or(self.sent);
        self.sent.saturating_sub(self.position.max(mark))
    }
}

fn add(sum: u64, len: usize) -> u64 {
    sum.saturating_add(u64::try_from(len).unwrap_or(u64::MAX))
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "small numbers, and a test may panic")]
mod tests {
    use super::*;

    const SENT: u64 = 1000;

    /// Feeds `data` in pieces of `step` bytes; returns verified, wrong, extra, foreign, position.
    fn feed(data: &[u8], step: usize) -> (u64, u64, u64, u64, u64) {
        let block = PayloadBlock::new(3);
        let mut counts = WorkerCounts::new(false);
        let mut connection = Connection::new(true, 0);
        connection.base = 500;
        (connection.wanted, connection.sent) = (SENT, SENT);
        for piece in data.chunks(step) {
            connection.receive(piece, &block, true, &mut counts);
        }
        let WorkerCounts { verified, wrong, extra, foreign, .. } = counts;
        (verified, wrong, extra, foreign, connection.position)
    }

    fn stream(from: u64, to: u64) -> Vec<u8> {
        PayloadBlock::new(3).slice(500 + from, usize::try_from(to - from).unwrap()).to_vec()
    }

    #[test]
    fn a_slot_is_small() {
        assert!(size_of::<Connection>() <= 200, "{}", size_of::<Connection>());
    }

    #[test]
    fn an_exact_echo_is_verified_however_it_is_cut() {
        for step in [1, 7, 64, 1000] {
            assert_eq!(feed(&stream(0, SENT), step), (1000, 0, 0, 0, 1000));
        }
    }

    #[test]
    fn a_flipped_byte_is_one_wrong_byte() {
        let mut data = stream(0, SENT);
        data[500] ^= 0x80;
        for step in [1, 7, 64, 1000] {
            assert_eq!(feed(&data, step), (999, 1, 0, 0, 1000), "step {step}");
        }
    }

    #[test]
    fn dropped_bytes_are_missing() {
        let mut data = stream(0, 300);
        data.extend(stream(310, SENT));
        assert_eq!(feed(&data, 1000), (990, 0, 0, 0, 1000));
        assert_eq!(feed(&data, 100), (990, 0, 0, 0, 1000));
    }

    #[test]
    fn repeated_bytes_are_extra() {
        let mut data = stream(0, 300);
        data.extend(stream(250, SENT));
        assert_eq!(feed(&data, 1000), (1000, 0, 50, 0, 1000));
    }

    #[test]
    fn bytes_beyond_those_sent_are_extra() {
        let mut data = stream(0, SENT);
        data.extend(stream(0, 30));
        assert_eq!(feed(&data, 1000), (1000, 0, 30, 0, 1000));
    }

    #[test]
    fn bytes_of_another_connection_are_foreign() {
        let mut data = stream(0, 300);
        data.extend(stream(90_300, 90_600));
        data.extend(stream(600, SENT));
        assert_eq!(feed(&data, 1000), (700, 300, 0, 300, 1000));
    }
}
