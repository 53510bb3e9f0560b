//! Any protocol as what the engine runs: what it asks of the open half, and of what is left of it.

use std::fmt;
use std::time::Instant;

use super::call::{Fault, read};
use super::dialogue::{
    Begin, Dialogue, End, Finished, Flow, Input, IoContext, LEAST_ROOM, Ledger, Pursuit, Settled,
    Shared, Speaks, Traits,
};
use super::lists::Place;
use super::pipe::Pipes;
use super::report::{ByteCounts, CloseReason, RequestCounts};
use super::requests::{LeftOver, OUTPUT, Requests};
use super::stream::Stream;
use crate::protocol::output::Pending;
use crate::protocol::session::{Session, Status};
use crate::protocol::{ConnectionId, Context, Next, OutputBuffer, Protocol};
use crate::token::Readiness;

/// What is remembered after our FIN.
pub(crate) struct Remains<P: Protocol> {
    session: Session<P>,
    produced: u64,
    unserved: u32,
    incomplete: u32,
    /// The answers whose ends were not written.
    unwritten_answers: u32,
    left_over: LeftOver,
}

impl<P: Protocol> fmt::Debug for Requests<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests")
            .field("session", &self.session)
            .field("rest", &self.rest)
            .field("input", &self.input)
            .finish_non_exhaustive()
    }
}

impl<P: Protocol> fmt::Debug for Remains<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remains").field("session", &self.session).finish_non_exhaustive()
    }
}

impl<P: Protocol> Speaks for P {
    type Dialogue<S: Stream> = Requests<P>;
    type Scratch = OutputBuffer;
    const HAS_CALLS: bool = true;

    fn scratch() -> OutputBuffer {
        // The last words go behind a full batch.
        OutputBuffer::new(OUTPUT.saturating_add(LEAST_ROOM))
    }

    fn name(&self) -> &'static str {
        Protocol::name(self)
    }

    fn requests() -> Option<RequestCounts> {
        Some(RequestCounts::default())
    }

    fn poll_resume(&mut self, now: Instant) -> Option<ConnectionId> {
        Protocol::poll_resume(self, now)
    }
}

impl<S: Stream, P: Protocol> Dialogue<S, P> for Requests<P> {
    type Tail = Remains<P>;

    fn new(begin: Begin, shared: &mut Shared<P>, context: Context) -> Self {
        Self {
            session: Session::new(&mut shared.protocol, begin.peer, context),
            rest: None,
            produced: 0,
            unwritten: 0,
            unwritten_answers: 0,
            late: 0,
            incomplete: 0,
            ending: None,
            left_over: LeftOver::Unknown,
            input: Input::Dry,
            place: begin.place,
            traits: Traits::of_new(begin.near),
        }
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
        match self.session.status(self.held().len()) {
            Status::Idle => Pursuit::Idle,
            Status::Held => Pursuit::Held,
            Status::Receiving => Pursuit::Receiving,
            Status::Busy => Pursuit::Busy,
        }
    }

    fn is_outstanding(&self) -> bool {
        matches!(self.session.verdict(), Next::Busy | Next::Wait | Next::Continue)
    }

    fn deadline(&self, protocol: &P) -> Option<Instant> {
        if self.owed() > 0 || self.traits.has(Traits::PAUSED) {
            // No call can be made before an event or the end of the pause.
            return None;
        }
        self.session.deadline(protocol)
    }

    fn wake(&mut self) -> bool {
        let was_woken = self.session.is_woken();
        self.session.wake();
        was_woken
    }

    fn on_drain(&mut self) {
        self.session.on_drain();
    }

