//! What one seed stands for: a configuration, the clients, the acts of the host.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::door::{Make, Scarcity};
use super::duplex::Sizes;
use super::peer::{Answer, Ending, Script};
use super::random::Random;
use crate::config::{Config, Drain};
use crate::token::TokenRange;

/// What a host does to its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Shutdown,
    Force,
    /// The same through a handle.
    AskShutdown,
    AskForce,
    /// Takes the server off its poll, and puts it on one again with other tokens.
    Leave,
    Return,
    /// Gives the queues to a successor, and takes them back.
    Disown,
    Own,
    /// Drops the server.
    Drop,
}

/// One client to come.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) at: u64,
    pub(super) address: IpAddr,
    /// The listener that it comes to.
    pub(super) door: usize,
    pub(super) sizes: Sizes,
    pub(super) script: Script,
    pub(super) start: u64,
    pub(super) hiccups: u32,
}

/// How badly a host treats its server; each a chance in percent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manners {
    pub(super) spurious: u64,
    pub(super) stale: u64,
    pub(super) repeated: u64,
    pub(super) shuffled: u64,
    pub(super) skipped: u64,
    pub(super) late: u64,
    pub(super) old_clock: u64,
    /// Events taken from the poll at a time.
    pub(super) events: usize,
}

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) config: Config,
    pub(super) capacity: usize,
    pub(super) tokens: TokenRange,
    pub(super) doors: Vec<Make>,
    pub(super) scarcity: Scarcity,
    pub(super) clients: Vec<Client>,
    /// By time.
    pub(super) acts: VecDeque<(u64, Act)>,
    pub(super) manners: Manners,
    pub(super) hiccup_rate: u64,
    pub(super) race_rate: u64,
    /// The span in which clients come and act, in microseconds.
    pub(super) span: u64,
    /// Turns from one look at every single connection to the next.
    pub(super) stride: u64,
}

fn millis(time: u64) -> Duration {
    Duration::from_millis(time)
}

impl Plan {
    pub(super) fn new(random: &mut Random) -> Self {
        let grace = random.pick(&[0, 1, 2, 5, 20, 200]);
        let span = 1000 * random.between(1, 8) * grace.max(random.size(16));
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
        let doors = doors(random, span);
        let scarcity = scarcity(random, span, count);
        let clients = (0..count)
            .map(|_| Client {
                at: if storm { 0 } else { random.below(span) },
                address: home(random.below(homes)),
                door: random.below(doors.len() as u64) as usize,
                sizes: sizes(random, most, bulk),
                script: script(random, most, span, bulk),
                start: random.below(1 << 32),
                hiccups: random.below(12) as u32,
            })
            .collect();
        let rude = random.percent(50);
        let first = random.below(1000) as usize;
        Self {
            config,
            capacity: capacity as usize,
            tokens: TokenRange::new(first..first + doors.len() + capacity as usize),
            doors,
            scarcity,
            clients,
            acts: acts(random, span),
            manners: manners(random, rude),
            hiccup_rate: random.pick(&[0, 0, 4, 30]),
            race_rate: random.pick(&[0, 0, 3, 20]),
            span,
            stride: if count > 12 { 29 } else { random.pick(&[1, 5]) },
        }
    }
}

fn config(random: &mut Random, grace: u64, span: u64) -> Config {
    let span = span / 1000;
    let budget = match random.below(10) {
        0 => None,
        1 => Some(Duration::ZERO),
        2..5 => Some(millis(random.between(1, span + 1))),
        _ => Some(millis(20 * span)),
    };
    let lame_duck = match budget {
        Some(budget) if random.percent(30) => budget / random.pick(&[2, 4, 10]),
        None if random.percent(30) => millis(random.below(span + 1)),
        _ => Duration::ZERO,
    };
    let mut or_ages = |time: Duration| if random.one_in(50) { Duration::MAX } else { time };
    let (idle_grace, budget) = (or_ages(millis(grace)), budget.map(&mut or_ages));
    let linger = random.pick(&[0, 1, span / 2, span, 4 * span]);
    Config {
        drain: random.pick(&[Drain::Idle, Drain::Flush, Drain::Peer]),
        idle_grace,
        linger: if random.one_in(50) { Duration::MAX } else { millis(linger) },
        idle_timeout: random.percent(35).then(|| millis(random.between(0, 2 * span))),
        shutdown_timeout: budget,
        lame_duck,
        max_per_ip: random.percent(20).then(|| random.between(1, 4) as usize),
        max_held: random.percent(25).then(|| (64 << 10) + random.size(256 << 10) as usize),
        ..Config::default()
    }
}

fn doors(random: &mut Random, span: u64) -> Vec<Make> {
    let count = random.pick(&[1, 1, 1, 2, 3]);
    let door = |_| Make {
        owned: !random.one_in(8),
        has_gate: random.percent(70),
        dies: random
            .one_in(25)
            .then(|| (random.below(2 * span), random.pick(&[libc::EBADF, libc::EINVAL]))),
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

fn home(number: u64) -> IpAddr {
    Ipv4Addr::new(127, 0, (number >> 8) as u8, number as u8).into()
}

fn sizes(random: &mut Random, most: u64, bulk: bool) -> Sizes {
    let mut one = |bulk: bool| match random.below(3) {
        _ if bulk => most / random.between(1, 20),
        0 => random.size(64),
        1 => random.size(4 << 10),
        _ => random.size(most.clamp(4 << 10, 64 << 10)),
    };
    let recv = one(bulk);
    let roomy = one(false) % 2 == 0;
    Sizes { recv, send: one(bulk && roomy), peer: one(bulk && roomy) }
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
        1 | 2 if bulk => 0,
        1 | 2 => random.size((most / 64).max(64)),
        _ => most,
    };
    Script {
        total,
        chunk,
        window,
        gulp,
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
        vanish_at: random
            .percent(5)
            .then(|| (random.below(2 * span), random.pick(&[libc::ETIMEDOUT, libc::EHOSTUNREACH]))),
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
        let disown = random.below(2 * span);
        acts.push((disown, Act::Disown));
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
        events: random.pick(&[1, 3, 64, 1024]),
    }
}
