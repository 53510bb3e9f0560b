//! Single scenes in the life of an engine.

use std::time::Duration;

use super::script::{Answer, OPENED};
use super::stage::{READ_BUFFER, Stage};
use crate::config::Config;
use crate::engine::phase::Phase;
use crate::token::Readiness;

#[test]
fn an_instant_of_the_past_counts_as_the_latest() {
    let config = Config::new().shutdown_timeout(Duration::from_secs(10));
    let mut stage = Stage::<false>::new(&config);
    stage.enter_stuck();
    stage.end_turn(5_000);
    stage.stop(0);
    stage.end_turn(14_999);
    assert_eq!(stage.engine.phase(), Phase::Draining);
    stage.end_turn(15_000);
    assert_eq!(stage.engine.phase(), Phase::Forcing);
}

#[test]
fn a_turn_in_the_past_leaves_no_deadline_behind() {
    let config = Config::new().idle_grace(Duration::from_millis(10)).shutdown_timeout(None);
    let mut stage = Stage::<false>::new(&config);
    stage.enter_stuck();
    stage.stop(0);
    stage.end_turn(0);
    stage.engine.advance(stage.at(60));
    stage.end_turn(40);
    assert!(!stage.is_due(60), "patience is over, and that was seen");
}

#[test]
fn an_idle_timeout_far_below_the_grace_is_kept() {
    let config = Config::new().idle_timeout(Duration::from_millis(14));
    let mut stage = Stage::<false>::new(&config);
    let (talker, silent) = (stage.enter(0), stage.enter(0));
    stage.play(talker, &[Answer::Some(1)], &[]);
    stage.event(talker, Readiness::READABLE, 10);
    assert!(stage.is_due(16));
    stage.end_turn(16);
    assert!(stage.look(silent, |actor| actor.is_shut));
    assert!(!stage.look(talker, |actor| actor.is_shut));
}

#[test]
fn the_order_of_last_bytes_is_kept_by_spans() {
    let config = Config::new().idle_timeout(Duration::from_millis(512));
    let mut stage = Stage::<false>::new(&config);
    let (first, second) = (stage.enter(0), stage.enter(0));
    let front = |stage: &Stage<false>| {
        let lists = stage.engine.table.lists();
        lists.front(lists.aging())
    };
    for (slot, millis, oldest) in [(second, 2, first), (first, 14, first), (first, 16, second)] {
        stage.play(slot, &[Answer::Some(1)], &[]);
        stage.event(slot, Readiness::READABLE, millis);
        assert_eq!(front(&stage), Some(oldest), "{millis} ms");
    }
}

#[test]
fn a_reset_that_a_pipe_meets_is_no_end() {
    let mut stage = Stage::<true>::new(&Config::new());
    let slot = stage.enter(0);
    let reads = [Answer::All, Answer::All, Answer::All, Answer::Reset, Answer::Zero];
    stage.play(slot, &reads, &[]);
    stage.event(slot, Readiness::READABLE, 0);
    stage.end_turn(0);
    let counts = stage.engine.report().connections;
    assert_eq!((counts.reset_by_peer, counts.peer_closed), (1, 0));
}

#[test]
fn a_pause_ends_when_an_event_leaves_work() {
    let config = Config::new().max_held(READ_BUFFER + (16 << 10));
    let mut stage = Stage::<false>::new(&config);
    stage.enter_stuck();
    let (brief, paused) = (stage.enter(0), stage.enter(0));
    stage.play(brief, &[Answer::Some(1000)], &[Answer::Block]);
    stage.event(brief, Readiness::READABLE, 0);
    stage.event(paused, Readiness::READABLE, 0);
    assert!(stage.is_paused(paused));
    stage.event(brief, Readiness::WRITABLE, 0);
    stage.play(paused, &[Answer::All], &[Answer::NoBuffers]);
    stage.event(paused, Readiness::READABLE, 0);
    assert!(!stage.is_paused(paused) && stage.is_due(0));
    stage.end_turn(0);
    assert_eq!(stage.look(paused, |actor| actor.taken.len()), 16 << 10);
}

