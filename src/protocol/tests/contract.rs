//! What protocols are promised, one promise at a time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::engine::phase::Phase;
use crate::protocol::loopback::{End, Loopback};
use crate::protocol::session::{Fault, Session, Status, Want};
use crate::protocol::{ConnectionId, Context, Input, Next, Output, OutputBuffer, Protocol};

/// Does as the first byte of its input says, a byte at a time.
#[derive(Debug, Default)]
struct Script {
    /// What `resume` returns, in order; then `Idle`.
    resumes: Vec<(&'static [u8], Next)>,
    wakes: Vec<ConnectionId>,
    greeting: &'static [u8],
    calls: Vec<&'static str>,
}

impl Protocol for Script {
    type State = ();
    const MAX_INPUT: usize = 8;

    fn open(&mut self, _: Option<SocketAddr>, _: Context) {}

    fn greet(&mut self, (): &mut (), output: &mut Output<'_>, _: Context) -> Next {
        assert!(output.put(self.greeting));
        Next::Idle
    }

    fn input(
        &mut self,
        (): &mut (),
        input: &mut Input<'_>,
        output: &mut Output<'_>,
        _: Context,
    ) -> Next {
        self.calls.push("input");
        let Some(first) = input.bytes().first().copied() else { return Next::Idle };
        match first {
            b'?' => return Next::Idle,
            b'=' => return Next::Busy,
            _ => {}
        }
        input.consume(if first == b'!' { 9 } else { 1 });
        assert!(output.put(&[first.to_ascii_uppercase()]));
        match first {
            b'b' => Next::Busy,
            b'w' => Next::Wait,
            b'c' => Next::Continue,
            b'f' => Next::Finish,
            b'a' => Next::Abort,
            b'r' => Next::Receive,
            _ => Next::Idle,
        }
    }

    fn resume(&mut self, (): &mut (), output: &mut Output<'_>, _: Context) -> Next {
        self.calls.push("resume");
        assert!(output.room() >= Output::MIN_ROOM);
        if self.resumes.is_empty() {
            return Next::Idle;
        }
        let (bytes, next) = self.resumes.remove(0);
        assert!(output.put(bytes));
        next
    }

    fn poll_resume(&mut self, _: Instant) -> Option<ConnectionId> {
        self.wakes.pop()
    }

    fn end(&mut self, (): &mut (), rest: &[u8], output: &mut Output<'_>, _: Context) -> Next {
        self.calls.push("end");
        assert!(output.put(rest) && output.put(b"<end>"));
        Next::Idle
    }

    fn drain(&mut self, (): &mut (), output: &mut Output<'_>, _: Context) -> Option<Next> {
        self.calls.push("drain");
        assert!(output.put(b"<drain>"));
        None
    }

