//! Protocols that decide by dice, before peers that do.

use std::time::Duration;

use proptest::prelude::*;

use crate::engine::phase::Phase;
use crate::protocol::adversary::{Adversary, Dice, Manners, text};
use crate::protocol::loopback::{End, Loopback};
use crate::protocol::session::Status;

/// Things that happen to one connection.
const EVENTS: usize = 60;

fn live(seed: u64, manners: Manners) {
    let mut dice = Dice::new(!seed);
    let window = if dice.one_in(2) { usize::MAX } else { dice.below(100_000) };
    let mut line = Loopback::with_window(Adversary::new(seed, manners), window);
    let most = if dice.one_in(2) { 64 << 10 } else { 100 };
    line.read = 1 + dice.below(most);
    let mut sent: usize = 0;
    let mut has_ended = false;
    let mut seen: usize = 0;
    for _ in 0..EVENTS {
        match dice.below(10) {
            0..=3 if !has_ended => {
                let most = if dice.one_in(8) { 200_000 } else { 2_000 };
                let bytes: Vec<u8> = (sent..sent + dice.below(most)).map(text).collect();
                sent += bytes.len();
                line.send(&bytes);
            }
            4 | 5 => line.take(dice.below(100_000)),
            6 => line.pass(Duration::from_millis(dice.below(100) as u64)),
            7 => line.poll_resume(),
            8 if dice.one_in(4) => {
                has_ended = true;
                line.send_end();
            }
            9 if dice.one_in(8) => line.enter(Phase::Draining),
            _ => line.wake(),
        }
        seen = check(&line, sent, seen);
    }
    let idle = line.status() == Some(Status::Idle) && line.pending() == 0;
    if idle && line.end.is_none() {
        line.finish();
    }
    check(&line, sent, seen);
}

/// Checks what must hold at any time. `seen` bytes were received at the last check; returns how
/// many now are.
fn check(line: &Loopback<Adversary>, sent: usize, seen: usize) -> usize {
    let account = line.account;
    assert_eq!(sent, account.served + account.late + line.held() + line.unread());
    assert_eq!(account.produced, line.received.len() + line.pending());
    let received = line.received.iter().enumerate().skip(seen);
    assert!(received.fold(true, |holds, (place, byte)| holds & (*byte == text(place))));
    assert!(account.most_held <= 64 << 10 && account.most_pending <= 64 << 10);
    let Some((_, record, _)) = line.protocol.closed.first() else {
        assert!(line.end.is_none());
        return line.received.len();
    };
    assert_eq!((line.protocol.closed.len(), line.protocol.opened), (1, 1));
    assert_eq!(record.produced, account.produced);
    assert_eq!(record.is_at_fault, matches!(line.end, Some(End::Fault(_))));
    assert_eq!(record.has_aborted, line.end == Some(End::Reset));
    assert_eq!(record.said_farewell, line.end == Some(End::Fin));
    if line.end == Some(End::Fin) {
        assert_eq!(record.consumed, account.served);
        assert!(account.requests >= record.begun && account.requests >= record.ended);
        assert!(account.requests <= record.begun + record.ended);
        let all_written = line.pending() == 0;
        assert!(!all_written || account.answered == record.ended);
    }
    line.received.len()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_lawful_protocol_is_called_as_it_was_promised(seed: u64) {
        live(seed, Manners::Lawful);
    }

    #[test]
    fn a_lawless_protocol_harms_its_own_connection_alone(seed: u64) {
        live(seed, Manners::Lawless);
    }
}
