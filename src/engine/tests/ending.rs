//! How a stop, a linger time and an idle timeout end connections.

use std::time::Duration;

use super::script::{Actor, Answer, Script};
use super::stage::{READ_BUFFER, Stage};
use crate::config::{Config, Drain};
use crate::engine::quota::UNCOUNTED;
use crate::engine::report::CloseReason;
use crate::engine::status::{Status, Timing, Transport};
use crate::token::Readiness;

#[test]
fn a_paused_connection_is_heard_before_its_fin() {
    let config = Config::new().max_held(READ_BUFFER).idle_grace(Duration::ZERO);
    let mut stage = Stage::<false>::new(&config);
    let stuck = stage.enter_stuck();
    let paused = stage.enter(0);
    stage.play(paused, &[Answer::Some(5)], &[]);
    stage.event(paused, Readiness::READABLE, 0);
    stage.stop(0);
    stage.end_turn(1);
    assert!(!stage.look(paused, |actor| actor.is_shut));
    stage.play(stuck, &[], &[]);
    stage.event(stuck, Readiness::WRITABLE, 2);
    stage.end_turn(2);
    assert!(stage.look(paused, |actor| !actor.is_shut && actor.taken.len() == 5));
    // Reading was held back: there may be more to come.
    pass(&mut stage, 3..=251);
    assert!(!stage.look(paused, |actor| actor.is_shut));
    pass(&mut stage, 252..=254);
    assert!(stage.look(paused, |actor| actor.is_shut && actor.taken.len() == 5));
}

#[test]
fn a_linger_ends_with_a_last_look() {
    let config = Config::new().drain(Drain::Flush).linger(Duration::from_millis(10));
    let mut stage = Stage::<false>::new(&config);
    let slot = stage.enter(0);
    stage.stop(0);
    stage.end_turn(0);
    stage.end_turn(60);
    assert!(stage.look(slot, |actor| actor.is_shut));
    stage.play(slot, &[Answer::Some(5)], &[]);
    stage.end_turn(120);
    let report = stage.engine.report();
    assert_eq!((report.bytes.late, report.connections.drained), (5, 1));
}

#[test]
fn bytes_after_our_fin_do_not_prolong_the_linger() {
    let config = Config::new().drain(Drain::Flush).linger(Duration::from_millis(10));
    let mut stage = Stage::<false>::new(&config);
    let slot = stage.enter(0);
    stage.look(slot, |actor| actor.status = Some(Status::Alive(Transport::default())));
    stage.stop(0);
    stage.end_turn(0);
    stage.end_turn(60);
    // What is acknowledged is asked about once.
    stage.end_turn(111);
    for millis in 112..121 {
        stage.play(slot, &[Answer::Some(5)], &[]);
        stage.event(slot, Readiness::READABLE, millis);
        stage.end_turn(millis);
    }
    assert!(stage.is_due(122));
    stage.end_turn(122);
    assert_eq!(stage.engine.open(), 0);
    assert_eq!(stage.engine.report().unconfirmed, 0);
}

/// Ends the turns of so many milliseconds.
fn pass(stage: &mut Stage<false>, millis: std::ops::RangeInclusive<u64>) {
    for millis in millis {
        stage.end_turn(millis);
    }
}

fn alive(unacknowledged: u32) -> Option<Status> {
    Some(Status::Alive(Transport { unacknowledged, ..Transport::default() }))
}

#[test]
fn a_connection_is_kept_until_its_peer_has_everything() {
    let config = Config::new().linger(Duration::from_millis(10));
    let mut stage = Stage::<false>::new(&config);
    let slot = stage.enter(0);
    stage.look(slot, |actor| actor.status = alive(5));
    pass(&mut stage, 400..=400);
    stage.stop(400);
    pass(&mut stage, 400..=3_000);
    assert_eq!(stage.look(slot, |actor| (actor.is_shut, actor.is_reset)), (true, false));
    stage.look(slot, |actor| actor.status = alive(0));
    pass(&mut stage, 3_001..=3_300);
    assert_eq!((stage.engine.open(), stage.engine.report().unconfirmed), (0, 0));
}

