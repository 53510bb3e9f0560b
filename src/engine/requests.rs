//! The open half of a connection that speaks a protocol: requests in, answers out.
//!
//! Input is delivered only while no output is pending. Both lie in buffers that all connections
//! share; a connection owns memory for what is left over: input that was not consumed, and output
//! that the peer did not take.

use log::warn;
use std::ops::Range;

use super::call::{Fault, read, write};
use super::dialogue::{Flow, Input, IoContext, LEAST_ROOM, Ledger, Shared, Traits};
use super::lists::Place;
use super::report::{ByteCounts, CloseReason};
use super::stream::Stream;
use crate::protocol::output::{Pending, answers_within};
use crate::protocol::session::{Session, Status, Want, input_limit};
use crate::protocol::{Next, Protocol};

/// Output of one batch of calls.
pub(super) const OUTPUT: usize = 64 << 10;

/// What is left over between calls.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// Output that the peer did not take.
    pub(super) output: Option<Pending>,
    /// Input that was not consumed.
    input: Vec<u8>,
}

/// A connection that speaks a protocol.
pub(crate) struct Requests<P: Protocol> {
    pub(super) session: Session<P>,
    pub(super) rest: Option<Box<Rest>>,
    /// Bytes put in all.
    pub(super) produced: u64,
    /// Bytes that a failed write left behind, and the answers that ended in them.
    pub(super) unwritten: u32,
    pub(super) unwritten_answers: u32,
    /// Input that was given up.
    pub(super) late: u32,
    pub(super) incomplete: u32,
    /// Our FIN follows, for this reason, once nothing is pending.
    pub(super) ending: Option<CloseReason>,
    /// What the verdict was when the last words were said.
    pub(super) left_over: LeftOver,
    pub(super) input: Input,
    pub(super) place: Place,
    pub(super) traits: Traits,
}

/// What input that is not consumed at the end counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeftOver {
    /// The connection goes on.
    Unknown,
    /// The protocol had ended the conversation.
    Late,
    /// The rest of the request never came.
    Incomplete,
    /// It could have been served.
    Unserved,
}

/// Bytes that one pump moved.
#[derive(Clone, Copy, Debug, Default)]
struct Moved {
    read: usize,
    written: usize,
}

impl<P: Protocol> Requests<P> {
    pub(super) fn owed(&self) -> usize {
        let pending = self.rest.as_ref().and_then(|rest| rest.output.as_ref());
        pending.map_or(0, |pending| pending.bytes().len())
    }

    pub(super) fn held(&self) -> &[u8] {
        self.rest.as_ref().map_or(&[], |rest| rest.input.as_slice())
    }

    /// Keeps what was read and not consumed; an error where there is no memory.
    #[inline]
    fn keep<N>(
        &mut self,
        fresh: &mut Range<usize>,
        io: &mut IoContext<'_, N, P>,
    ) -> Result<(), Flow> {
        let range = std::mem::replace(fresh, 0..0);
        if range.is_empty() { Ok(()) } else { self.hold(range, io) }
    }

    #[cold]
    fn hold<N>(&mut self, range: Range<usize>, io: &mut IoContext<'_, N, P>) -> Result<(), Flow> {
        let bytes = io.buffer.get(range).unwrap_or_default();
        let held = &mut self.rest.get_or_insert_default().input;
        if held.try_reserve(bytes.len()).is_err() {
            self.give_up(bytes.len(), io.bytes);
            return Err(Flow::Close(CloseReason::ForcedLossy));
        }
        held.extend_from_slice(bytes);
        Ok(())
    }

    /// Forgets input that was consumed: of what is held, or else of what was just read.
    fn consume(&mut self, count: usize, fresh: &mut Range<usize>) {
        match &mut self.rest {
            Some(rest) if !rest.input.is_empty() => {
                rest.input.drain(..count.min(rest.input.len()));
                self.tidy();
            }
            _ => fresh.start = fresh.start.saturating_add(count).min(fresh.end),
        }
    }

    /// Gives memory back that holds nothing.
    fn tidy(&mut self) {
        let is_empty = |rest: &mut Box<Rest>| rest.output.is_none() && rest.input.is_empty();
        drop(self.rest.take_if(is_empty));
    }

    /// Gives up input after the end of the conversation.
    #[cold]
    fn give_up(&mut self, fresh: usize, bytes: &mut ByteCounts) {
        let count = self.held().len().saturating_add(fresh);
        if let Some(rest) = &mut self.rest {
            rest.input = Vec::new();
        }
        self.tidy();
        let (own, sum) = match self.session.has_told_end() {
            true => (&mut self.incomplete, &mut bytes.incomplete),
            false => (&mut self.late, &mut bytes.late),
        };
        *own = own.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        *sum = sum.saturating_add(count as u64);
    }

