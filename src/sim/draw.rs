//! The parts of a plan, drawn by chance.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::duplex::{LEAST_SEGMENT, Sizes, Vanishing};
use super::line::micros;
use super::link::{Link, RETRANSMISSION};
use super::peer::{Answer, Ending, Script};
use super::plan::{Act, Make, Manners, Scarcity};
use super::random::Random;
use crate::accept::pair::Visibility;
use crate::accept::queue::Ownership;
use crate::config::{Config, Drain};
use crate::engine::status::Locality;

fn millis(time: u64) -> Duration {
    Duration::from_millis(time)
}

pub(super) fn config(random: &mut Random, grace: u64, span: u64) -> Config {
    let span = span / 1000;
    let budget = match random.below(10) {
        0 => None,
        1 => Some(Duration::ZERO),
        2..5 => Some(millis(random.between(1, span + 1))),
        _ => Some(millis(20 * span + random.pick(&[0, 6_000, 30_000]))),
    };
    let lame_duck = match budget {
        Some(budget) if random.percent(30) => budget / random.pick(&[2, 4, 10]),
        None if random.percent(30) => millis(random.below(span + 1)),
        _ => Duration::ZERO,
    };
    let mut or_ages = |time: Duration| if random.one_in(50) { Duration::MAX } else { time };
    let (idle_grace, budget) = (or_ages(millis(grace)), budget.map(&mut or_ages));
    let linger = random.pick(&[0, 1, span / 2, span, 4 * span, 1000]);
    let idle_timeout = match random.below(20) {
        0..5 => Some(random.between(0, 2 * span)),
        5..8 => Some(random.between(300, 3_000)),
        _ => None,
    };
    Config {
        drain: random.pick(&[Drain::Idle, Drain::Flush, Drain::Peer]),
        idle_grace,
        linger: if random.one_in(50) { Duration::MAX } else { millis(linger) },
        idle_timeout: idle_timeout.map(millis),
        shutdown_timeout: budget,
        handshake_grace: millis(random.pick(&[0, 20, 100, 1_500, 1_500, 1_500])),
        user_timeout: random.percent(12).then(|| millis(random.pick(&[100, 300, 1_000, 3_000]))),
        lame_duck,
        max_per_ip: random.percent(20).then(|| random.between(1, 4) as usize),
        max_held: random.percent(25).then(|| (64 << 10) + random.size(256 << 10) as usize),
        ..Config::default()
    }
}

pub(super) fn doors(random: &mut Random, span: u64, asks: bool) -> Vec<Make> {
    let count = random.pick(&[1, 1, 1, 2, 3]);
    let door = |_| Make {
        ownership: if random.one_in(8) { Ownership::Shared } else { Ownership::Exclusive },
        has_gate: random.percent(80),
        dies: random
            .one_in(25)
            .then(|| (random.below(2 * span), random.pick(&[libc::EBADF, libc::EINVAL]))),
        visibility: match random.below(20) {
            0..3 => Visibility::NoHandshakes,
            _ if !asks => Visibility::Hidden,
            3 => Visibility::Cookies,
            4 => Visibility::Shared,
            5 => Visibility::Hidden,
            _ => Visibility::Shown,
        },
    };
    (0..count).map(door).collect()
}

pub(super) fn scarcity(random: &mut Random, span: u64, clients: u64) -> Scarcity {
    let droughts = if random.percent(15) { random.between(1, 3) } else { 0 };
    let drought = |_| {
        let from = random.below(2 * span);
        let errno = random.pick(&[libc::ENFILE, libc::ENOBUFS, libc::ENOMEM]);
        (from, from + random.size(span), errno)
    };
    Scarcity {
        droughts: (0..droughts).map(drought).collect(),
        descriptors: match random.below(5) {
            0 => random.between(1, clients) as usize,
            _ => usize::MAX,
        },
        failure_rate: random.pick(&[0, 0, 0, 3, 20]),
        register_rate: random.pick(&[0, 0, 0, 0, 0, 0, 3, 20]),
    }
}

/// The address of a client, which says whether it is on this host.
pub(super) fn home(number: u64, link: &Link) -> IpAddr {
    let net = if link.locality == Locality::Network { 10 } else { 127 };
    Ipv4Addr::new(net, 0, (number >> 8) as u8, number as u8).into()
}

/// How many SYN-ACKs a client does not hear; more than there are: a spoofed one.
pub(super) fn deafness(random: &mut Random, flooded: bool) -> usize {
    match random.below(40) {
        0 => 1,
        1 if flooded => 2,
        2..20 if flooded => usize::MAX,
        _ => 0,
    }
}

/// The way to a client; where the kernel cannot be asked no way is longer than what is waited for.
pub(super) fn link(random: &mut Random, is_unix: bool, far: u64, asks: bool) -> Link {
    if is_unix {
        let locality = Locality::Unix;
        return Link {
            locality,
            delay: 0,
            jitter: 0,
            segment: 1,
            losses: 0,
            gaps: 0,
            nodelay: true,
        };
    }
    let far = if asks { far } else { far.min(4_000) };
    let (nodelay, gaps) = (random.one_in(2), random.below(12) as u32);
    if far == 0 || random.one_in(4) {
        let segment = random.pick(&[1_448, 32_741, 65_483]);
        let losses = if asks && random.one_in(3) { random.below(4) as u32 } else { 0 };
        let (locality, delay, jitter) = (Locality::Host, random.between(1, 10), random.below(10));
        return Link { locality, delay, jitter, segment, losses, gaps, nodelay };
    }
    let round_trip = random.between(far / 4, far).max(200);
    let losses =
        if asks && round_trip * 5 < RETRANSMISSION / 4 { random.below(3) as u32 } else { 0 };
    Link {
        locality: Locality::Network,
        delay: round_trip / 2,
        jitter: if random.one_in(2) { random.below(round_trip / 8) } else { 0 },
        segment: random.pick(&[536, 1_220, 1_448]),
        losses,
        gaps,
        nodelay,
    }
}

