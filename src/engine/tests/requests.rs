//! Protocols in the production engine, on streams in memory.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::tube::Scene;
use crate::config::Config;
use crate::engine::phase::Phase;
use crate::engine::report::{CloseReason, RequestCounts};
use crate::protocol::adversary::{Adversary, Dice, Manners, text};
use crate::protocol::{ConnectionId, Context, Input, Line, Next, Output, Protocol, Repeat};
use crate::token::Readiness;

/// Each byte is answered after a time, at length; the calls are counted.
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

/// One thing that a peer, or the host, may do.
fn act(scene: &mut Scene<Adversary>, dice: &mut Dice, sent: &mut [usize; 64]) {
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
        act(&mut scene, &mut dice, &mut sent);
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
