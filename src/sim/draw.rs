//! A plan and its parts, drawn by chance.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::duplex::{LEAST_SEGMENT, Sizes, Vanishing};
use super::line::micros;
use super::link::{Link, RETRANSMISSION};
use super::peer::{Answer, Ending, Script};
use super::plan::{Act, Client, Make, Manners, Plan, Scarcity};
use super::random::Random;
use crate::accept::pair::Visibility;
use crate::accept::queue::Ownership;
use crate::config::{Config, Drain};
use crate::engine::status::Locality;
use crate::token::TokenRange;

impl Plan {
    /// Draws a plan.
    pub(super) fn new(random: &mut Random) -> Self {
        let grace = random.pick(&[0, 1, 2, 5, 20, 200]);
        // The round trip of the farthest client, if there are any behind a network.
        let far = if random.percent(30) { 1_000 * random.size(200) } else { 0 };
        let span = 1000 * random.between(1, 8) * grace.max(random.size(16));
        let span = if far > 0 && random.one_in(2) { span + 3 * far } else { span };
        let count = match random.below(500) {
            0 => random.between(200, 600),
            1..25 => random.between(13, 60),
            _ => random.size(12),
        };
        let mut config = config(random, grace, span);
        let capacity = match random.below(4) {
            0 => random.between(1, count),
            1 => count,
            _ => 1024,
        };
        // A crowd would take long if each of them had much to say.
        let bulk = count <= 12 && random.one_in(14);
        let most = match count {
            13.. => 4 << 10,
            _ if bulk => 4 << 20,
            _ => random.pick(&[256, 8 << 10, 64 << 10]),
        };
        if bulk && random.one_in(2) {
            config.max_held = Some((64 << 10) + random.below(64 << 10) as usize);
        }
        let storm = random.percent(40);
        let homes = random.between(1, count);
        let asks = random.percent(88);
        let doors = doors(random, span, asks);
        let scarcity = scarcity(random, span, count);
        let acts = acts(random, span);
        let flooded = random.percent(12);
        let clients = (0..count)
            .map(|_| {
                let door = random.below(doors.len() as u64) as usize;
                let link = link(random, doors[door].is_unix(), far, asks);
                let mut script = script(random, most, span, bulk);
                script.vanish_at = script.vanish_at.filter(|_| !link.is_unix());
                Client {
                    at: if storm { 0 } else { random.below(span) },
                    address: home(random.below(homes), &link),
                    door,
                    sizes: sizes(random, most, bulk, &link),
                    link,
                    script,
                    start: random.below(1 << 32),
                    seed: random.next(),
                    hiccups: random.below(12) as u32,
                    deaf: deafness(random, flooded),
                    ack_delay: if random.percent(30) { random.below(40_000) } else { 0 },
                }
            })
            .collect();
        let rude = random.percent(50);
        let first = random.below(1000) as usize;
        Self {
            speech: None,
            capacity: capacity as usize,
            tokens: TokenRange::new(first..first + doors.len() + capacity as usize),
            doors,
            scarcity,
            clients,
            frozen: frozen(random, &acts, &config, span),
            acts,
            config,
            manners: manners(random, rude),
            asks,
            hiccup_rate: random.pick(&[0, 0, 4, 30]),
            race_rate: random.pick(&[0, 0, 3, 20]),
            span,
            stride: if count > 12 { 29 } else { random.pick(&[1, 5]) },
        }
    }
}

fn millis(time: u64) -> Duration {
    Duration::from_millis(time)
}

fn config(random: &mut Random, grace: u64, span: u64) -> Config {
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

fn doors(random: &mut Random, span: u64, asks: bool) -> Vec<Make> {
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

fn scarcity(random: &mut Random, span: u64, clients: u64) -> Scarcity {
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
fn home(number: u64, link: &Link) -> IpAddr {
    let net = if link.locality == Locality::Network { 10 } else { 127 };
    Ipv4Addr::new(net, 0, (number >> 8) as u8, number as u8).into()
}

/// How many SYN-ACKs a client does not hear; more than there are: a spoofed one.
fn deafness(random: &mut Random, flooded: bool) -> usize {
    match random.below(40) {
        0 => 1,
        1 if flooded => 2,
        2..20 if flooded => usize::MAX,
        _ => 0,
    }
}

/// The way to a client; where the kernel cannot be asked no way is longer than what is waited for.
fn link(random: &mut Random, is_unix: bool, far: u64, asks: bool) -> Link {
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
fn sizes(random: &mut Random, most: u64, bulk: bool, link: &Link) -> Sizes {
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

fn script(random: &mut Random, most: u64, span: u64, bulk: bool) -> Script {
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

fn acts(random: &mut Random, span: u64) -> VecDeque<(u64, Act)> {
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
        let hand_over = random.below(2 * span);
        acts.push((hand_over, random.pick(&[Act::HandOver, Act::Undecide])));
        if random.one_in(2) {
            acts.push((hand_over + random.below(span), Act::Own));
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
fn frozen(
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

fn manners(random: &mut Random, rude: bool) -> Manners {
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