#[test]
fn all_pauses_end_once_there_is_just_room() {
    let config = Config::new().max_held(READ_BUFFER + (16 << 10));
    let mut stage = Stage::<false>::new(&config);
    stage.enter_stuck();
    let brief = stage.enter(0);
    let paused = [stage.enter(0), stage.enter(0)];
    stage.play(brief, &[Answer::Some(1)], &[Answer::Block]);
    stage.event(brief, Readiness::READABLE, 0);
    for slot in paused {
        stage.play(slot, &[Answer::Some(7)], &[]);
        stage.event(slot, Readiness::READABLE, 0);
        assert!(stage.is_paused(slot) && !stage.is_due(0));
    }
    stage.event(brief, Readiness::WRITABLE, 0);
    assert!(stage.is_due(0));
    stage.end_turn(0);
    for slot in paused {
        assert_eq!(stage.look(slot, |actor| actor.taken.len()), 7);
    }
    assert!(!stage.is_due(0));
}

#[test]
fn with_little_room_nothing_is_read() {
    let config = Config::new().max_held(READ_BUFFER + 3);
    let mut stage = Stage::<false>::new(&config);
    stage.enter_stuck();
    let slot = stage.enter(0);
    stage.play(slot, &[Answer::All; 9], &[]);
    stage.event(slot, Readiness::READABLE, 0);
    assert_eq!(stage.look(slot, |actor| actor.calls), 0);
    assert!(stage.is_paused(slot) && !stage.is_due(0));
}

#[test]
fn a_slot_lives_to_the_end_of_the_turn() {
    let mut stage = Stage::<false>::new(&Config::new());
    let slot = stage.enter(0);
    stage.play(slot, &[Answer::Zero], &[]);
    stage.event(slot, Readiness::READABLE | Readiness::CLOSED, 0);
    assert_eq!((stage.engine.report().connections.peer_closed, stage.engine.open()), (1, 1));
    let calls = stage.look(slot, |actor| actor.calls);
    stage.event(slot, Readiness::READABLE | Readiness::WRITABLE, 0);
    assert_eq!(stage.look(slot, |actor| actor.calls), calls, "a stale event");
    assert_ne!(stage.engine.vacant(), Some(slot));
    stage.end_turn(0);
    assert_eq!((stage.engine.open(), stage.engine.vacant()), (0, Some(slot)));
    assert!(!stage.engine.handle_ready(slot, Readiness::READABLE, stage.at(0)));
}

#[test]
fn one_call_moves_a_bounded_number_of_bytes_and_comes_again() {
    let mut stage = Stage::<false>::new(&Config::new());
    let slot = stage.enter(0);
    stage.play(slot, &[Answer::All; 9], &[]);
    stage.event(slot, Readiness::READABLE, 0);
    assert_eq!(stage.look(slot, |actor| actor.given), 256 << 10);
    assert!(stage.is_due(0));
    stage.end_turn(0);
    assert_eq!(stage.look(slot, |actor| actor.given), 512 << 10);
    stage.end_turn(0);
    assert_eq!(stage.look(slot, |actor| actor.given), 9 * READ_BUFFER);
    assert!(!stage.is_due(0));
}

#[test]
fn slots_reach_to_the_highest_that_is_taken() {
    let mut stage = Stage::<false>::new(&Config::new());
    assert_eq!(stage.engine.slots(), 0);
    let (low, _high) = (stage.enter(0), stage.enter(0));
    stage.play(low, &[Answer::Zero], &[]);
    stage.event(low, Readiness::READABLE | Readiness::CLOSED, 0);
    stage.end_turn(0);
    assert_eq!((stage.engine.open(), stage.engine.slots()), (1, 2));
}

#[test]
fn what_the_acceptor_reports_is_in_the_report() {
    let mut stage = Stage::<false>::new(&Config::new());
    stage.engine.report_mut().connections.backlog_left = Some(3);
    assert_eq!(stage.engine.report().connections.backlog_left, Some(3));
}

#[test]
fn memory_is_held_only_while_a_rest_is() {
    let mut stage = Stage::<false>::new(&Config::new());
    let slot = stage.enter(0);
    let holds = |stage: &Stage<false>| {
        !format!("{:?}", stage.engine.table.get(slot).unwrap()).contains("held: None")
    };
    assert!(!holds(&stage));
    stage.play(slot, &[Answer::Some(9)], &[Answer::Some(2), Answer::Some(3)]);
    stage.event(slot, Readiness::READABLE, 0);
    assert!(holds(&stage));
    stage.event(slot, Readiness::WRITABLE, 0);
    assert!(holds(&stage));
    stage.event(slot, Readiness::WRITABLE, 0);
    assert!(!holds(&stage));
}

