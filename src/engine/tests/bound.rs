//! What one call of the engine does at most, and how often a protocol is called.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::tube::Scene;
use crate::config::{Config, Drain};
use crate::protocol::{ConnectionId, Context, Discard, Input, Line, Next, Output, Protocol};

/// Bytes that one connection may move in a call: its budget, and what a batch may put behind it.
const MOST: usize = (256 << 10) + (80 << 10);

/// Each byte is answered with a mebibyte, `w` not before the connection is named. It names
/// connections as it is told to.
#[derive(Debug, Default)]
struct Amplifier {
    named: VecDeque<ConnectionId>,
    /// Named as often as it is asked.
    always: Option<ConnectionId>,
    resumed: usize,
}

impl Amplifier {
    fn say(left: &mut usize, output: &mut Output<'_>) -> Next {
        *left -= output.put_some(&vec![b'x'; *left]);
        if *left == 0 { Next::Idle } else { Next::Continue }
    }
}

impl Protocol for Amplifier {
    type State = usize;

    fn open(&mut self, _: Option<SocketAddr>, _: Context) -> usize {
        0
    }

    fn input(
        &mut self,
        left: &mut usize,
        input: &mut Input<'_>,
        output: &mut Output<'_>,
        _: Context,
    ) -> Next {
        let waits = input.bytes().starts_with(b"w");
        input.consume(1);
        *left = 1 << 20;
        if waits {
            return Next::Wait;
        }
        Self::say(left, output)
    }

    fn resume(&mut self, left: &mut usize, output: &mut Output<'_>, _: Context) -> Next {
        self.resumed += 1;
        Self::say(left, output)
    }

    fn poll_resume(&mut self, _: Instant) -> Option<ConnectionId> {
        self.named.pop_front().or(self.always)
    }
}

fn id(scene: &Scene<Amplifier>, at: u32) -> ConnectionId {
    ConnectionId::new(at, scene.engine.table.get(at).unwrap().number().into())
}

#[test]
fn a_short_request_with_a_long_answer_does_not_own_the_turn() {
    let mut scene = Scene::new(Amplifier::default());
    let peer = scene.enter(1 << 30);
    scene.send(peer, b"abc");
    let mut before = 0;
    for _ in 0..20 {
        let received = scene.tube(peer).unwrap().received.len();
        assert!(received - before <= MOST, "{} bytes at once", received - before);
        before = received;
        scene.pass(0);
    }
    assert_eq!(before, 3 << 20);
}

#[test]
fn a_long_request_without_an_answer_does_not_own_the_turn() {
    let mut scene = Scene::new(Discard);
    let peer = scene.enter(0);
    scene.send(peer, &vec![0; 2 << 20]);
    let mut before = 2 << 20;
    for _ in 0..20 {
        let left = scene.tube(peer).unwrap().queue.len();
        assert!(before - left <= MOST, "{} bytes at once", before - left);
        before = left;
        scene.pass(0);
    }
    assert_eq!(before, 0);
}

#[test]
fn a_connection_that_is_named_often_is_resumed_once_a_turn() {
    let mut scene = Scene::new(Amplifier::default());
    let (often, once) = (scene.enter(1 << 20), scene.enter(1 << 20));
    let ids = [id(&scene, often), id(&scene, once)];
    let gone = ConnectionId::new(ids[0].slot(), ids[0].number() + 7);
    let names = std::iter::repeat_n(ids[0], 300).chain([gone, ids[1]]);
    scene.engine.protocol_mut().named.extend(names);
    scene.pass(0);
    assert_eq!(scene.engine.protocol().resumed, 1);
    let now = scene.instant();
    assert!(scene.engine.next_deadline() <= Some(now), "there are more names");
    scene.pass(0);
    assert_eq!(scene.engine.protocol().resumed, 3);
    assert!(scene.engine.next_deadline().is_none(), "an idle server rests");
}

#[test]
fn names_that_are_left_at_the_end_keep_nobody_awake() {
    let mut scene = Scene::new(Amplifier::default());
    let peer = scene.enter(1 << 20);
    let name = id(&scene, peer);
    scene.engine.protocol_mut().always = Some(name);
    scene.stop();
    (0..60).for_each(|_| scene.pass(10));
    assert!(scene.tube(peer).unwrap().is_shut, "to be named is no sign of life");
    scene.send_end(peer);
    scene.pass(1);
    scene.pass(1);
    assert!(scene.engine.next_deadline().is_none());
    let now = scene.instant();
    assert!(!scene.engine.resume(name, now));
}

