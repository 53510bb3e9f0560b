//! The echo: the open half of a connection that returns what comes.

mod transfer;

use std::time::Instant;

use self::transfer::{Io, fill_pipe, give_back, write_held};
use super::buffer::Held;
use super::call::{Fault, peek, read, write};
use super::dialogue::{
    Begin, Dialogue, End, Finished, Flow, Input, LEAST_ROOM, Ledger, Pursuit, Settled, Shared,
    Speaks, Traits,
};
use super::lists::Place;
use super::pipe::{PIPE_BYTES, Pipes, Streak};
use super::report::{ByteCounts, CloseReason, RequestCounts};
use super::stream::Stream;
use crate::protocol::{ConnectionId, Context, Echo};
use crate::token::Readiness;

/// So many fills in a row that gave nothing although bytes are queued are followed by a read.
const FILLS: u8 = 2;

/// What is to be done after bytes went through a pipe.
enum Next {
    /// Go on with what is known of the queue now.
    Look,
    /// Read by copy.
    Read,
}

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
    pub(super) streak: Streak,
}

impl<P> Open<P> {
    pub(super) fn new(place: Place, near: bool) -> Self {
        let traits = Traits::of_new(near);
        let streak = Streak::default();
        Self { held: None, unwritten: 0, input: Input::Dry, place, traits, streak }
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
        let mut piped = 0;
        let end = loop {
            if self.input != Input::Ready {
                break if self.input == Input::Ended { Flow::Ended } else { Flow::Wait };
            }
            if io.budget == 0 {
                break Flow::Again;
            }
            if io.room < LEAST_ROOM {
                break Flow::Pause;
            }
            let start = ledger.read;
            let done = self.splice(stream, ledger, io);
            piped = ledger.read.saturating_sub(start).saturating_add(piped);
            let done = match done {
                Ok(Next::Look) => Ok(()),
                Ok(Next::Read) => self.copy(stream, ledger, trust, io),
                Err(flow) => Err(flow),
            };
            if let Err(flow) = done {
                break flow;
            }
        };
        self.streak.on_call(ledger.read.saturating_sub(before), piped);
        end
    }

    /// Reads once, by copy, and answers.
    fn copy<S: Stream<Pipe = P>>(
        &mut self,
        stream: &mut S,
        ledger: &mut Ledger,
        trust: bool,
        io: &mut Io<'_, P>,
    ) -> Result<(), Flow> {
        let size = io.buffer.len().min(io.room);
        let Some(buffer) = io.buffer.get_mut(..size) else { return Err(Flow::Again) };
        let count = match read(stream, buffer) {
            Ok(count) => count,
            Err(fault) => return self.on_nothing(fault),
        };
        if count == 0 {
            self.input = Input::Ended;
            return Ok(());
        }
        if count < size && trust {
            self.input = Input::Dry;
        }
        if S::HAS_PIPES {
            self.streak.on_copied(count);
        }
        self.traits.note_segment(count, io.segment);
        ledger.on_read(count, io);
        self.reply(stream, ledger, count, io)
    }

    /// A read or a peek gave nothing.
    fn on_nothing(&mut self, fault: Fault) -> Result<(), Flow> {
        match fault {
            Fault::WouldBlock => {
                self.input = Input::Dry;
                Ok(())
            }
            Fault::Later => Err(Flow::Again),
            Fault::Broken(reason) => Err(Flow::Close(reason)),
        }
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

    /// Where the connection streams: moves bytes through a pipe once, and looks whether there are
    /// more.
    ///
    /// What a fill leaves in the queue it does not say: a pipe has few slots, and the kernel gives
    /// `WouldBlock` at the mark of urgent data and for want of a page. No event will come for what
    /// is left, so only a peek or a read finds the queue dry.
    fn splice<S: Stream<Pipe = P>>(
        &mut self,
        stream: &mut S,
        ledger: &mut Ledger,
        io: &mut Io<'_, P>,
    ) -> Result<Next, Flow> {
        for _ in 0..FILLS {
            if !self.streak.is_streaming() {
                return Ok(Next::Read);
            }
            let Some(pipe) = io.pipes.take::<S>() else { return Ok(Next::Read) };
            let most = PIPE_BYTES.min(io.room);
            let filled = fill_pipe(pipe, stream, ledger, most, io)?;
            let count = filled.as_ref().map_or(0, Held::len);
            if let Some(held) = filled {
                self.traits.note_segment(count, io.segment);
                self.pass_on(held, stream, ledger, io)?;
            }
            if count < most {
                match peek(stream) {
                    Ok(0) => return Ok(Next::Read),
                    Ok(_) => {}
                    Err(fault) => {
                        self.on_nothing(fault)?;
                        return Ok(Next::Look);
                    }
                }
            }
            if count > 0 {
                return Ok(Next::Look);
            }
        }
        Ok(Next::Read)
    }

    /// Writes what came into a pipe; an error where the peer does not take it all.
    fn pass_on<S: Stream<Pipe = P>>(
        &mut self,
        mut held: Held<P>,
        stream: &mut S,
        ledger: &mut Ledger,
        io: &mut Io<'_, P>,
    ) -> Result<(), Flow> {
        if let Err(flow) = write_held(&mut held, stream, ledger, io) {
            self.traits.set(Traits::HELD_BACK, true);
            self.held = Some(Box::new(held));
            return Err(flow);
        }
        give_back(held, io.pipes);
        Ok(())
    }

    /// Gives up what is held.
    fn release_pipe(&mut self, pipes: &mut Pipes<P>) {
        if let Some(held) = self.held.take() {
            give_back(*held, pipes);
        }
    }
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