/// Two full reads make a stream; what follows goes through a pipe.
const STREAM: [Answer; 3] = [Answer::All, Answer::All, Answer::Some(100_000)];

#[test]
fn a_pipe_serves_one_stream_after_the_other() {
    let mut stage = Stage::<true>::new(&Config::new());
    OPENED.set(0);
    for _ in 0..3 {
        let slot = stage.enter(0);
        stage.play(slot, &STREAM, &[Answer::All, Answer::All, Answer::Some(7)]);
        stage.event(slot, Readiness::READABLE, 0);
        stage.end_turn(0);
        stage.play(slot, &[Answer::Zero, Answer::Zero], &[]);
        stage.event(slot, Readiness::READABLE | Readiness::WRITABLE, 0);
        stage.end_turn(0);
        assert_eq!((stage.engine.open(), OPENED.get()), (0, 1));
    }
    let bytes = stage.engine.report().bytes;
    assert_eq!(bytes.read, bytes.written);
}

#[test]
fn some_pipes_are_kept_for_the_next_streams() {
    let mut stage = Stage::<true>::new(&Config::new());
    OPENED.set(0);
    let slots: Vec<u32> = (0..6).map(|_| stage.enter(0)).collect();
    let first = (6, &STREAM[..], &[Answer::All, Answer::All, Answer::Block][..]);
    // They are streams still.
    let second = (8, &STREAM[2..], &[Answer::Block][..]);
    for (opened, reads, writes) in [first, second] {
        for slot in &slots {
            stage.play(*slot, reads, writes);
            stage.event(*slot, Readiness::READABLE, 0);
        }
        assert_eq!(OPENED.get(), opened);
        for slot in &slots {
            stage.event(*slot, Readiness::WRITABLE, 0);
        }
    }
}

#[test]
fn a_stream_that_becomes_a_trickle_is_copied_again() {
    let mut stage = Stage::<true>::new(&Config::new());
    let slot = stage.enter(0);
    stage.play(slot, &[Answer::All; 2], &[]);
    stage.event(slot, Readiness::READABLE, 0);
    let mut piped = |count: usize| {
        let before = stage.look(slot, |actor| actor.fills);
        // The pipe, its next try, and the read that finds the queue dry.
        stage.play(slot, &[Answer::Some(count), Answer::Block, Answer::Block], &[]);
        stage.event(slot, Readiness::READABLE, 0);
        stage.look(slot, |actor| actor.fills) > before
    };
    for _ in 0..20 {
        assert!(piped(16 << 10), "enough to count as a stream");
    }
    let calls: Vec<bool> = (0..20).map(|_| piped((16 << 10) - 1)).collect();
    assert!(calls.is_sorted_by(|earlier, later| earlier >= later), "{calls:?}");
    assert!(calls[0] && !calls[8], "{calls:?}");
}

#[test]
fn there_are_no_more_pipes_than_the_table_is_worth() {
    let mut stage = Stage::<true>::new(&Config::new());
    stage.engine.reserve(32);
    OPENED.set(0);
    let slots: Vec<u32> = (0..5).map(|_| stage.enter(0)).collect();
    for slot in &slots {
        stage.play(*slot, &STREAM, &[Answer::All, Answer::All, Answer::Block]);
        stage.event(*slot, Readiness::READABLE, 0);
    }
    assert_eq!(OPENED.get(), 2);
}

#[test]
fn a_pipe_that_was_cut_off_full_serves_nobody_else() {
    let mut stage = Stage::<true>::new(&Config::new());
    for end in [Answer::Reset, Answer::Lost] {
        let slot = stage.enter(0);
        stage.play(slot, &STREAM, &[Answer::All, Answer::All, Answer::Some(9), end]);
        stage.event(slot, Readiness::READABLE, 0);
        stage.event(slot, Readiness::WRITABLE, 0);
        stage.end_turn(0);
        assert_eq!(stage.engine.open(), 0);
    }
    let bytes = stage.engine.report().bytes;
    assert_eq!(bytes.peer_aborted, 2 * (100_000 - 9));
    let slot = stage.enter(0);
    stage.play(slot, &STREAM, &[]);
    stage.event(slot, Readiness::READABLE, 0);
    assert_eq!(stage.look(slot, |actor| actor.taken.len()), 2 * READ_BUFFER + 100_000);
    assert!(stage.look(slot, |actor| actor.is_echo()));
}