    fn pump(
        &mut self,
        stream: &mut S,
        ledger: &mut Ledger,
        ready: Readiness,
        probe: bool,
        io: &mut IoContext<'_, S::Pipe, P>,
    ) -> Flow {
        let fresh = self.input == Input::Dry;
        if fresh && (probe || ready.may_read()) {
            self.input = Input::Ready;
        }
        let owed = self.owed() > 0;
        if self.input == Input::Ended && !owed && ready.contains(Readiness::ERROR) {
            // Nothing is read from it any more, and perhaps nothing written for a long time.
            if let Err(Fault::Broken(reason)) = read(stream, io.buffer) {
                return Flow::Close(reason);
            }
        }
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
        self.converse(stream, ledger, trust, io)
    }

    fn say_farewell(
        &mut self,
        reason: CloseReason,
        stream: &mut S,
        ledger: &mut Ledger,
        io: &mut IoContext<'_, S::Pipe, P>,
    ) -> Result<(), Flow> {
        if self.ending.is_some() {
            return Ok(());
        }
        io.shared.scratch.clear();
        self.part(reason, io);
        self.write_batch(stream, ledger, io)
    }

    fn finish(
        mut self,
        end: End,
        _: &mut Pipes<S::Pipe>,
        bytes: &mut ByteCounts,
    ) -> Finished<Remains<P>> {
        let left_over = self.classify(end.is_broken);
        let held = u32::try_from(self.held().len()).unwrap_or(u32::MAX);
        let pending = self.rest.as_ref().and_then(|rest| rest.output.as_ref());
        let answers = pending.map_or(0, Pending::answers);
        let answers = u32::try_from(answers).unwrap_or(u32::MAX);
        let left = (self.owed() as u64).saturating_add(u64::from(self.unwritten));
        let mut unserved = 0;
        match left_over {
            LeftOver::Late => {
                self.late = self.late.saturating_add(held);
                bytes.late = bytes.late.saturating_add(u64::from(held));
            }
            LeftOver::Unserved => {
                unserved = held;
                bytes.unserved = bytes.unserved.saturating_add(u64::from(held));
            }
            LeftOver::Incomplete | LeftOver::Unknown => {
                self.incomplete = self.incomplete.saturating_add(held);
                bytes.incomplete = bytes.incomplete.saturating_add(u64::from(held));
            }
        }
        let tail = Remains {
            session: self.session,
            produced: self.produced,
            unserved,
            incomplete: self.incomplete,
            unwritten_answers: self.unwritten_answers.saturating_add(answers),
            left_over,
        };
        Finished { tail, late: u64::from(self.late), left }
    }

    fn reject(tail: &mut Remains<P>, late: u64, bytes: &mut ByteCounts) -> u64 {
        let count = u32::try_from(late).unwrap_or(u32::MAX);
        tail.unserved = tail.unserved.saturating_add(count);
        bytes.unserved = bytes.unserved.saturating_add(late);
        0
    }

    fn settle(tail: &Remains<P>, read: u64, late: u64, left: u64) -> Settled {
        let (unserved, incomplete) = (u64::from(tail.unserved), u64::from(tail.incomplete));
        let served = read.saturating_sub(late).saturating_sub(unserved).saturating_sub(incomplete);
        Settled {
            written: tail.produced.saturating_sub(left),
            left,
            late,
            served,
            produced: tail.produced,
            unserved,
            incomplete,
        }
    }

    fn close(
        tail: Remains<P>,
        connection: ConnectionId,
        end: End,
        requests: &mut Option<RequestCounts>,
        protocol: &mut P,
    ) {
        let open = u64::from(tail.session.outstanding());
        let unwritten = u64::from(tail.unwritten_answers);
        if let Some(requests) = requests {
            let (aborted, unanswered) = match (end.is_broken, tail.left_over) {
                (true, _) => (open.saturating_add(unwritten), 0),
                (false, LeftOver::Incomplete) => (open, unwritten),
                (false, _) => (0, open.saturating_add(unwritten)),
            };
            requests.aborted = requests.aborted.saturating_add(aborted);
            requests.unanswered = requests.unanswered.saturating_add(unanswered);
        }
        if !std::thread::panicking() {
            tail.session.close(protocol, connection, end.reason);
        }
    }
}