#[test]
fn one_that_was_not_read_from_gets_the_longer_round() {
    let config = Config::new().drain(Drain::Flush);
    let mut scene = Scene::with(Line::new().with_delay(Duration::from_millis(400)), &config);
    let peer = scene.enter(1 << 20);
    scene.send(peer, b"one\n");
    scene.stop();
    scene.sleep(401);
    assert_eq!(scene.received(peer), "one\n");
    // Its kernel may have been kept from sending, and wait for a timer.
    scene.sleep(240);
    assert!(!scene.tube(peer).unwrap().is_shut);
    scene.sleep(20);
    assert!(scene.tube(peer).unwrap().is_shut);
}

#[test]
fn long_answers_share_what_may_be_held() {
    let config = Config::new().max_held(64 << 10);
    let mut scene = Scene::with(Amplifier::default(), &config);
    let peers: Vec<u32> = (0..20).map(|_| scene.enter(0)).collect();
    peers.iter().for_each(|peer| scene.send(*peer, b"w"));
    let names: Vec<_> = peers.iter().map(|peer| id(&scene, *peer)).collect();
    scene.engine.protocol_mut().named.extend(names);
    let mut most = 0;
    for round in 0.. {
        most = most.max(scene.engine.report().bytes.held());
        let received = |scene: &mut Scene<_>, peer| scene.tube(peer).unwrap().received.len();
        if peers.iter().all(|peer| received(&mut scene, *peer) == 1 << 20) {
            break;
        }
        assert!(round < 10_000, "somebody waits for ever");
        peers.iter().for_each(|peer| scene.take(*peer, 50_000));
        scene.pass(1);
    }
    assert!(most <= (64 + 80) << 10, "{most} bytes held");
    assert!(scene.engine.next_deadline().is_none(), "an idle server rests");
}

#[test]
fn one_that_both_ends_have_ended_is_closed_at_once() {
    let mut scene = Scene::new(Line::new());
    let peer = scene.enter(1 << 20);
    scene.send(peer, b"one\ntw");
    scene.send_end(peer);
    assert_eq!(scene.received(peer), "one\n");
    scene.pass(0);
    assert!(scene.tube(peer).is_none(), "nothing is waited for");
    assert_eq!(scene.engine.report().connections.peer_closed, 1);
    assert_eq!(scene.engine.report().bytes.incomplete, 2);
    scene.check_account(true);
}

/// Ends a connection at an instant, unless the peer has said something by then.
#[derive(Debug)]
struct Impatient(Instant);

impl Protocol for Impatient {
    type State = bool;

    fn open(&mut self, _: Option<SocketAddr>, _: Context) -> bool {
        true
    }

    fn input(
        &mut self,
        waits: &mut bool,
        input: &mut Input<'_>,
        _: &mut Output<'_>,
        _: Context,
    ) -> Next {
        input.consume(input.len());
        *waits = false;
        Next::Idle
    }

    fn resume(&mut self, _: &mut bool, _: &mut Output<'_>, _: Context) -> Next {
        Next::Abort
    }

    fn deadline(&self, waits: &bool) -> Option<Instant> {
        waits.then_some(self.0)
    }
}

#[test]
fn what_came_before_a_deadline_is_delivered_before_it() {
    let mut scene = Scene::new(Impatient(Instant::now()));
    scene.engine.protocol_mut().0 = scene.start + Duration::from_millis(10);
    let (speaks, silent) = (scene.enter(1 << 20), scene.enter(1 << 20));
    scene.sleep(9);
    // It came, and its event was not told yet.
    scene.tube(speaks).unwrap().queue.push_back(b'a');
    scene.sleep(2);
    assert!(scene.tube(speaks).is_some() && scene.tube(silent).is_none());
    assert_eq!(scene.engine.report().connections.protocol_closed, 1);
    assert_eq!(scene.engine.report().bytes.served, 1);
    assert!(scene.engine.next_deadline().is_none(), "an idle server rests");
}

#[test]
fn one_that_is_resumed_in_a_stop_is_read_from_before_it_is_ended() {
    let mut scene = Scene::with(Line::new(), &Config::new().drain(Drain::Flush));
    let peer = scene.enter(1 << 20);
    let name = ConnectionId::new(peer, scene.engine.table.get(peer).unwrap().number().into());
    scene.stop();
    scene.sleep(45);
    assert!(!scene.tube(peer).unwrap().is_shut);
    // It was quiet for long enough by now, and what has come was not told yet.
    scene.now += 10;
    scene.tube(peer).unwrap().queue.extend(b"one\n");
    let now = scene.instant();
    assert!(scene.engine.resume(name, now));
    assert_eq!(scene.received(peer), "one\n");
    assert!(!scene.tube(peer).unwrap().is_shut);
}
