//! Protocols in the production engine, on streams in memory.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::config::Config;
use crate::engine::Engine;
use crate::engine::dialogue::Speaks;
use crate::engine::phase::{Cause, Phase};
use crate::engine::quota::UNCOUNTED;
use crate::engine::report::{CloseReason, RequestCounts};
use crate::engine::status::{Locality, Status, Transport};
use crate::engine::stream::Stream;
use crate::protocol::adversary::{Adversary, Dice, Manners, text};
use crate::protocol::{ConnectionId, Context, Input, Line, Next, Output, Protocol, Repeat};
use crate::token::Readiness;

/// A peer and its kernel.
#[derive(Debug, Default)]
struct Tube {
    queue: VecDeque<u8>,
    ended: bool,
    window: usize,
    received: Vec<u8>,
    is_full: bool,
    is_shut: bool,
    is_reset: bool,
    is_gone: bool,
    reads: usize,
    writes: usize,
}

impl Read for Tube {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reads += 1;
        if self.is_gone {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if self.queue.is_empty() && !self.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.queue.read(buffer)
    }
}

impl Write for Tube {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writes += 1;
        assert!(!self.is_shut, "a write after the FIN");
        if self.is_gone {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let count = bytes.len().min(self.window);
        self.is_full = count < bytes.len();
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.window -= count;
        self.received.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Tube {
    type Pipe = ();
    type Kernel = ();
    const HAS_PIPES: bool = false;

    fn open_pipe() -> io::Result<()> {
        Ok(())
    }

    fn fill(&mut self, (): &mut (), _: usize) -> io::Result<usize> {
        Ok(0)
    }

    fn drain(&mut self, (): &mut (), _: usize) -> io::Result<usize> {
        Ok(0)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        assert!(!self.is_shut, "two FINs");
        self.is_shut = true;
        Ok(())
    }

    fn reset_on_close(&mut self) {
        self.is_reset = true;
    }

    fn locality(&self) -> Locality {
        Locality::Host
    }

    fn status(&mut self, (): &mut ()) -> Status {
        Status::Alive(Transport::default())
    }

    fn quick_ack(&mut self) {}

    fn receive_buffer(&self) -> usize {
        64 << 10
    }

    fn send_buffer(&self) -> usize {
        64 << 10
    }
}

/// An engine whose time is counted in milliseconds.
struct Scene<P: Speaks> {
    engine: Engine<Tube, P>,
    start: Instant,
    now: u64,
}

impl<P: Speaks> Scene<P> {
    fn new(protocol: P) -> Self {
        Self::with(protocol, &Config::new())
    }

    fn with(protocol: P, config: &Config) -> Self {
        let mut engine = Engine::serving(protocol, config);
        engine.reserve(64);
        engine.report_mut().connections.backlog_left = Some(0);
        Self { engine, start: Instant::now(), now: 0 }
    }

    fn instant(&self) -> Instant {
        self.start + Duration::from_millis(self.now)
    }

    fn enter(&mut self, window: usize) -> u32 {
        let at = self.engine.vacant().unwrap();
        let now = self.instant();
        let tube = Tube { window, ..Tube::default() };
        self.engine.insert(tube, None, UNCOUNTED, now).unwrap();
        at
    }

    fn tube(&mut self, at: u32) -> Option<&mut Tube> {
        self.engine.table.get_mut(at).map(|connection| connection.stream_mut())
    }

    fn received(&mut self, at: u32) -> String {
        let tube = self.tube(at).unwrap();
        String::from_utf8_lossy(&tube.received).into_owned()
    }

    fn send(&mut self, at: u32, bytes: &[u8]) {
        let Some(tube) = self.tube(at) else { return };
        tube.queue.extend(bytes);
        let now = self.instant();
        self.engine.handle_ready(at, Readiness::READABLE, now);
    }

    fn send_end(&mut self, at: u32) {
        let Some(tube) = self.tube(at) else { return };
        tube.ended = true;
        let now = self.instant();
        self.engine.handle_ready(at, Readiness::READABLE | Readiness::CLOSED, now);
    }

    fn take(&mut self, at: u32, count: usize) {
        let Some(tube) = self.tube(at) else { return };
        tube.window = tube.window.saturating_add(count);
        let was_full = std::mem::replace(&mut tube.is_full, false);
        let now = self.instant();
        if was_full {
            self.engine.handle_ready(at, Readiness::WRITABLE, now);
        }
    }

    fn stop(&mut self) {
        let now = self.instant();
        self.engine.request(Cause::Requested, now);
    }

    /// Ends a turn so much later.
    fn pass(&mut self, millis: u64) {
        self.now += millis;
        let now = self.instant();
        self.engine.advance(now);
        self.engine.end_turn(now);
        self.engine.table.audit().unwrap();
        if self.engine.phase() >= Phase::Draining {
            self.engine.finish(now);
        }
    }

    /// Sleeps as a host does, until something happens to be due, for so long at most. Returns how
    /// often it woke.
    fn sleep(&mut self, millis: u64) -> usize {
        let end = self.now + millis;
        let mut turns = 0;
        while self.now < end {
            let due = self.engine.next_deadline().map(|due| due.duration_since(self.start));
            let due =
                due.map_or(end, |due| u64::try_from(due.as_nanos().div_ceil(1_000_000)).unwrap());
            let due = due.clamp(self.now, end);
            self.pass(due - self.now);
            turns += 1;
            assert!(turns < 20_000, "the engine does not rest");
            if self.engine.phase() == Phase::Finished {
                break;
            }
        }
        turns
    }

    /// Peers close after our FIN. Runs until the stop is over.
    fn finish(&mut self) {
        for _ in 0..10_000 {
            if self.engine.phase() == Phase::Finished {
                return;
            }
            for at in 0..64 {
                if self.tube(at).is_some_and(|tube| tube.is_shut && !tube.ended) {
                    self.send_end(at);
                }
            }
            self.sleep(5);
        }
        let open: Vec<_> = (0..64).filter_map(|at| self.engine.table.get(at)).collect();
        panic!("the stop does not end: {open:?} {:?}", self.engine.report());
    }

    fn requests(&self) -> RequestCounts {
        self.engine.report().requests.unwrap()
    }

    fn check_account(&self, is_over: bool) {
        let report = self.engine.report();
        let (bytes, requests) = (report.bytes, self.requests());
        let input = bytes.served + bytes.late + bytes.unserved + bytes.incomplete;
        let output = bytes.written + bytes.unsent + bytes.peer_aborted;
        let ends = requests.answered + requests.unanswered + requests.aborted;
        assert!(input <= bytes.read && output <= bytes.produced && ends <= requests.taken);
        assert_eq!(bytes.held(), bytes.read - input + bytes.produced - output);
        if is_over {
            assert_eq!((input, output, ends), (bytes.read, bytes.produced, requests.taken));
            assert_eq!(report.connections.accepted, report.connections.closed());
        }
    }
}

/// Answers each byte after a time with a long answer; counts its calls.
#[derive(Debug, Default)]
struct Slow {
    answer: usize,
    drained: usize,
    farewells: usize,
    reasons: Vec<CloseReason>,
    named: VecDeque<ConnectionId>,
}

#[derive(Debug, Default)]
struct SlowState {
    left: usize,
    waits: bool,
}

impl SlowState {
    fn next(&self) -> Next {
        match (self.waits, self.left) {
            (true, _) => Next::Wait,
            (false, 0) => Next::Idle,
            (false, _) => Next::Continue,
        }
    }
}

impl Protocol for Slow {
    type State = SlowState;

    fn open(&mut self, _: Option<std::net::SocketAddr>, _: Context) -> SlowState {
        SlowState::default()
    }

    fn greet(&mut self, _: &mut SlowState, output: &mut Output<'_>, _: Context) -> Next {
        assert!(output.put(b"hi "));
        Next::Idle
    }

    fn input(
        &mut self,
        state: &mut SlowState,
        input: &mut Input<'_>,
        output: &mut Output<'_>,
        _: Context,
    ) -> Next {
        input.consume(1);
        output.begin_request();
        (state.left, state.waits) = (self.answer, true);
        state.next()
    }

    fn resume(&mut self, state: &mut SlowState, output: &mut Output<'_>, _: Context) -> Next {
        state.waits = false;
        if state.left > 0 {
            state.left -= output.put_some(&vec![b'x'; state.left]);
            if state.left == 0 {
                output.end_answer();
            }
        }
        state.next()
    }

    fn poll_resume(&mut self, _: Instant) -> Option<ConnectionId> {
        self.named.pop_front()
    }

    fn drain(&mut self, _: &mut SlowState, output: &mut Output<'_>, _: Context) -> Option<Next> {
        self.drained += 1;
        assert!(output.put(b"[stopping]"));
        None
    }

    fn farewell(&mut self, _: &mut SlowState, output: &mut Output<'_>, _: Context) {
        self.farewells += 1;
        assert!(output.put(b"bye"));
    }

    fn close(&mut self, _: SlowState, _: ConnectionId, reason: CloseReason) {
        self.reasons.push(reason);
    }
}

#[test]
fn an_answer_at_an_instant_is_waited_for_by_a_stop() {
    let mut scene = Scene::new(Line::new().with_delay(Duration::from_millis(300)));
    let (asks, idle) = (scene.enter(1 << 20), scene.enter(1 << 20));
    scene.send(asks, b"one\ntwo\n");
    scene.stop();
    let turns = scene.sleep(299);
    assert!(turns < 40, "{turns} turns");
    assert_eq!(scene.received(asks), "");
    assert!(scene.tube(idle).is_none_or(|tube| tube.is_shut));
    scene.sleep(2);
    assert_eq!(scene.received(asks), "one\n");
    scene.finish();
    let expected = RequestCounts { taken: 2, answered: 2, ..RequestCounts::default() };
    assert_eq!(scene.requests(), expected);
    scene.check_account(true);
    assert_eq!(scene.engine.report().connections.forced_lossy, 0);
}

#[test]
fn a_request_that_outlives_the_budget_is_unanswered() {
    let config = Config::new().shutdown_timeout(Duration::from_secs(1));
    let mut scene = Scene::with(Line::new().with_delay(Duration::from_secs(60)), &config);
    let asks = scene.enter(1 << 20);
    scene.send(asks, b"one\ntwo\n");
    scene.stop();
    scene.finish();
    let requests = scene.requests();
    assert_eq!((requests.taken, requests.answered, requests.unanswered), (1, 0, 1));
    assert_eq!(scene.engine.report().bytes.unserved, 8);
    assert_eq!(scene.engine.report().connections.forced_lossy, 1);
    assert_eq!(scene.engine.report().exit_code(crate::Grade::Lossless), 3);
    scene.check_account(true);
}

#[test]
fn half_a_request_gets_the_patience_and_counts_as_incomplete() {
    let mut scene = Scene::new(Line::new());
    let (never, later) = (scene.enter(1 << 20), scene.enter(1 << 20));
    scene.send(never, b"whole\nhal");
    scene.send(later, b"ha");
    scene.stop();
    let turns = scene.sleep(900);
    assert!(turns < 40, "{turns} turns");
    assert!(!scene.tube(never).unwrap().is_shut && !scene.tube(later).unwrap().is_shut);
    scene.send(later, b"lf\n");
    assert_eq!(scene.received(later), "half\n");
    scene.finish();
    assert_eq!(scene.engine.report().bytes.incomplete, 3);
    assert_eq!(scene.requests().answered, 2);
    assert!(scene.now < 2_000, "{}", scene.now);
    scene.check_account(true);
}

#[test]
fn a_protocol_is_told_of_the_drain_and_says_farewell() {
    let mut scene = Scene::new(Slow { answer: 5, ..Slow::default() });
    let first = scene.enter(1 << 20);
    assert_eq!(scene.received(first), "hi ");
    scene.send(first, b"q");
    scene.stop();
    let second = scene.enter(1 << 20);
    scene.sleep(10);
    assert_eq!(scene.received(second), "hi [stopping]");
    scene.sleep(1_500);
    assert_eq!(scene.received(first), "hi [stopping]", "it waits");
    let generation = scene.engine.table.get(first).unwrap().number();
    let now = scene.instant();
    assert!(!scene.engine.resume(ConnectionId::new(first, generation + 1), now), "a stale id");
    assert!(scene.engine.resume(ConnectionId::new(first, generation), now));
    assert_eq!(scene.received(first), "hi [stopping]xxxxx");
    scene.sleep(300);
    assert_eq!(scene.received(first), "hi [stopping]xxxxxbye");
    scene.finish();
    let protocol = scene.engine.protocol();
    assert_eq!((protocol.drained, protocol.farewells), (2, 2));
    assert_eq!(protocol.reasons, [CloseReason::Drained; 2]);
    scene.check_account(true);
}

#[test]
fn last_words_that_do_not_fit_are_written_before_the_fin() {
    let mut scene = Scene::new(Slow::default());
    let slow = scene.enter(3);
    scene.stop();
    scene.sleep(600);
    assert_eq!(scene.received(slow), "hi ");
    scene.take(slow, 10);
    assert_eq!(scene.received(slow), "hi [stopping]");
    scene.sleep(500);
    assert!(!scene.tube(slow).unwrap().is_shut);
    scene.take(slow, 2);
    assert!(!scene.tube(slow).unwrap().is_shut);
    scene.take(slow, 1);
    assert_eq!(scene.received(slow), "hi [stopping]bye");
    assert!(scene.tube(slow).unwrap().is_shut);
    scene.finish();
    scene.check_account(true);
}

#[test]
fn a_long_answer_to_a_slow_reader_costs_one_buffer() {
    let mut scene = Scene::new(Slow { answer: 8 << 20, ..Slow::default() });
    let slow = scene.enter(1_000);
    scene.send(slow, b"qq");
    let generation = scene.engine.table.get(slow).unwrap().number();
    scene.engine.protocol_mut().named.push_back(ConnectionId::new(slow, generation));
    scene.pass(1);
    let mut most = 0;
    while scene.received(slow).len() < 3 + (8 << 20) {
        most = most.max(scene.engine.report().bytes.held());
        scene.take(slow, 100_000);
        scene.sleep(1);
    }
    assert!(most <= 64 << 10, "{most}");
    assert_eq!((scene.requests().taken, scene.requests().answered), (2, 1));
    assert!(scene.engine.next_deadline().is_none(), "an idle server rests");
    scene.check_account(false);
}

#[test]
fn a_request_and_its_answer_cost_two_calls_and_a_batch_one_write() {
    let mut scene = Scene::new(Line::new());
    let peer = scene.enter(1 << 20);
    for lines in [1, 1, 50] {
        let before = scene.tube(peer).map(|tube| (tube.reads, tube.writes)).unwrap();
        scene.send(peer, "line\n".repeat(lines).as_bytes());
        let after = scene.tube(peer).map(|tube| (tube.reads, tube.writes)).unwrap();
        assert_eq!((after.0 - before.0, after.1 - before.1), (1, 1));
    }
    assert_eq!(scene.requests().answered, 52);
}

#[test]
fn one_that_waits_for_us_is_not_idle() {
    let config = Config::new().idle_timeout(Duration::from_millis(100));
    let mut scene = Scene::with(Line::new().with_delay(Duration::from_millis(450)), &config);
    let (asks, idle) = (scene.enter(1 << 20), scene.enter(1 << 20));
    scene.send(asks, b"one\n");
    scene.sleep(460);
    assert_eq!(scene.received(asks), "one\n");
    assert!(scene.tube(idle).unwrap().is_shut);
    scene.sleep(300);
    assert!(scene.tube(asks).unwrap().is_shut);
}

#[test]
fn repeat_is_the_echo() {
    let mut scene = Scene::new(Repeat);
    let peer = scene.enter(100);
    let sent: Vec<u8> = (0..300_000).map(text).collect();
    scene.send(peer, &sent);
    while scene.tube(peer).unwrap().received.len() < sent.len() {
        scene.take(peer, 7_777);
        scene.sleep(1);
        assert!(scene.engine.report().bytes.held() <= 128 << 10);
    }
    assert_eq!(scene.tube(peer).unwrap().received, sent);
    scene.check_account(false);
}

fn live(seed: u64, manners: Manners) {
    let mut dice = Dice::new(seed);
    let budget = Duration::from_millis(dice.below(4_000) as u64 + 1);
    let mut config = Config::new().shutdown_timeout(budget);
    if dice.one_in(4) {
        config = config.max_held(64 << 10);
    }
    if dice.one_in(4) {
        config = config.idle_timeout(Duration::from_millis(50));
    }
    let mut scene = Scene::with(Adversary::new(seed, manners), &config);
    let mut sent = [0usize; 64];
    for _ in 0..3 {
        let window = if dice.one_in(2) { 1 << 30 } else { dice.below(100_000) };
        scene.enter(window);
    }
    let stop_at = dice.below(60);
    for step in 0..60 {
        if step == stop_at {
            scene.stop();
        }
        let at = u32::try_from(dice.below(4)).unwrap();
        match dice.below(12) {
            0..=3 if scene.tube(at).is_some_and(|tube| !tube.ended) => {
                let most = if dice.one_in(8) { 200_000 } else { 2_000 };
                let from = sent[at as usize];
                let bytes: Vec<u8> = (from..from + dice.below(most)).map(text).collect();
                sent[at as usize] += bytes.len();
                scene.send(at, &bytes);
            }
            4 | 5 => scene.take(at, dice.below(100_000)),
            6 if dice.one_in(4) => scene.send_end(at),
            7 if dice.one_in(8) => {
                if let Some(tube) = scene.tube(at) {
                    tube.is_gone = true;
                    let now = scene.instant();
                    let said = Readiness::READABLE | Readiness::ERROR | Readiness::CLOSED;
                    scene.engine.handle_ready(at, said, now);
                }
            }
            8 if dice.one_in(4) && scene.engine.phase() < Phase::Forcing => {
                let free = scene.engine.vacant().unwrap() as usize;
                sent[free] = 0;
                scene.enter(1 << 20);
            }
            9 => {
                if let Some(connection) = scene.engine.table.get(at) {
                    let id = ConnectionId::new(at, connection.number());
                    let now = scene.instant();
                    scene.engine.resume(id, now);
                }
            }
            _ => {
                scene.sleep(dice.below(60) as u64);
            }
        }
        for at in 0..4 {
            if let Some(tube) = scene.tube(at) {
                let fits = tube.received.iter().enumerate().all(|(at, byte)| *byte == text(at));
                assert!(fits, "slot {at}");
            }
        }
        scene.check_account(false);
    }
    if stop_at >= 60 {
        scene.stop();
    }
    scene.finish();
    scene.check_account(true);
    let protocol = scene.engine.protocol();
    assert_eq!(protocol.closed.len(), protocol.opened);
    let bytes = scene.engine.report().bytes;
    let produced: usize = protocol.closed.iter().map(|(_, record, _)| record.produced).sum();
    let consumed: usize = protocol.closed.iter().map(|(_, record, _)| record.consumed).sum();
    assert_eq!(bytes.produced, produced as u64);
    if manners == Manners::Lawful {
        assert_eq!(bytes.served, consumed as u64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_lawful_protocol_has_its_account_in_the_engine(seed: u64) {
        live(seed, Manners::Lawful);
    }

    #[test]
    fn a_lawless_protocol_is_survived_by_the_engine(seed: u64) {
        live(seed, Manners::Lawless);
    }
}
