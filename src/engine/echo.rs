//! The echo: the open half of a connection that returns what comes.

use std::time::Instant;

use super::buffer::Held;
use super::call::{Fault, fill, read, write};
use super::dialogue::{
    Begin, Dialogue, End, Finished, Flow, Input, IoContext, LEAST_ROOM, Ledger, Pursuit, Settled,
    Shared, Speaks, Traits,
};
use super::lists::Place;
use super::pipe::Pipes;
use super::report::{ByteCounts, CloseReason, RequestCounts};
use super::stream::Stream;
use crate::protocol::{ConnectionId, Context, Echo};
use crate::token::Readiness;

type Io<'a, P> = IoContext<'a, P, Echo>;

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

/// A connection that echoes.
#[derive(Debug)]
pub(crate) struct Open<P> {
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

impl<P> Open<P> {
    pub(super) fn new(place: Place, near: bool) -> Self {
        let traits = Traits::of_new(near);
        Self { held: None, unwritten: 0, input: Input::Dry, place, traits, streaming_score: 0 }
    }

    /// Bytes owed to the peer.
    fn owed(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.len())
    }

    /// As [`Dialogue::pump`].
    fn converse<S: Stream<Pipe = P>>(
        &mut self,
        stream: &mut S,
        ledger: &mut Ledger,
        ready: Readiness,
        probe: bool,
        io: &mut Io<'_, P>,
    ) -> Flow {
        let fresh = self.input == Input::Dry;
        if fresh && (probe || ready.may_read()) {
            self.input = Input::Ready;
        }
        let owed = self.owed() > 0;
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
    fn flush<S: Stream<Pipe = P>>(
        &mut self,
        stream: &mut S,
        ledger: &mut Ledger,
        io: &mut Io<'_, P>,
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
        io: &mut Io<'_, P>,
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
            self.traits.note_segment(count, io.segment);
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

    /// Returns the first `count` bytes of the buffer; an error where the peer does not take them
    /// all.
    fn reply<S: Stream<Pipe = P>>(
        &mut self,
        stream: &mut S,
        ledger: &mut Ledger,
        count: usize,
        io: &mut Io<'_, P>,
    ) -> Result<(), Flow> {
        let answer = io.buffer.get(..count).unwrap_or_default();
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
        io: &mut Io<'_, P>,
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
        self.traits.note_segment(count, io.segment);
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
    fn release_pipe(&mut self, pipes: &mut Pipes<P>) {
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
    io: &mut Io<'_, S::Pipe>,
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

impl Speaks for Echo {
    type Dialogue<S: Stream> = Open<S::Pipe>;
    type Scratch = ();
    const HAS_CALLS: bool = false;

    fn scratch() {}

    fn name(&self) -> &'static str {
        "echo"
    }

    fn requests() -> Option<RequestCounts> {
        None
    }

    fn poll_resume(&mut self, _: Instant) -> Option<ConnectionId> {
        None
    }
}

impl<S: Stream> Dialogue<S, Echo> for Open<S::Pipe> {
    type Tail = ();

    fn new(begin: Begin, _: &mut Shared<Echo>, _: Context) -> Self {
        Self::new(begin.place, begin.near)
    }

    fn input(&self) -> Input {
        self.input
    }

    fn place(&self) -> Place {
        self.place
    }

    fn set_place(&mut self, to: Place) {
        self.place = to;
    }

    fn traits(&self) -> Traits {
        self.traits
    }

    fn traits_mut(&mut self) -> &mut Traits {
        &mut self.traits
    }

    fn pending(&self) -> usize {
        self.owed()
    }

    fn pursuit(&self) -> Pursuit {
        Pursuit::Idle
    }

    fn is_outstanding(&self) -> bool {
        false
    }

    fn deadline(&self, _: &Echo) -> Option<Instant> {
        None
    }

    fn wake(&mut self) -> bool {
        true
    }

    fn on_drain(&mut self) {}

    fn pump(
        &mut self,
        stream: &mut S,
        ledger: &mut Ledger,
        ready: Readiness,
        probe: bool,
        io: &mut Io<'_, S::Pipe>,
    ) -> Flow {
        self.converse(stream, ledger, ready, probe, io)
    }

    fn say_farewell(
        &mut self,
        _: CloseReason,
        _: &mut S,
        _: &mut Ledger,
        _: &mut Io<'_, S::Pipe>,
    ) -> Result<(), Flow> {
        Ok(())
    }

    fn finish(mut self, _: End, pipes: &mut Pipes<S::Pipe>, _: &mut ByteCounts) -> Finished<()> {
        let left = (self.owed() as u64).saturating_add(u64::from(self.unwritten));
        self.release_pipe(pipes);
        Finished { tail: (), late: 0, left }
    }

    fn settle((): &(), read: u64, late: u64, left: u64) -> Settled {
        let written = read.saturating_sub(late).saturating_sub(left);
        Settled { written, late, left, ..Settled::default() }
    }

    fn reject((): &mut (), late: u64, _: &mut ByteCounts) -> u64 {
        late
    }

    fn close((): (), _: ConnectionId, _: End, _: &mut Option<RequestCounts>, _: &mut Echo) {}
}
