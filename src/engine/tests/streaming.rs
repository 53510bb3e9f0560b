//! Which connections stream, and what a pipe cannot tell of the queue.

use super::script::Answer;
use super::stage::Stage;
use crate::config::Config;
use crate::token::Readiness;

/// The largest packet of the loopback.
const PACKET: Answer = Answer::Some(65_483);

/// A connection that streams.
fn streaming() -> (Stage<true>, u32) {
    let mut stage = Stage::<true>::new(&Config::new());
    let slot = stage.enter(0);
    stage.play(slot, &[PACKET], &[]);
    stage.event(slot, Readiness::READABLE, 0);
    stage.play(slot, &[PACKET], &[]);
    stage.event(slot, Readiness::READABLE, 0);
    assert_eq!(stage.look(slot, |actor| actor.fills), 0);
    (stage, slot)
}

#[test]
fn a_packet_at_a_time_is_a_stream_and_stays_one_beside_short_rests() {
    let (mut stage, slot) = streaming();
    // A write of 128 KiB comes in two packets of full size and a rest.
    for (place, packet) in [PACKET, PACKET, Answer::Some(106)].iter().cycle().take(60).enumerate() {
        let (calls, fills) = stage.look(slot, |actor| (actor.calls, actor.fills));
        stage.play(slot, &[*packet], &[]);
        stage.event(slot, Readiness::READABLE, 0);
        let after = stage.look(slot, |actor| (actor.calls, actor.fills));
        assert_eq!(after, (calls + 3, fills + 1), "{place}: a fill, a drain and a peek");
    }
}

#[test]
fn messages_of_less_than_a_packet_are_copied() {
    for size in [16 << 10, 40_000, (60 << 10) - 1] {
        let mut stage = Stage::<true>::new(&Config::new());
        let slot = stage.enter(0);
        for _ in 0..50 {
            let calls = stage.look(slot, |actor| actor.calls);
            stage.play(slot, &[Answer::Some(size)], &[]);
            stage.event(slot, Readiness::READABLE, 0);
            let after = stage.look(slot, |actor| (actor.calls, actor.fills));
            assert_eq!(after, (calls + 2, 0), "{size}: a read and a write");
        }
    }
}

#[test]
fn bytes_that_a_pipe_does_not_take_are_read() {
    let (mut stage, slot) = streaming();
    let before = stage.look(slot, |actor| actor.taken.len());
    // As at the mark of urgent data: fills give nothing, with bytes in the queue.
    let reads = [Answer::Some(7), Answer::Block, Answer::Block, Answer::Some(5), Answer::Block];
    stage.play(slot, &reads, &[]);
    let queued = [Answer::Some(1), Answer::Some(1), Answer::Some(1), Answer::Block];
    stage.look(slot, |actor| actor.script.peeks = queued.into());
    stage.event(slot, Readiness::READABLE, 0);
    assert_eq!(stage.look(slot, |actor| actor.taken.len()), before + 12);
    assert!(stage.look(slot, |actor| actor.is_echo()));
}

#[test]
fn bytes_that_come_while_the_pipe_is_emptied_go_through_it_too() {
    let (mut stage, slot) = streaming();
    let before = stage.look(slot, |actor| actor.fills);
    stage.play(slot, &[PACKET; 3], &[]);
    stage.event(slot, Readiness::READABLE, 0);
    assert_eq!(stage.look(slot, |actor| actor.fills), before + 3);
    assert_eq!(stage.look(slot, |actor| actor.taken.len()), 5 * 65_483);
}

#[test]
fn an_error_that_only_the_peek_is_told_of_closes_the_connection() {
    for error in [Answer::Reset, Answer::Lost] {
        for first in [PACKET, Answer::Block] {
            let (mut stage, slot) = streaming();
            // A read after it would give an orderly end.
            stage.play(slot, &[first, Answer::Zero], &[]);
            stage.look(slot, |actor| actor.script.peeks = [error].into());
            stage.event(slot, Readiness::READABLE, 0);
            stage.end_turn(0);
            let counts = stage.engine.report().connections;
            let is_reset = error == Answer::Reset;
            assert_eq!(counts.reset_by_peer, u64::from(is_reset), "{counts:?}");
            assert_eq!(counts.io_error, u64::from(!is_reset), "{counts:?}");
        }
    }
}

#[test]
fn an_end_behind_the_bytes_of_a_stream_is_read() {
    let (mut stage, slot) = streaming();
    stage.play(slot, &[PACKET, Answer::Zero], &[]);
    stage.event(slot, Readiness::READABLE | Readiness::CLOSED, 0);
    stage.end_turn(0);
    assert_eq!(stage.engine.open(), 0);
    let report = stage.engine.report();
    assert_eq!(report.connections.peer_closed, 1);
    assert_eq!(report.bytes.written, 3 * 65_483);
}
