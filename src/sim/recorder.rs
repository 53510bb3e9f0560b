//! The protocol of a life, with everything written down that it is asked and says.

use std::net::SocketAddr;
use std::time::Instant;

use super::line::micros;
use super::network::Network;
use super::plan::Plan;
use super::shared::Shared;
use super::speech::Speech;
use super::transcript::{Call, Called};
use super::worker::{Worker, WorkerState};
use crate::engine::report::CloseReason;
use crate::protocol::adversary::{Adversary, AdversaryState};
use crate::protocol::{
    ConnectionId, Context, Discard, Input, Line, LineState, Next, Output, Protocol, Repeat,
};
#[cfg(feature = "http")]
use crate::protocol::{Http, HttpState};

/// A protocol that passes every call on to another one.
pub(super) struct Recorder {
    inner: Inner,
    network: Shared,
}

enum Inner {
    Discard(Discard),
    Repeat(Repeat),
    Line(Line),
    #[cfg(feature = "http")]
    Http(Http),
    Adversary(Box<Adversary>),
    Worker(Worker),
}

pub(super) struct RecorderState {
    at: usize,
    inner: InnerState,
}

enum InnerState {
    Plain,
    Line(LineState),
    #[cfg(feature = "http")]
    Http(HttpState),
    Adversary(Box<AdversaryState>),
    Worker(WorkerState),
}

/// Has the inner protocol of `$recorder` do something with its own `$state`.
macro_rules! pass {
    ($inner:expr, $state:expr, |$protocol:ident, $own:ident| $call:expr) => {
        match ($inner, $state) {
            (Inner::Discard($protocol), InnerState::Plain) => {
                let $own = &mut ();
                $call
            }
            (Inner::Repeat($protocol), InnerState::Plain) => {
                let $own = &mut ();
                $call
            }
            (Inner::Line($protocol), InnerState::Line($own)) => $call,
            #[cfg(feature = "http")]
            (Inner::Http($protocol), InnerState::Http($own)) => $call,
            (Inner::Adversary($protocol), InnerState::Adversary($own)) => $call,
            (Inner::Worker($protocol), InnerState::Worker($own)) => $call,
            _ => panic!("a state of another protocol"),
        }
    };
}

impl Recorder {
    pub(super) fn new(speech: Speech, network: &Shared, plan: &Plan, seed: u64) -> Self {
        let inner = match speech {
            Speech::Discard => Inner::Discard(Discard),
            Speech::Repeat => Inner::Repeat(Repeat),
            Speech::Line { delay } => {
                Inner::Line(Line::new().with_delay(std::time::Duration::from_micros(delay)))
            }
            #[cfg(feature = "http")]
            Speech::Http { delay } => {
                Inner::Http(Http::new().with_delay(std::time::Duration::from_micros(delay)))
            }
            #[cfg(not(feature = "http"))]
            Speech::Http { .. } => panic!("no such feature"),
            Speech::Adversary(manners) => Inner::Adversary(Box::new(Adversary::new(seed, manners))),
            Speech::Worker { waits } => Inner::Worker(Worker::new(network, waits, plan.span)),
        };
        Self { inner, network: network.clone() }
    }