    /// Makes the calls that can be made, reads for more, and writes, until only an event helps or a
    /// bound is reached. Nothing is pending.
    pub(super) fn converse<S: Stream>(
        &mut self,
        stream: &mut S,
        ledger: &mut Ledger,
        trust: bool,
        io: &mut IoContext<'_, S::Pipe, P>,
    ) -> Flow {
        let budget = io.budget;
        let mut moved = Moved::default();
        let mut fresh = 0..0;
        loop {
            if let Some(reason) = self.ending {
                let ended = self.input == Input::Ended;
                return if ended { Flow::Ended } else { Flow::Finish(reason) };
            }
            let is_spent = moved.read.max(moved.written) >= budget;
            let want = match self.batch(&mut fresh, io) {
                Ok(want) => want,
                Err(flow) => return self.keep(&mut fresh, io).err().unwrap_or(flow),
            };
            let put = io.shared.scratch.bytes().len();
            moved.written = moved.written.saturating_add(put);
            let written = self.write_batch(stream, ledger, io);
            if let Want::Abort | Want::Fail(_) = want {
                self.give_up(fresh.len(), io.bytes);
                if let Want::Fail(fault) = want {
                    warn!("connection #{}: {fault}", ledger.number);
                }
                return Flow::Close(CloseReason::ProtocolClosed);
            }
            if want == Want::Finish {
                self.give_up(fresh.len(), io.bytes);
                fresh = 0..0;
            }
            if let Err(flow) = written {
                return self.keep(&mut fresh, io).err().unwrap_or(flow);
            }
            let flow = match want {
                Want::Finish => continue,
                Want::More if is_spent => Flow::Again,
                Want::More => continue,
                Want::Resume => Flow::Wait,
                _ => match self.receive(stream, ledger, (trust, is_spent), &mut fresh, io) {
                    Ok(count) => {
                        moved.read = moved.read.saturating_add(count);
                        continue;
                    }
                    Err(flow) => flow,
                },
            };
            if want == Want::Resume && self.input == Input::Ready {
                self.traits.set(Traits::HELD_BACK, true);
            }
            return self.keep(&mut fresh, io).err().unwrap_or(flow);
        }
    }

    /// One batch of calls; its output is in the shared buffer afterwards.
    fn batch<N>(
        &mut self,
        fresh: &mut Range<usize>,
        io: &mut IoContext<'_, N, P>,
    ) -> Result<Want, Flow> {
        let Shared { protocol, scratch, context } = &mut *io.shared;
        let Some(context) = *context else { return Err(Flow::Wait) };
        let held = self.rest.as_ref().map_or(&[][..], |rest| rest.input.as_slice());
        let input = match held {
            [] => io.buffer.get(fresh.clone()).unwrap_or_default(),
            held => held,
        };
        scratch.clear();
        if !self.session.has_call(input) {
            let want = self.session.want();
            if want != Want::Finish {
                return Ok(want);
            }
        } else if io.room < LEAST_ROOM {
            return Err(Flow::Pause);
        }
        let room = io.room.clamp(LEAST_ROOM, OUTPUT);
        let advance = self.session.advance(protocol, input, scratch, room, context);
        self.consume(advance.consumed, fresh);
        io.bytes.served = io.bytes.served.saturating_add(advance.consumed as u64);
        if let Some(requests) = io.requests {
            requests.taken = requests.taken.saturating_add(advance.requests);
        }
        if advance.want == Want::Finish {
            let reason = match self.session.has_told_end() {
                true => CloseReason::PeerClosed,
                false => CloseReason::ProtocolClosed,
            };
            self.part(reason, io);
        }
        Ok(advance.want)
    }

    /// Has the last words put behind what was put before.
    pub(super) fn part<N>(&mut self, reason: CloseReason, io: &mut IoContext<'_, N, P>) {
        let Shared { protocol, scratch, context } = &mut *io.shared;
        let Some(context) = *context else { return };
        if self.left_over == LeftOver::Unknown {
            self.left_over = self.classify(false);
        }
        let room = scratch.bytes().len().saturating_add(LEAST_ROOM);
        self.session.farewell(protocol, scratch, room, context);
        self.ending = Some(reason);
    }

    /// What unconsumed input counts as, and why requests are outstanding.
    pub(super) fn classify(&self, is_broken: bool) -> LeftOver {
        match self.session.verdict() {
            _ if self.left_over != LeftOver::Unknown => self.left_over,
            _ if is_broken || self.session.has_told_end() => LeftOver::Incomplete,
            Next::Finish | Next::Abort => LeftOver::Late,
            Next::Wait | Next::Busy | Next::Continue => LeftOver::Unserved,
            Next::Idle | Next::Receive => match self.session.status(self.held().len()) {
                Status::Busy => LeftOver::Unserved,
                Status::Idle | Status::Held | Status::Receiving => LeftOver::Incomplete,
            },
        }
    }