/// Sizes of queues, for bulk not so small that it would take all day; behind a network no window
/// is smaller than two small segments.
pub(super) fn sizes(random: &mut Random, most: u64, bulk: bool, link: &Link) -> Sizes {
    let least = if bulk { most >> 12 } else { 1 };
    let network = link.locality == Locality::Network;
    let least_window = if network { 2 * LEAST_SEGMENT } else { 1 };
    let mut one = |bulk: bool| match random.below(3) {
        _ if bulk => most / random.between(1, 20),
        0 => random.size(64),
        1 => random.size(4 << 10),
        _ => random.size(most.clamp(4 << 10, 64 << 10)),
    };
    let recv = one(bulk).max(least_window);
    let roomy = one(false) % 2 == 0;
    let (send, peer) = (one(bulk && roomy).max(least), one(bulk && roomy).max(least));
    Sizes { recv, send, peer, peer_send: one(bulk) }
}

pub(super) fn script(random: &mut Random, most: u64, span: u64, bulk: bool) -> Script {
    let total = match random.below(12) {
        0 => 0,
        1 => u64::MAX >> 1,
        _ if bulk => most / random.between(1, 8),
        _ => random.size(most),
    };
    let chunk = match most.min(total.max(1)) {
        whole if bulk => (whole / random.between(1, 8)).max(1),
        whole => random.size(whole),
    };
    let window = match random.below(3) {
        0 => chunk,
        1 if !bulk => random.size(most),
        _ => u64::MAX,
    };
    let gulp = match random.below(10) {
        0 => 0,
        1 | 2 if bulk => most / random.between(4, 400),
        1 | 2 => random.size((most / 64).max(64)),
        _ => most,
    };
    Script {
        total,
        chunk,
        window,
        gulp,
        asleep: random.percent(15).then(|| {
            let from = random.below(span);
            (from, from + random.size(3 * span + 3_000_000))
        }),
        pace: span / random.between(2, 30) + 1,
        until: random.between(1, 3) * span,
        ending: random.pick(&[
            Ending::Stay,
            Ending::Stay,
            Ending::HalfCloseAtOnce,
            Ending::HalfClose,
            Ending::Close,
        ]),
        answer: match random.below(6) {
            0 => Answer::Never,
            1 => Answer::Talk,
            2 => Answer::CloseAfter(random.below(2 * span)),
            _ => Answer::CloseAfter(0),
        },
        reset_at: random.percent(10).then(|| random.below(2 * span)),
        vanish_at: random.percent(5).then(|| {
            let error = random.pick(&[libc::ETIMEDOUT, libc::EHOSTUNREACH]);
            (random.below(2 * span), Vanishing { repetitions: random.below(9) as u8, error })
        }),
        urgent_at: random.percent(10).then(|| random.below(total.clamp(1, most))),
    }
}

pub(super) fn acts(random: &mut Random, span: u64) -> VecDeque<(u64, Act)> {
    let mut acts = Vec::new();
    if random.percent(90) {
        let first = random.below(span + span / 2);
        let act = if random.one_in(10) { Act::Force } else { Act::Shutdown };
        acts.push((first, or_ask(random, act)));
        while random.one_in(3) {
            let act = if random.one_in(20) { Act::Drop } else { Act::Shutdown };
            let act = if random.percent(40) { Act::Force } else { act };
            let act = or_ask(random, act);
            acts.push((first + random.below(2 * span), act));
        }
    }
    if random.one_in(40) {
        acts.push((random.below(span), Act::Drop));
    }
    if random.one_in(8) {
        let leave = random.below(2 * span);
        acts.push((leave, Act::Leave));
        acts.push((leave + random.size(span), Act::Return));
    }
    if random.one_in(8) {
        let disown = random.below(2 * span);
        acts.push((disown, random.pick(&[Act::Disown, Act::Undecide])));
        if random.one_in(2) {
            acts.push((disown + random.below(span), Act::Own));
        }
    }
    acts.sort_by_key(|(at, _)| *at);
    acts.into()
}

/// The act, or the same through a handle.
fn or_ask(random: &mut Random, act: Act) -> Act {
    match act {
        Act::Shutdown if random.one_in(2) => Act::AskShutdown,
        Act::Force if random.one_in(2) => Act::AskForce,
        _ => act,
    }
}

/// A time in which the host stands still, around an act or past a deadline.
pub(super) fn frozen(
    random: &mut Random,
    acts: &VecDeque<(u64, Act)>,
    config: &Config,
    span: u64,
) -> Option<(u64, u64)> {
    let (act, _) = acts.get(random.below(acts.len().max(1) as u64) as usize)?;
    if !random.percent(15) {
        return None;
    }
    let from = act.saturating_sub(random.below(span / 4 + 1)) + random.pick(&[0, span / 2]);
    let budget = config.shutdown_timeout.map_or(span, micros).min(60_000_000);
    Some((from, from + random.pick(&[span / 2, span, budget, budget + span])))
}

pub(super) fn manners(random: &mut Random, rude: bool) -> Manners {
    let mut chance = |most: u64| if rude { random.below(most) } else { 0 };
    Manners {
        spurious: chance(40),
        stale: chance(40),
        repeated: chance(30),
        shuffled: chance(100),
        skipped: chance(30),
        late: chance(20),
        old_clock: chance(30),
        interrupted: chance(30),
        events: random.pick(&[1, 3, 64, 1024]),
    }
}
