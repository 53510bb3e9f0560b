//! The open half of a connection's life: bytes in, bytes out.

use super::buffer::Held;
use super::call::{Fault, fill, read, write};
use super::deadline::Tick;
use super::lists::Place;
use super::pipe::Pipes;
use super::report::{ByteCounts, CloseReason};
use super::stream::Stream;
use crate::token::Readiness;

/// Reads that fill the buffer after which a connection counts as streaming.
const STREAMING: u8 = 2;
/// Upper bound of the score; that many small calls bring it to zero.
const STREAMING_SCORE_MAX: u8 = 8;
/// A call that moves less than this is a small one.
const STREAMING_BYTES: u64 = 16 << 10;
/// Bytes that are moved into a pipe at a time.
pub(crate) const PIPE_BYTES: usize = 1024 << 10;
/// Spliced bytes are charged a quarter of the budget.
const PIPE_BUDGET: usize = 4;

/// No segment that is full has fewer bytes (RFC 9293, 3.7.1).
const LEAST_SEGMENT: usize = 536;

/// With less room than this nothing is read, to avoid many tiny reads near the limit.
pub(crate) const LEAST_ROOM: usize = 16 << 10;

/// What the owner of a connection is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Wait for the next event.
    Wait,
    /// Come again without one: a bound cut the work short.
    Again,
    /// Come again once other connections hold less.
    Pause,
    /// The peer's end of stream was read, and nothing is pending for it.
    Ended,
    /// Close it: the connection broke, or we have to break it.
    Close(CloseReason),
}

/// What one call may do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IoLimits {
    /// Bytes that it may read.
    pub(crate) budget: usize,
    /// Bytes that may be held in addition, over all connections.
    pub(crate) room: usize,
    /// The size of a full segment of the peer's; zero: unknown.
    pub(crate) segment: u16,
}

/// What a connection needs to read and write, for one call.
#[derive(Debug)]
pub(crate) struct IoContext<'a, P> {
    /// The one read buffer, shared by all.
    pub(crate) buffer: &'a mut [u8],
    /// The pipes for those that stream.
    pub(crate) pipes: &'a mut Pipes<P>,
    /// Bytes that this call may read.
    pub(crate) budget: usize,
    /// Bytes that may be held in addition, over all connections.
    pub(crate) room: usize,
    /// The size of a full segment of the peer's; zero: unknown.
    pub(crate) segment: u16,
    /// The instant of this call, to remember.
    pub(crate) mark: Tick,
    /// The sums over all connections.
    pub(crate) bytes: &'a mut ByteCounts,
}

/// What is known of the receive queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// A read may give something.
    Ready,
    /// The last read found nothing more; an event will come.
    Dry,
    /// The peer's end of stream was read.
    Ended,
}

/// Independent facts about an open connection, in one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Traits(u8);

impl Traits {
    /// It waits among the paused, not among the ready.
    pub(super) const PAUSED: Self = Self(1);
    /// Its peer is known to be on this host.
    pub(super) const NEAR: Self = Self(2);
    /// What it read last ended in what may be a full segment.
    pub(super) const FULL_SEGMENT: Self = Self(4);
    /// Reading was held back lately, by pending output or a pause.
    pub(super) const HELD_BACK: Self = Self(8);

    pub(super) const fn none() -> Self {
        Self(0)
    }

    pub(super) fn has(self, one: Self) -> bool {
        self.0 & one.0 != 0
    }

    pub(super) fn set(&mut self, one: Self, to: bool) {
        self.0 = if to { self.0 | one.0 } else { self.0 & !one.0 };
    }
}

/// A connection that echoes.
#[derive(Debug)]
pub(super) struct Open<P> {
    /// What is owed, if anything is.
    pub(super) held: Option<Box<Held<P>>>,
    /// Bytes of a read that a failed write left behind.
    pub(super) unwritten: u32,
    pub(super) input: Input,
    pub(super) place: Place,
    pub(super) traits: Traits,
    /// Reads that filled the buffer, less calls that were small: how much it streams.
    pub(super) streaming_score: u8,
}

/// What one connection counts for itself.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) read: u64,
    /// When the last byte moved, or our FIN was sent.
    pub(super) active: Tick,
    /// The low half of its number in the order of acceptance.
    pub(super) number: u32,
}