    fn farewell(&mut self, (): &mut (), output: &mut Output<'_>, _: Context) {
        assert!(output.put(b"<bye>"));
    }
}

fn start() -> Loopback<Script> {
    Loopback::new(Script::default())
}

#[test]
fn the_greeting_comes_before_any_input() {
    let line = Loopback::new(Script { greeting: b"hello", ..Script::default() });
    assert_eq!(line.received, b"hello");
}

#[test]
fn a_batch_is_written_at_once() {
    let mut line = start();
    line.send(b"xyz");
    assert_eq!((line.received.as_slice(), line.account.writes), (&b"XYZ"[..], 1));
}

#[test]
fn input_waits_for_a_resume() {
    let mut line = start();
    line.protocol.resumes = vec![(b"<r>", Next::Idle)];
    line.send(b"xwyz");
    assert_eq!((line.received.as_slice(), line.status()), (&b"XW"[..], Some(Status::Busy)));
    line.send(b"uvst");
    assert_eq!((line.held(), line.unread()), (2, 4), "what waits is not read");
    line.wake();
    assert_eq!(line.received, b"XW<r>YZUVST");
}

#[test]
fn a_busy_one_goes_on_receiving() {
    let mut line = start();
    line.send(b"bx");
    assert_eq!((line.received.as_slice(), line.status()), (&b"BX"[..], Some(Status::Idle)));
    line.send(b"b");
    line.send_end();
    assert_eq!(line.end, None, "an answer is outstanding, the peer still reads");
    line.protocol.resumes = vec![(b"<r>", Next::Idle)];
    line.wake();
    assert_eq!(line.received, b"BXB<r><end><bye>");
    assert_eq!(line.end, Some(End::Fin));
}

#[test]
fn no_call_comes_while_output_is_pending() {
    let mut line = Loopback::with_window(Script::default(), 1);
    line.protocol.resumes = vec![(b"<r>", Next::Idle)];
    line.send(b"xyz");
    assert_eq!((line.received.as_slice(), line.pending()), (&b"X"[..], 2));
    let calls = line.protocol.calls.len();
    line.wake();
    line.enter(Phase::Draining);
    line.send(b"more");
    line.send_end();
    line.pass(Duration::from_secs(1));
    assert_eq!(line.protocol.calls.len(), calls);
    line.take(100);
    assert_eq!(line.received, b"XYZ<r><drain>MORE<end><bye>");
    assert_eq!(line.protocol.calls[calls..calls + 2], ["resume", "drain"]);
}

#[test]
fn an_answer_comes_in_pieces() {
    let mut line = start();
    line.protocol.resumes =
        vec![(b"1", Next::Continue), (b"2", Next::Continue), (b"3", Next::Receive)];
    line.send(b"cx");
    assert_eq!((line.received.as_slice(), line.account.writes), (&b"C123X"[..], 1));
}

#[test]
fn every_call_finds_room() {
    const PIECE: &[u8] = &[b'x'; 10_000];
    let mut line = start();
    line.protocol.resumes = vec![(PIECE, Next::Continue); 20];
    line.protocol.resumes.push((b"", Next::Idle));
    line.send(b"c");
    assert_eq!((line.received.len(), line.account.writes), (200_001, 4));
}

#[test]
fn the_drain_is_told_once_and_not_between_pieces() {
    let mut line = Loopback::with_window(Script::default(), 1);
    line.protocol.resumes = vec![(b"1", Next::Continue), (b"2", Next::Idle)];
    line.send(b"c");
    line.enter(Phase::Draining);
    line.take(100);
    line.enter(Phase::Draining);
    assert_eq!(line.received, b"C12<drain>");
    line.finish();
    assert_eq!(line.received, b"C12<drain><bye>");
}

#[test]
fn the_end_takes_the_rest_along() {
    let mut line = start();
    line.send(b"x?y");
    assert_eq!((line.held(), line.status()), (2, Some(Status::Held)));
    line.send_end();
    assert_eq!((line.received.as_slice(), line.end), (&b"X?y<end><bye>"[..], Some(End::Fin)));
}

#[test]
fn what_follows_the_finish_is_late() {
    let mut line = start();
    line.send(b"xfyz");
    assert_eq!((line.received.as_slice(), line.end), (&b"XF<bye>"[..], Some(End::Fin)));
    line.send(b"more");
    assert_eq!((line.account.served, line.account.late), (2, 6));
}

#[test]
fn an_abort_takes_back_what_its_call_put() {
    let mut line = start();
    line.send(b"xay");
    assert_eq!((line.received.as_slice(), line.end), (&b"X"[..], Some(End::Reset)));
    assert_eq!((line.account.produced, line.account.served), (1, 2));
}

#[test]
fn faults_cost_the_connection() {
    let mut line = start();
    line.send(b"x!y");
    assert_eq!(line.end, Some(End::Fault(Fault::Overdrawn)));
    assert_eq!(line.received, b"X");

    let mut line = start();
    line.send(b"?234567");
    assert_eq!(line.end, None);
    line.send(b"8");
    assert_eq!(line.end, Some(End::Fault(Fault::InputFull)));

    let mut line = start();
    line.protocol.resumes = vec![(b"", Next::Continue)];
    line.send(b"c");
    assert_eq!(line.end, Some(End::Fault(Fault::EmptyContinue)));
    assert_eq!(line.received, b"C");
}

#[test]
fn a_busy_one_may_be_full() {
    let mut line = start();
    line.send(b"=23456789");
    assert_eq!((line.end, line.held(), line.unread()), (None, 8, 1));
    let calls = line.protocol.calls.len();
    line.send(b"more");
    assert_eq!(line.protocol.calls.len(), calls, "nothing has changed");
    line.wake();
    assert_eq!(line.protocol.calls[calls..], ["resume", "input"]);
    assert_eq!((line.end, line.held(), line.unread()), (None, 8, 5));
}

#[test]
fn who_is_named_is_resumed_and_no_other() {
    let mut line = start();
    line.protocol.resumes = vec![(b"push", Next::Idle)];
    line.protocol.wakes = vec![ConnectionId::new(0, 2), ConnectionId::new(1, 1)];
    line.poll_resume();
    assert_eq!(line.received, b"");
    line.protocol.wakes = vec![ConnectionId::new(0, 1)];
    line.poll_resume();
    assert_eq!(line.received, b"push");
}

#[test]
fn half_a_request_is_told_from_none() {
    let mut line = start();
    line.send(b"r");
    assert_eq!(line.status(), Some(Status::Receiving));
    line.send(b"x");
    assert_eq!(line.status(), Some(Status::Idle));
}

#[test]
fn the_last_words_are_said_once_and_are_the_last() {
    let mut protocol = Script::default();
    let mut output = OutputBuffer::new(0);
    let context = Context::new(ConnectionId::new(0, 1), Phase::Running, Instant::now());
    let mut session = Session::new(&mut protocol, None, context);
    for _ in 0..2 {
        session.farewell(&mut protocol, &mut output, Output::MIN_ROOM, context);
    }
    session.on_input();
    session.wake();
    let room = Output::MIN_ROOM;
    let advance = session.advance(&mut protocol, b"x", &mut output, room, context);
    assert_eq!((output.bytes(), advance.consumed), (&b"<bye>"[..], 0));
    assert_eq!((advance.want, session.status(1)), (Want::Finish, Status::Idle));
}
