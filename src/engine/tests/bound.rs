//! What one call of the engine does at most, and how often a protocol is called.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use super::tube::Scene;
use crate::protocol::{ConnectionId, Context, Discard, Input, Next, Output, Protocol};

/// Bytes that one connection may move in a call: its budget, and what a batch may put behind it.
const MOST: usize = (256 << 10) + (80 << 10);

/// Each byte is answered with a mebibyte; it names connections as it is told to.
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
        input.consume(1);
        *left = 1 << 20;
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
    ConnectionId::new(at, scene.engine.table.get(at).unwrap().number())
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
    let gone = ConnectionId::new(ids[0].slot(), ids[0].generation() + 7);
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