impl Ledger {
    pub(super) fn on_read<P>(&mut self, count: usize, io: &mut IoContext<'_, P>) {
        self.active = io.mark;
        self.read = self.read.saturating_add(count as u64);
        io.bytes.read = io.bytes.read.saturating_add(count as u64);
        io.budget = io.budget.saturating_sub(count);
    }

    fn on_written<P>(&mut self, count: usize, io: &mut IoContext<'_, P>) {
        self.active = io.mark;
        io.bytes.written = io.bytes.written.saturating_add(count as u64);
    }
}

impl<P> Open<P> {
    pub(super) fn new(place: Place, near: bool) -> Self {
        let mut traits = Traits::none();
        traits.set(Traits::NEAR, near);
        Self { held: None, unwritten: 0, input: Input::Dry, place, traits, streaming_score: 0 }
    }

    /// Bytes owed to the peer.
    pub(super) fn pending(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.len())
    }

    /// Does what an event, or `probe` in its absence, gives reason for. A probing call reads until
    /// the queue is dry, whatever was known of it.
    pub(super) fn pump<S: Stream<Pipe = P>>(
        &mut self,
        stream: &mut S,
        ledger: &mut Ledger,
        ready: Readiness,
        probe: bool,
        io: &mut IoContext<'_, P>,
    ) -> Flow {
        let fresh = self.input == Input::Dry;
        if fresh && (probe || ready.may_read()) {
            self.input = Input::Ready;
        }
        let owed = self.pending() > 0;
        if owed {
            if !probe && !ready.may_write() {
                return Flow::Wait;
            }
            if let Err(flow) = self.flush(stream, ledger, io) {
                return flow;
            }
        }
        // A read shorter than its buffer ends the queue only if this very event announced it.
        let trust = fresh && !owed && !probe && ready.trusts_short_read();
        self.echo(stream, ledger, trust, io)
    }

    /// Writes what is owed; an error where that is not all of it.
    pub(super) fn flush<S: Stream<Pipe = P>>(
        &mut self,
        stream: &mut S,
        ledger: &mut Ledger,
        io: &mut IoContext<'_, P>,
    ) -> Result<(), Flow> {
        let Some(held) = &mut self.held else { return Ok(()) };
        write_held(held, stream, ledger, io)?;
        self.release_pipe(io.pipes);
        Ok(())
    }

    /// Reads and answers until the queue is dry, a rest must be held, or a bound is reached.
    fn echo<S: Stream<Pipe = P>>(
        &mut self,
        stream: &mut S,
        ledger: &mut Ledger,
        trust: bool,
        io: &mut IoContext<'_, P>,
    ) -> Flow {
        let before = ledger.read;
        while self.input == Input::Ready {
            if io.budget == 0 {
                return Flow::Again;
            }
            if io.room < LEAST_ROOM {
                return Flow::Pause;
            }
            let size = io.buffer.len().min(io.room);
            if self.streaming_score >= STREAMING {
                match self.splice_through(stream, ledger, io) {
                    Ok(0) => {}
                    Ok(_) => continue,
                    Err(flow) => return flow,
                }
            }
            let Some(buffer) = io.buffer.get_mut(..size) else { return Flow::Again };
            let count = match read(stream, buffer) {
                Ok(0) => {
                    self.input = Input::Ended;
                    break;
                }
                Ok(count) => count,
                Err(Fault::WouldBlock) => {
                    self.input = Input::Dry;
                    break;
                }
                Err(Fault::Later) => return Flow::Again,
                Err(Fault::Broken(reason)) => return Flow::Close(reason),
            };
            if count < size && trust {
                self.input = Input::Dry;
            }
            self.note_segment(count, io.segment);
            ledger.on_read(count, io);
            if let Err(flow) = self.reply(stream, ledger, count, io) {
                return flow;
            }
            if count == io.buffer.len() && S::HAS_PIPES {
                self.streaming_score =
                    self.streaming_score.saturating_add(1).min(STREAMING_SCORE_MAX);
            }
        }
        if ledger.read.saturating_sub(before) < STREAMING_BYTES {
            self.streaming_score = self.streaming_score.saturating_sub(1);
        }
        if self.input == Input::Ended { Flow::Ended } else { Flow::Wait }
    }

    /// Notes whether a read may have ended in a full segment, so that there may be more behind it.
    fn note_segment(&mut self, count: usize, segment: u16) {
        let full = count >= LEAST_SEGMENT
            && count.checked_rem(usize::from(segment)).is_none_or(|rest| rest == 0);
        self.traits.set(Traits::FULL_SEGMENT, full);
    }

    /// Returns the first `count` bytes of the buffer; an error where the peer does not take them
    /// all.
    fn reply<S: Stream<Pipe = P>>(
        &mut self,
        stream: &mut S,
        ledger: &mut Ledger,
        count: usize,
        io: &mut IoContext<'_, P>,
    ) -> Result<(), Flow> {
        let answer = answer(io.buffer.get(..count).unwrap_or_default());
        let (taken, fault) = match write(stream, answer) {
            Ok(taken) => (taken, Fault::WouldBlock),
            Err(fault) => (0, fault),
        };
        let rest = answer.get(taken..).unwrap_or_default();
        if rest.is_empty() {
            ledger.on_written(taken, io);
            return Ok(());
        }
        let owed = rest.len();
        let copy = match fault {
            Fault::Broken(_) => None,
            Fault::WouldBlock | Fault::Later => Held::copy_of(rest),
        };
        ledger.on_written(taken, io);
        io.room = io.room.saturating_sub(owed);
        self.traits.set(Traits::HELD_BACK, true);
        self.held = copy;
        match fault {
            _ if self.held.is_some() && matches!(fault, Fault::Later) => Err(Flow::Again),
            _ if self.held.is_some() => Err(Flow::Wait),
            Fault::Broken(reason) => {
                self.unwritten = u32::try_from(owed).unwrap_or(u32::MAX);
                Err(Flow::Close(reason))
            }
            Fault::WouldBlock | Fault::Later => {
                // No memory for it: a cut by us, and it must look like one.
                self.unwritten = u32::try_from(owed).unwrap_or(u32::MAX);
                Err(Flow::Close(CloseReason::ForcedLossy))
            }
        }
    }

    /// Moves bytes of a stream through a pipe. Zero: there is none, or nothing could be moved, and
    /// what that means a read must tell.
    fn splice_through<S: Stream<Pipe = P>>(
        &mut self,
        stream: &mut S,
        ledger: &mut Ledger,
        io: &mut IoContext<'_, P>,
    ) -> Result<usize, Flow> {
        let Some(mut pipe) = io.pipes.take::<S>() else { return Ok(0) };
        let filled = fill(stream, &mut pipe, PIPE_BYTES.min(io.room));
        let count = match filled {
            Ok(count) if count > 0 => count,
            other => {
                io.pipes.give(pipe, true);
                return other.map_err(Flow::Close);
            }
        };
        let budget = io.budget;
        self.note_segment(count, io.segment);
        ledger.on_read(count, io);
        io.budget = budget.saturating_sub(count.div_ceil(PIPE_BUDGET));
        io.room = io.room.saturating_sub(count);
        let mut held = Held::Piped { pipe, len: count };
        let handed_over = write_held(&mut held, stream, ledger, io);
        if let Err(flow) = handed_over {
            self.traits.set(Traits::HELD_BACK, true);
            self.held = Some(Box::new(held));
            return Err(flow);
        }
        give_back(held, io.pipes);
        Ok(count)
    }

    /// Gives up what is held.
    pub(super) fn release_pipe(&mut self, pipes: &mut Pipes<P>) {
        if let Some(held) = self.held.take() {
            give_back(*held, pipes);
        }
    }
}

fn give_back<P>(held: Held<P>, pipes: &mut Pipes<P>) {
    if let Held::Piped { pipe, len } = held {
        pipes.give(pipe, len == 0);
    }
}

/// Writes what is held; an error where the peer does not take it all.
fn write_held<S: Stream>(
    held: &mut Held<S::Pipe>,
    stream: &mut S,
    ledger: &mut Ledger,
    io: &mut IoContext<'_, S::Pipe>,
) -> Result<(), Flow> {
    while held.len() > 0 {
        match held.write_to(stream) {
            Ok(count) => {
                ledger.on_written(count, io);
                io.room = io.room.saturating_add(count);
                // Of a copy a short write has found the peer full; a pipe gives in pieces.
                if held.len() > 0 && matches!(held, Held::Bytes { .. }) {
                    return Err(Flow::Wait);
                }
            }
            Err(Fault::WouldBlock) => return Err(Flow::Wait),
            Err(Fault::Later) => return Err(Flow::Again),
            Err(Fault::Broken(reason)) => return Err(Flow::Close(reason)),
        }
    }
    Ok(())
}

/// The protocol: what a peer is sent for what it sent. Another one would plug in here.
fn answer(input: &[u8]) -> &[u8] {
    input
}
