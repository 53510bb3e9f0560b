//! The echo as a protocol, discard and line.

use std::time::Duration;

use proptest::prelude::*;

use crate::engine::phase::Phase;
use crate::protocol::loopback::{End, Loopback};
use crate::protocol::session::Status;
use crate::protocol::{Discard, Input, Line, Protocol, Repeat};

/// What a peer gets that sends `input` in pieces and takes the output in pieces.
pub(super) fn answer<P: Protocol>(
    protocol: P,
    input: &[u8],
    pieces: &[usize],
    taken: usize,
) -> Loopback<P> {
    let mut line = Loopback::with_window(protocol, taken);
    let mut rest = input;
    for piece in pieces.iter().copied().cycle() {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at(piece.clamp(1, rest.len()));
        line.send(now);
        line.take(taken);
        rest = later;
    }
    while line.pending() > 0 || line.unread() > 0 && line.end.is_none() {
        line.take(taken.max(1));
    }
    line
}

#[test]
fn a_repeat_is_an_echo() {
    let input: Vec<u8> = (0..200_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let line = answer(Repeat, &input, &[70_000, 1], 33_333);
    assert_eq!(line.received, input);
    assert_eq!((line.account.requests, line.account.served), (0, input.len()));
}

#[test]
fn discard_takes_everything_and_says_nothing() {
    let mut line = answer(Discard, &[7; 200_000], &[70_000, 1], 10);
    assert_eq!((line.received.len(), line.account.served, line.held()), (0, 200_000, 0));
    line.send_end();
    assert_eq!(line.end, Some(End::Fin));
}

#[test]
fn lines_are_answered_with_themselves() {
    let mut line = Loopback::new(Line::new());
    line.send(b"one\ntwo\r\n\nthr");
    assert_eq!(line.received, b"one\ntwo\r\n\n");
    assert_eq!((line.account.requests, line.account.answered, line.account.writes), (3, 3, 1));
    assert_eq!((line.status(), line.held()), (Some(Status::Held), 3));
    line.send(b"ee\n");
    assert_eq!(line.received, b"one\ntwo\r\n\nthree\n");
    assert_eq!(line.status(), Some(Status::Idle));
    line.send(b"cut off");
    line.send_end();
    assert_eq!(line.end, Some(End::Fin));
    assert_eq!(line.account.late, 7);
}

#[test]
fn the_longest_line_is_answered_and_no_longer_one() {
    let mut longest = vec![b'x'; Input::MAX - 1];
    longest.push(b'\n');
    let line = answer(Line::new(), &longest, &[1000], 7000);
    assert_eq!(line.received, longest);
    assert_eq!((line.end, line.account.answered), (None, 1));

    longest.insert(0, b'x');
    let mut line = answer(Line::new(), &longest, &[1000], 7000);
    assert_eq!((line.received.len(), line.end), (0, Some(End::Fin)));
    assert_eq!((line.account.requests, line.account.late), (0, longest.len()));
    line.send(b"more\n");
    assert_eq!(line.received.len(), 0);
}

#[test]
fn a_line_before_one_that_is_too_long_is_answered() {
    let mut input = b"short\n".to_vec();
    input.extend([b'x'; Input::MAX]);
    let line = answer(Line::new(), &input, &[50_000], 3);
    assert_eq!((line.received.as_slice(), line.end), (&b"short\n"[..], Some(End::Fin)));
}

#[test]
fn many_short_lines_are_all_counted() {
    let input = b"\n".repeat(10_000);
    let line = answer(Line::new(), &input, &[10_000], usize::MAX);
    assert_eq!(line.received, input);
    assert_eq!((line.account.requests, line.account.answered), (10_000, 10_000));
    let line = answer(Line::new(), &input, &[10_000], 77);
    assert_eq!((line.account.requests, line.account.answered), (10_000, 10_000));
}

#[test]
fn delayed_lines_are_answered_one_after_the_other() {
    let delay = Duration::from_millis(10);
    let mut line = Loopback::new(Line::new().with_delay(delay));
    line.send(b"one\ntwo\n");
    line.send(b"three\n");
    line.enter(Phase::Draining);
    assert_eq!((line.status(), line.outstanding()), (Some(Status::Busy), Some(1)));
    // It waits, so nothing more is read.
    assert_eq!((line.received.len(), line.unread()), (0, 6));
    line.wake();
    line.pass(Duration::from_millis(9));
    assert_eq!(line.received.len(), 0, "a resume for another reason is not the time");
    line.pass(Duration::from_millis(1));
    assert_eq!(line.received, b"one\n");
    assert_eq!(line.deadline(), Some(line.context.now + delay));
    line.pass(delay);
    line.pass(delay);
    assert_eq!(line.received, b"one\ntwo\nthree\n");
    assert_eq!((line.status(), line.deadline()), (Some(Status::Idle), None));
}

#[test]
fn a_delay_without_end_is_no_overflow() {
    let mut line = Loopback::new(Line::new().with_delay(Duration::MAX));
    line.send(b"one\n");
    line.pass(Duration::from_secs(1 << 30));
    assert_eq!((line.received.len(), line.deadline(), line.end), (0, None, None));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn splitting_lines_anywhere_changes_nothing(
        input in prop::collection::vec(prop::sample::select(&b"ab\r\n"[..]), 0..300),
        repeat in 1_usize..400,
        pieces in prop::collection::vec(1_usize..3000, 1..20),
        taken in 1_usize..50_000,
    ) {
        let input = input.repeat(repeat);
        let whole = answer(Line::new(), &input, &[usize::MAX], usize::MAX);
        let split = answer(Line::new(), &input, &pieces, taken);
        let lines = input.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        prop_assert_eq!(&whole.received, &input[..lines]);
        prop_assert_eq!(&split.received, &whole.received);
        let count = input.iter().filter(|byte| **byte == b'\n').count() as u64;
        prop_assert_eq!(split.account.answered, count);
        prop_assert_eq!(split.account.requests, whole.account.requests);
    }
}