    fn note(
        &self,
        at: usize,
        call: Call,
        input: Option<(&[u8], &Input<'_>)>,
        output: (&Output<'_>, Before),
        next: Option<Next>,
        context: Context,
    ) {
        let (output, before) = output;
        let mut network = self.network.lock();
        let now = network.micros(context.now);
        let called = Called {
            call,
            shown: input.as_ref().map_or(&[], |(shown, _)| shown),
            consumed: input.as_ref().map_or(0, |(_, input)| input.consumed() as u64),
            is_overdrawn: input.as_ref().is_some_and(|(_, input)| input.is_overdrawn()),
            put: &output.buffer().bytes()[before.bytes..],
            ends: before.ends(output),
            begun: output.buffer().requests() - before.requests,
            next,
            phase: context.phase,
            now,
        };
        network.note_call(at, context, &called);
    }
}

/// What was in the output before a call.
#[derive(Clone, Copy)]
struct Before {
    bytes: usize,
    requests: u64,
    answers: u64,
}

impl Before {
    fn of(output: &Output<'_>) -> Self {
        let buffer = output.buffer();
        let (requests, answers) = (buffer.requests(), buffer.answers());
        Self { bytes: buffer.bytes().len(), requests, answers }
    }

    /// Where answers end that were not there before, from there on.
    fn ends(self, output: &Output<'_>) -> Vec<(u64, u64)> {
        let mut known = self.answers;
        let mut ends = Vec::new();
        for mark in output.buffer().marks() {
            let old = known.min(u64::from(mark.count));
            known -= old;
            let new = u64::from(mark.count) - old;
            if new > 0 {
                ends.push((u64::from(mark.end) - self.bytes as u64, new));
            }
        }
        ends
    }
}

impl Protocol for Recorder {
    type State = RecorderState;

    fn name(&self) -> &'static str {
        "recorder"
    }

    fn open(&mut self, peer: Option<SocketAddr>, context: Context) -> RecorderState {
        let at = self.network.lock().note_open(context);
        let inner = match &mut self.inner {
            Inner::Discard(_) | Inner::Repeat(_) => InnerState::Plain,
            Inner::Line(line) => InnerState::Line(line.open(peer, context)),
            #[cfg(feature = "http")]
            Inner::Http(http) => InnerState::Http(http.open(peer, context)),
            Inner::Adversary(adversary) => {
                InnerState::Adversary(Box::new(adversary.open(peer, context)))
            }
            Inner::Worker(worker) => InnerState::Worker(worker.open(peer, context)),
        };
        RecorderState { at, inner }
    }

    fn greet(
        &mut self,
        state: &mut RecorderState,
        output: &mut Output<'_>,
        context: Context,
    ) -> Next {
        let before = Before::of(output);
        let next =
            pass!(&mut self.inner, &mut state.inner, |it, own| it.greet(own, output, context));
        self.note(state.at, Call::Greet, None, (output, before), Some(next), context);
        next
    }

    fn input(
        &mut self,
        state: &mut RecorderState,
        input: &mut Input<'_>,
        output: &mut Output<'_>,
        context: Context,
    ) -> Next {
        let (before, shown) = (Before::of(output), input.bytes());
        let next = pass!(&mut self.inner, &mut state.inner, |it, own| {
            it.input(own, input, output, context)
        });
        let seen = Some((shown, &*input));
        self.note(state.at, Call::Input, seen, (output, before), Some(next), context);
        next
    }

    fn resume(
        &mut self,
        state: &mut RecorderState,
        output: &mut Output<'_>,
        context: Context,
    ) -> Next {
        let before = Before::of(output);
        let next =
            pass!(&mut self.inner, &mut state.inner, |it, own| it.resume(own, output, context));
        self.note(state.at, Call::Resume, None, (output, before), Some(next), context);
        next
    }

    fn deadline(&self, state: &RecorderState) -> Option<Instant> {
        let due = pass!(&self.inner, &state.inner, |it, own| it.deadline(own));
        let mut network = self.network.lock();
        let deadline = due.map(|due| network.micros(due));
        network.note_deadline(state.at, deadline);
        due
    }

    fn poll_resume(&mut self, now: Instant) -> Option<ConnectionId> {
        let id = match &mut self.inner {
            Inner::Adversary(adversary) => adversary.poll_resume(now),
            Inner::Worker(worker) => worker.poll_resume(now),
            _ => None,
        }?;
        self.network.lock().note_name(id);
        Some(id)
    }

    fn end(
        &mut self,
        state: &mut RecorderState,
        rest: &[u8],
        output: &mut Output<'_>,
        context: Context,
    ) -> Next {
        let before = Before::of(output);
        let next = pass!(&mut self.inner, &mut state.inner, |it, own| {
            it.end(own, rest, output, context)
        });
        let seen = Some((rest, &Input::new(rest)));
        self.note(state.at, Call::End, seen, (output, before), Some(next), context);
        next
    }

    fn drain(
        &mut self,
        state: &mut RecorderState,
        output: &mut Output<'_>,
        context: Context,
    ) -> Option<Next> {
        let before = Before::of(output);
        let next =
            pass!(&mut self.inner, &mut state.inner, |it, own| it.drain(own, output, context));
        self.note(state.at, Call::Drain, None, (output, before), next, context);
        next
    }

    fn farewell(&mut self, state: &mut RecorderState, output: &mut Output<'_>, context: Context) {
        let before = Before::of(output);
        pass!(&mut self.inner, &mut state.inner, |it, own| it.farewell(own, output, context));
        self.note(state.at, Call::Farewell, None, (output, before), None, context);
    }

    fn close(&mut self, state: RecorderState, connection: ConnectionId, reason: CloseReason) {
        self.network.lock().note_close(state.at, connection);
        if let (Inner::Adversary(it), InnerState::Adversary(own)) = (&mut self.inner, state.inner) {
            it.close(*own, connection, reason);
        }
    }
}

impl Network {
    /// An instant in microseconds.
    fn micros(&self, instant: Instant) -> u64 {
        micros(instant.saturating_duration_since(self.base))
    }
}
