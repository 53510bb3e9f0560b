//! A protocol around another one: everything on the wire is veiled, as TLS would.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::simple::answer;
use crate::engine::phase::Phase;
use crate::engine::report::CloseReason;
use crate::protocol::loopback::{End, Loopback};
use crate::protocol::session::Status;
use crate::protocol::{
    ConnectionId, Context, Input, Line, Next, Output, OutputBuffer, Protocol, Repeat, Session, Want,
};

/// Stands before the peer's bytes and behind ours, like a close_notify.
const CLOSE: u8 = 0xff;

#[derive(Debug)]
struct Veil<P> {
    inner: P,
    plain: OutputBuffer,
}

struct VeilState<P: Protocol> {
    session: Session<P>,
    /// Unveiled, and not consumed by the inner protocol.
    input: Vec<u8>,
    /// The verdict was `Continue`, for want of room.
    lacks_room: bool,
}

impl<P: Protocol> Veil<P> {
    fn new(inner: P) -> Self {
        // What is veiled may take more room than it did.
        Self { inner, plain: OutputBuffer::new(Output::MIN_ROOM) }
    }

    /// Lets the inner protocol do what it can.
    fn pump(
        &mut self,
        state: &mut VeilState<P>,
        output: &mut Output<'_>,
        context: Context,
    ) -> Next {
        state.lacks_room = false;
        while output.room() >= Output::MIN_ROOM {
            let VeilState { session, input, .. } = state;
            let advance =
                session.advance(&mut self.inner, input, &mut self.plain, Output::MIN_ROOM, context);
            input.drain(..advance.consumed);
            self.veil(output);
            match advance.want {
                Want::More => {}
                Want::Abort | Want::Fail(_) => return Next::Abort,
                Want::Finish | Want::Resume | Want::Input => return state.verdict(),
            }
        }
        state.lacks_room = true;
        Next::Continue
    }

    /// Passes on what the inner protocol has put.
    fn veil(&mut self, output: &mut Output<'_>) {
        for byte in self.plain.bytes() {
            assert!(output.put(&[byte ^ 0x55]));
        }
        for _ in 0..self.plain.requests() {
            output.begin_request();
        }
        for _ in 0..self.plain.answers() {
            output.end_answer();
        }
        self.plain.clear();
    }
}

impl<P: Protocol> VeilState<P> {
    fn verdict(&self) -> Next {
        match self.session.verdict() {
            // The engine does not see what is held here.
            Next::Idle if !self.input.is_empty() => Next::Receive,
            next => next,
        }
    }
}

impl<P: Protocol> Protocol for Veil<P> {
    type State = VeilState<P>;

    fn open(&mut self, peer: Option<SocketAddr>, context: Context) -> VeilState<P> {
        let session = Session::new(&mut self.inner, peer, context);
        VeilState { session, input: Vec::new(), lacks_room: false }
    }

    fn greet(
        &mut self,
        state: &mut Self::State,
        output: &mut Output<'_>,
        context: Context,
    ) -> Next {
        self.pump(state, output, context)
    }

    fn input(
        &mut self,
        state: &mut Self::State,
        input: &mut Input<'_>,
        output: &mut Output<'_>,
        context: Context,
    ) -> Next {
        let count = input.len().min(Input::MAX - state.input.len());
        let veiled = input.bytes().iter().take(count);
        for byte in veiled {
            match *byte {
                CLOSE => state.session.on_peer_end(),
                byte => state.input.push(byte ^ 0x55),
            }
        }
        input.consume(count);
        state.session.on_input();
        self.pump(state, output, context)
    }

    fn resume(
        &mut self,
        state: &mut Self::State,
        output: &mut Output<'_>,
        context: Context,
    ) -> Next {
        if !state.lacks_room {
            state.session.wake();
        }
        self.pump(state, output, context)
    }

    fn deadline(&self, state: &Self::State) -> Option<Instant> {
        state.session.deadline(&self.inner)
    }

    fn end(
        &mut self,
        state: &mut Self::State,
        _: &[u8],
        output: &mut Output<'_>,
        context: Context,
    ) -> Next {
        state.session.on_peer_end();
        self.pump(state, output, context)
    }

    fn drain(
        &mut self,
        state: &mut Self::State,
        output: &mut Output<'_>,
        context: Context,
    ) -> Option<Next> {
        state.session.on_drain();
        Some(self.pump(state, output, context))
    }

    fn farewell(&mut self, state: &mut Self::State, output: &mut Output<'_>, context: Context) {
        let room = output.room().saturating_sub(1).min(Output::MIN_ROOM);
        state.session.farewell(&mut self.inner, &mut self.plain, room, context);
        self.veil(output);
        assert!(output.put(&[CLOSE]));
    }

    fn close(&mut self, state: Self::State, connection: ConnectionId, reason: CloseReason) {
        state.session.close(&mut self.inner, connection, reason);
    }
}

fn veil(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| byte ^ 0x55).collect()
}

#[test]
fn an_echo_can_be_wrapped() {
    let mut line = answer(Veil::new(Repeat), &veil(&[b'x'; 300_000]), &[7777], 5000);
    assert_eq!(line.received, veil(&[b'x'; 300_000]));
    assert_eq!(line.status(), Some(Status::Idle));
    line.send(&[CLOSE]);
    line.take(1);
    assert_eq!((line.end, line.received.last()), (Some(End::Fin), Some(&CLOSE)));
}

#[test]
fn a_wrapped_protocol_is_as_busy_as_it_would_be_alone() {
    let delay = Duration::from_millis(10);
    let mut line = Loopback::new(Veil::new(Line::new().with_delay(delay)));
    line.send(&veil(b"one\ntwo"));
    assert_eq!((line.status(), line.outstanding()), (Some(Status::Busy), Some(1)));
    line.enter(Phase::Draining);
    line.pass(delay);
    assert_eq!(line.received, veil(b"one\n"));
    assert_eq!((line.status(), line.held()), (Some(Status::Receiving), 0));
    line.send(&veil(b"\n"));
    line.send_end();
    line.pass(delay);
    let all = [veil(b"one\ntwo\n"), vec![CLOSE]].concat();
    assert_eq!((line.received.as_slice(), line.end), (all.as_slice(), Some(End::Fin)));
    assert_eq!((line.account.requests, line.account.answered), (2, 2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_wrapped_protocol_says_what_it_would_alone(
        input in prop::collection::vec(prop::sample::select(&b"abcd\n"[..]), 0..300),
        repeat in 1_usize..400,
        pieces in prop::collection::vec(1_usize..9000, 1..20),
        taken in 1000_usize..50_000,
    ) {
        let input = input.repeat(repeat);
        let alone = answer(Line::new(), &input, &pieces, taken);
        let wrapped = answer(Veil::new(Line::new()), &veil(&input), &pieces, taken);
        prop_assert_eq!(veil(&alone.received), wrapped.received);
        prop_assert_eq!(alone.account.answered, wrapped.account.answered);
        prop_assert_eq!(alone.account.requests, wrapped.account.requests);
    }
}