    /// Reads once. Returns how many bytes came; an error where the connection is to be left.
    fn receive<S: Stream>(
        &mut self,
        stream: &mut S,
        ledger: &mut Ledger,
        (trust, is_spent): (bool, bool),
        fresh: &mut Range<usize>,
        io: &mut IoContext<'_, S::Pipe, P>,
    ) -> Result<usize, Flow> {
        self.keep(fresh, io)?;
        let room = input_limit::<P>().saturating_sub(self.held().len());
        match self.input {
            Input::Dry | Input::Ended => return Err(Flow::Wait),
            Input::Ready if is_spent => return Err(Flow::Again),
            Input::Ready if io.room < LEAST_ROOM => return Err(Flow::Pause),
            Input::Ready if room == 0 => return Err(Flow::Wait),
            Input::Ready => {}
        }
        let size = io.buffer.len().min(room).min(io.room);
        let Some(buffer) = io.buffer.get_mut(..size) else { return Err(Flow::Again) };
        let count = match read(stream, buffer) {
            Ok(0) => {
                self.input = Input::Ended;
                self.session.on_peer_end();
                return Ok(0);
            }
            Ok(count) => count,
            Err(Fault::WouldBlock) => {
                self.input = Input::Dry;
                return Err(Flow::Wait);
            }
            Err(Fault::Later) => return Err(Flow::Again),
            Err(Fault::Broken(reason)) => return Err(Flow::Close(reason)),
        };
        if count < size && trust {
            self.input = Input::Dry;
        }
        self.traits.note_segment(count, io.segment);
        ledger.on_read(count, io);
        self.session.on_input();
        *fresh = 0..count;
        if !self.held().is_empty() {
            self.keep(fresh, io)?;
        }
        Ok(count)
    }

    /// Writes what is in the shared buffer, once; an error where the peer does not take it all, of
    /// which the rest is kept.
    pub(super) fn write_batch<S: Stream>(
        &mut self,
        stream: &mut S,
        ledger: &mut Ledger,
        io: &mut IoContext<'_, S::Pipe, P>,
    ) -> Result<(), Flow> {
        if io.shared.scratch.is_blank() {
            return Ok(());
        }
        let put = io.shared.scratch.bytes().len();
        self.produced = self.produced.saturating_add(put as u64);
        io.bytes.produced = io.bytes.produced.saturating_add(put as u64);
        let (taken, fault) = match io.shared.scratch.bytes() {
            [] => (0, Fault::WouldBlock),
            bytes => match write(stream, bytes) {
                Ok(taken) => (taken, Fault::WouldBlock),
                Err(fault) => (0, fault),
            },
        };
        if taken > 0 {
            ledger.on_written(taken, io);
        }
        let output = &io.shared.scratch;
        let is_whole = taken >= put;
        let answers =
            if is_whole { output.answers() } else { answers_within(output.marks(), taken) };
        if let Some(requests) = io.requests {
            requests.answered = requests.answered.saturating_add(answers);
        }
        if is_whole {
            return Ok(());
        }
        let copy = match fault {
            Fault::Broken(_) => None,
            Fault::WouldBlock | Fault::Later => Pending::copy_of(output, taken),
        };
        self.traits.set(Traits::HELD_BACK, true);
        let rest = put.saturating_sub(taken);
        io.room = io.room.saturating_sub(rest);
        if let Some(pending) = copy {
            self.rest.get_or_insert_default().output = Some(pending);
            return Err(if matches!(fault, Fault::Later) { Flow::Again } else { Flow::Wait });
        }
        self.unwritten = u32::try_from(rest).unwrap_or(u32::MAX);
        let lost = output.answers().saturating_sub(answers);
        self.unwritten_answers = u32::try_from(lost).unwrap_or(u32::MAX);
        Err(Flow::Close(match fault {
            Fault::Broken(reason) => reason,
            // No memory for it: a cut by us, and it must look like one.
            Fault::WouldBlock | Fault::Later => CloseReason::ForcedLossy,
        }))
    }

    /// Writes pending output, once; an error where that is not all of it.
    pub(super) fn flush<S: Stream>(
        &mut self,
        stream: &mut S,
        ledger: &mut Ledger,
        io: &mut IoContext<'_, S::Pipe, P>,
    ) -> Result<(), Flow> {
        let Some(rest) = &mut self.rest else { return Ok(()) };
        let Some(pending) = &mut rest.output else { return Ok(()) };
        let count = match write(stream, pending.bytes()) {
            Ok(count) => count,
            Err(Fault::WouldBlock) => return Err(Flow::Wait),
            Err(Fault::Later) => return Err(Flow::Again),
            Err(Fault::Broken(reason)) => return Err(Flow::Close(reason)),
        };
        let answers = pending.on_written(count);
        let is_over = pending.bytes().is_empty();
        ledger.on_written(count, io);
        io.room = io.room.saturating_add(count);
        if let Some(requests) = io.requests {
            requests.answered = requests.answered.saturating_add(answers);
        }
        if !is_over {
            return Err(Flow::Wait);
        }
        rest.output = None;
        self.tidy();
        Ok(())
    }
}