#[test]
fn the_fin_of_a_peer_proves_nothing_about_our_bytes() {
    let mut stage = Stage::<false>::new(&Config::new());
    let slot = stage.enter(0);
    stage.stop(0);
    stage.play(slot, &[Answer::Some(5), Answer::Zero], &[]);
    stage.look(slot, |actor| actor.status = alive(5));
    stage.event(slot, Readiness::READABLE, 1);
    pass(&mut stage, 1..=4_000);
    assert_eq!((stage.engine.open(), stage.look(slot, |actor| actor.is_shut)), (1, true));
    stage.look(slot, |actor| actor.status = Some(Status::Acknowledged));
    pass(&mut stage, 4_001..=4_060);
    let report = stage.engine.report();
    assert_eq!((stage.engine.open(), report.connections.peer_closed), (0, 1));
    assert_eq!(report.unconfirmed, 0);
}

#[test]
fn what_a_forced_reset_destroys_is_unsent() {
    let config = Config::new().shutdown_timeout(Duration::from_secs(1)).drain(Drain::Peer);
    let mut stage = Stage::<false>::new(&config);
    let slot = stage.enter(0);
    stage.play(slot, &[Answer::Some(1_000)], &[]);
    stage.event(slot, Readiness::READABLE, 0);
    stage.look(slot, |actor| actor.status = alive(301));
    stage.stop(0);
    pass(&mut stage, 0..=1_000);
    assert_eq!(stage.engine.open(), 1);
    pass(&mut stage, 1_001..=1_245);
    let report = stage.engine.report();
    assert_eq!(report.connections.forced_lossy, 1);
    assert_eq!((report.bytes.written, report.bytes.unsent), (700, 300), "the FIN is no byte");
    assert_eq!(stage.engine.stats().written, 1_000);
}

#[test]
fn an_idle_peer_that_has_not_acknowledged_is_cut() {
    let config = Config::new().idle_timeout(Duration::from_secs(1));
    let mut stage = Stage::<false>::new(&config);
    let slot = stage.enter(0);
    stage.play(slot, &[Answer::Some(1_000)], &[]);
    stage.event(slot, Readiness::READABLE, 0);
    stage.look(slot, |actor| actor.status = alive(400));
    stage.end_turn(1_100);
    let report = stage.engine.report();
    assert_eq!((report.connections.idle_timeout, report.bytes.unsent), (1, 400));
}

#[test]
fn a_peer_that_the_network_lost_does_not_hold_the_stop() {
    let mut stage = Stage::<false>::new(&Config::new());
    let slot = stage.enter(0);
    stage.play(slot, &[Answer::Some(1_000)], &[]);
    stage.event(slot, Readiness::READABLE, 0);
    stage.look(slot, |actor| {
        let lost = Transport { unacknowledged: 1_001, repetitions: 3, ..Transport::default() };
        actor.status = Some(Status::Alive(lost));
    });
    stage.stop(0);
    pass(&mut stage, 0..=600);
    let report = stage.engine.report();
    assert_eq!((report.connections.io_error, report.bytes.peer_aborted), (1, 1_000));
    assert_eq!((report.bytes.written, report.unconfirmed), (0, 1));
}

