//! The bounds of one turn.

use std::time::Duration;

use super::script::Answer;
use super::stage::Stage;
use crate::config::{Config, Drain};
use crate::engine::phase::Cause;
use crate::token::Readiness;

/// In connections.
const SLICE: usize = 256;
const READY_SLICE: usize = 1024;

#[test]
fn a_drain_visits_a_slice_in_a_turn() {
    let mut stage = Stage::<false>::new(&Config::new().drain(Drain::Peer));
    let slots: Vec<u32> = (0..600).map(|_| stage.enter(0)).collect();
    stage.stop(0);
    for visited in [SLICE, 2 * SLICE, 600] {
        assert!(stage.is_due(0));
        stage.end_turn(0);
        let calls = slots.iter().map(|slot| stage.look(*slot, |actor| actor.calls));
        assert_eq!(calls.sum::<usize>(), visited);
    }
    assert!(!stage.is_due(0));
}

#[test]
fn force_serves_and_ends_a_slice_in_a_turn() {
    let mut stage = Stage::<false>::new(&Config::new());
    let slots: Vec<u32> = (0..600).map(|_| stage.enter(0)).collect();
    stage.engine.force(Cause::Requested, stage.at(100));
    let mut calls = 0;
    while stage.engine.open() > 0 {
        assert!(stage.is_due(100));
        stage.end_turn(100);
        let sum: usize = slots.iter().map(|slot| stage.look(*slot, |actor| actor.calls)).sum();
        // Two reads for each that is served or ended.
        assert!((1..=2 * SLICE).contains(&(sum - calls)), "{} calls", sum - calls);
        calls = sum;
        if slots.iter().all(|slot| stage.look(*slot, |actor| actor.is_shut)) {
            return;
        }
    }
}

#[test]
fn an_event_while_forcing_is_served() {
    let mut stage = Stage::<false>::new(&Config::new());
    let (slot, other) = (stage.enter(0), stage.enter(0));
    stage.engine.force(Cause::Requested, stage.at(0));
    stage.play(slot, &[Answer::Some(5)], &[]);
    stage.event(slot, Readiness::READABLE, 0);
    assert_eq!(stage.look(slot, |actor| actor.taken.len()), 5);
    assert_eq!(stage.look(other, |actor| actor.calls), 0);
}

#[test]
fn deadlines_close_a_slice_in_a_turn() {
    let config = Config::new()
        .idle_timeout(Duration::from_millis(50))
        .linger(Duration::from_millis(50))
        .shutdown_timeout(None);
    let mut stage = Stage::<false>::new(&config);
    let slots: Vec<u32> = (0..600).map(|_| stage.enter(0)).collect();
    for shut in [SLICE, 2 * SLICE, 600] {
        assert!(stage.is_due(100));
        stage.end_turn(100);
        let done = slots.iter().filter(|slot| stage.look(**slot, |actor| actor.is_shut));
        assert_eq!(done.count(), shut);
    }
    for left in [600 - SLICE, 600 - 2 * SLICE, 0] {
        assert!(stage.is_due(160));
        stage.end_turn(160);
        assert_eq!(stage.engine.open(), left);
    }
}

#[test]
fn the_ready_are_pumped_a_slice_in_a_turn() {
    let mut stage = Stage::<false>::new(&Config::new());
    let slots: Vec<u32> = (0..1100).map(|_| stage.enter(0)).collect();
    for slot in &slots {
        stage.play(*slot, &[Answer::NoBuffers], &[]);
        stage.event(*slot, Readiness::READABLE, 0);
    }
    for pumped in [READY_SLICE, 1100] {
        assert!(stage.is_due(0));
        stage.end_turn(0);
        let calls = slots.iter().map(|slot| stage.look(*slot, |actor| actor.calls - 1));
        assert_eq!(calls.sum::<usize>(), pumped);
    }
    assert!(!stage.is_due(0));
}

#[test]
fn an_idle_connection_is_read_once_by_a_stop_when_its_quiet_time_has_passed() {
    let mut stage = Stage::<false>::new(&Config::new());
    let slot = stage.enter(0);
    stage.event(slot, Readiness::READABLE, 0);
    let calls = |stage: &mut Stage<false>| stage.look(slot, |actor| (actor.calls, actor.is_shut));
    assert_eq!(calls(&mut stage), (1, false), "the read that found the queue dry");
    stage.stop(1_000);
    for millis in 1_000..1_010 {
        stage.end_turn(millis);
        assert_eq!(calls(&mut stage), (1, false), "at {millis} ms");
    }
    stage.end_turn(1_011);
    assert_eq!(calls(&mut stage), (2, true));
    // Our FIN is an edge of the poll's.
    stage.event(slot, Readiness::WRITABLE, 1_012);
    assert_eq!(calls(&mut stage), (2, true));
}