#[test]
fn a_peer_that_acknowledges_or_is_held_on_this_host_is_not_lost() {
    let mut stage = Stage::<false>::new(&Config::new());
    let near = stage.engine.vacant().unwrap();
    let peer = Some("127.0.0.1:1".parse().unwrap());
    stage.engine.insert(Actor::new(Script::default()), peer, UNCOUNTED, stage.at(0)).unwrap();
    let far = stage.enter(0);
    let answered = Some(Timing::default());
    for (slot, timing, writes) in [(near, None, &[Answer::Block; 64][..]), (far, answered, &[])] {
        stage.play(slot, &[Answer::Some(1_000)], writes);
        stage.event(slot, Readiness::READABLE, 0);
        let repeated =
            Transport { unacknowledged: 1_001, repetitions: 9, is_repeating: true, timing };
        stage.look(slot, |actor| actor.status = Some(Status::Alive(repeated)));
    }
    stage.stop(0);
    pass(&mut stage, 0..=2_000);
    let report = stage.engine.report();
    assert_eq!((report.connections.io_error, report.bytes.peer_aborted), (0, 0));
    assert_eq!(stage.engine.stats().open, 2);
}

#[test]
fn who_talks_until_the_end_is_cut_and_who_was_silent_is_not() {
    let config = Config::new().shutdown_timeout(Duration::from_secs(1)).drain(Drain::Peer);
    let mut stage = Stage::<false>::new(&config);
    let (talker, silent) = (stage.enter(0), stage.enter(0));
    for slot in [talker, silent] {
        stage.look(slot, |actor| actor.status = alive(0));
    }
    stage.stop(0);
    for millis in (0..).take_while(|millis| *millis < 2_000) {
        if stage.engine.report().connections.forced_lossy > 0 {
            assert!((1_040..1_050).contains(&millis), "{millis}");
            break;
        }
        stage.play(talker, &[Answer::Some(5)], &[]);
        stage.event(talker, Readiness::READABLE, millis);
        stage.end_turn(millis);
    }
    let counts = stage.engine.report().connections;
    assert_eq!((counts.forced_clean, counts.forced_lossy), (1, 1));
}

#[test]
fn force_looks_before_it_cuts() {
    let config = Config::new().shutdown_timeout(Duration::from_secs(1));
    let mut stage = Stage::<false>::new(&config);
    let slot = stage.enter(0);
    stage.look(slot, |actor| actor.status = alive(0));
    stage.stop(0);
    // The process was frozen, and the client had sent something.
    stage.play(slot, &[Answer::Some(5)], &[]);
    pass(&mut stage, 20_000..=20_200);
    let report = stage.engine.report();
    assert_eq!((report.bytes.written, report.connections.forced_clean), (5, 1));
}

/// A connection with bytes of ours in the kernel, which will report that they are destroyed: only
/// once, and what comes after it looks like an orderly end.
fn enter_broken(stage: &mut Stage<false>, writes: &[Answer]) -> u32 {
    let slot = stage.enter(0);
    stage.play(slot, &[Answer::Some(1_000)], writes);
    stage.event(slot, Readiness::READABLE, 0);
    stage.play(slot, &[], &[Answer::Block; 64]);
    slot
}

#[track_caller]
fn check_broken(stage: &Stage<false>) {
    let report = stage.engine.report();
    assert_eq!((stage.engine.open(), report.connections.io_error), (0, 1));
    assert_eq!((report.bytes.written, report.bytes.unsent), (0, 1_000));
}

const BROKEN: Option<Status> = Some(Status::Broken(CloseReason::IoError));

#[test]
fn an_error_that_a_question_finds_ends_a_connection_that_takes_nothing() {
    let mut stage = Stage::<false>::new(&Config::new().user_timeout(Duration::from_secs(1)));
    let slot = enter_broken(&mut stage, &[Answer::Some(600), Answer::Block]);
    stage.stop(0);
    pass(&mut stage, 0..=400);
    stage.look(slot, |actor| actor.status = BROKEN);
    pass(&mut stage, 401..=1_100);
    check_broken(&stage);
}

#[test]
fn an_error_that_the_first_visit_finds_ends_the_connection() {
    let mut stage = Stage::<false>::new(&Config::new().user_timeout(Duration::from_secs(1)));
    let slot = enter_broken(&mut stage, &[]);
    stage.play(slot, &[Answer::Zero], &[]);
    stage.look(slot, |actor| {
        actor.is_far = true;
        actor.status = BROKEN;
    });
    stage.stop(0);
    stage.end_turn(0);
    check_broken(&stage);
}

#[test]
fn an_error_that_is_found_after_the_end_of_the_peer_has_destroyed_bytes() {
    let mut stage = Stage::<false>::new(&Config::new().user_timeout(Duration::from_secs(1)));
    let slot = enter_broken(&mut stage, &[]);
    stage.stop(0);
    stage.play(slot, &[Answer::Zero], &[]);
    stage.look(slot, |actor| actor.status = BROKEN);
    stage.event(slot, Readiness::READABLE, 1);
    stage.end_turn(1);
    check_broken(&stage);
}

#[test]
fn force_ends_who_has_ended_and_takes_its_bytes_slowly() {
    let config = Config::new().shutdown_timeout(Duration::from_secs(1)).drain(Drain::Peer);
    let mut stage = Stage::<false>::new(&config);
    let slot = stage.enter(0);
    stage.play(slot, &[Answer::Some(1_000)], &[]);
    stage.event(slot, Readiness::READABLE, 0);
    stage.look(slot, |actor| actor.status = alive(301));
    stage.stop(0);
    // However often it is read.
    stage.play(slot, &vec![Answer::Zero; 200_000], &[]);
    stage.event(slot, Readiness::READABLE, 1);
    pass(&mut stage, 1..=1_260);
    let report = stage.engine.report();
    assert_eq!((stage.engine.open(), report.connections.forced_lossy), (0, 1));
    assert_eq!((report.bytes.written, report.bytes.unsent), (700, 300));
}

#[test]
fn a_stop_that_was_kept_from_reading_waits_for_another_quiet_time() {
    let mut stage = Stage::<false>::new(&Config::new().shutdown_timeout(None));
    let slot = stage.enter(0);
    stage.stop(0);
    pass(&mut stage, 0..=100);
    // The process is frozen. Its peer had more to send than the receive queue takes.
    stage.play(slot, &[Answer::Some(5)], &[]);
    stage.event(slot, Readiness::READABLE, 60_000);
    assert!(!stage.look(slot, |actor| actor.is_shut));
    pass(&mut stage, 60_000..=60_199);
    assert!(!stage.look(slot, |actor| actor.is_shut));
    pass(&mut stage, 60_200..=60_205);
    assert!(stage.look(slot, |actor| actor.is_shut));
}

#[test]
fn what_comes_after_a_forced_fin_is_not_served_and_said_so() {
    let config = Config::new().shutdown_timeout(Duration::from_secs(1)).drain(Drain::Peer);
    let mut stage = Stage::<false>::new(&config);
    let slot = stage.enter(0);
    stage.look(slot, |actor| actor.status = alive(1));
    stage.stop(0);
    pass(&mut stage, 0..=1_003);
    assert!(stage.look(slot, |actor| actor.is_shut));
    stage.play(slot, &[Answer::Some(5)], &[]);
    stage.event(slot, Readiness::READABLE, 1_004);
    let report = stage.engine.report();
    assert_eq!((report.bytes.unsent, report.bytes.late), (5, 0));
    assert_eq!(report.connections.forced_lossy, 1);
}

#[test]
fn those_whose_peers_have_everything_make_room() {
    let mut stage = Stage::<false>::new(&Config::new());
    let slots = [stage.enter(0), stage.enter(0), stage.enter(0)];
    for slot in slots {
        stage.look(slot, |actor| actor.status = alive(0));
    }
    stage.look(slots[2], |actor| actor.status = alive(1));
    stage.end_turn(1_000);
    stage.stop(1_000);
    pass(&mut stage, 1_000..=1_100);
    assert_eq!(stage.engine.close_lingering(1), 1);
    assert_eq!(stage.engine.close_lingering(9), 1);
    assert_eq!(stage.engine.close_lingering(9), 0);
    stage.end_turn(1_100);
    assert_eq!((stage.engine.open(), stage.engine.report().unconfirmed), (1, 0));
}
