//! The host of a server: a poll loop of the simulated world.

use mio::Token;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::accept::Tap;
use super::end::End;
use super::network::Network;
use super::plan::{Act, Plan};
use super::random::Random;
use super::shared::Shared;
use super::speech::Speech;
use crate::accept::queue::AcceptQueue;
use crate::engine::Engine;
use crate::engine::dialogue::Speaks;
use crate::engine::phase::Phase;
use crate::server::core::ServerCore;
use crate::server::handle::{HostWaker, ShutdownHandle};
use crate::token::Readiness;

/// Turns after which a life counts as endless.
const TURNS: u64 = 200_000;
/// Turns after which a life of a protocol is brought to its end.
const ENDLESS: u64 = 10_000;

pub(super) struct Host<P: Speaks> {
    /// `None` once dropped.
    pub(super) core: Option<ServerCore<Tap, P>>,
    pub(super) handle: ShutdownHandle,
    pub(super) network: Shared,
    pub(super) random: Random,
    pub(super) plan: Plan,
    base: Instant,
    pub(super) now: u64,
    /// Events of turns before, which a rude host delivers once more.
    past: Vec<(Token, Readiness)>,
    pub(super) turns: u64,
    /// Events of this turn, and whether it was ended.
    pub(super) events: usize,
    pub(super) ended: bool,
    pub(super) ended_turns: u64,
    /// It left its poll once.
    pub(super) was_away: bool,
    /// When the stop was asked for first, and when it was last asked to be forced.
    pub(super) requested: Option<u64>,
    pub(super) forced: Option<u64>,
    /// The phase that was asked for through the handle.
    pub(super) asked: Phase,
    /// When a turn ended first in the last phase, and turns ended since the end of that.
    pub(super) looked: Option<u64>,
    pub(super) overtime: u64,
    /// Turns in a row that were called for and moved nothing, and when the first of them was.
    pub(super) idle_turns: u64,
    idle_since: u64,
    /// The poll of this turn was interrupted.
    pub(super) interrupted: bool,
    /// Clients taken in by this turn.
    pub(super) taken: usize,
    last_progress: u64,
    /// What this life had in it.
    pub(super) corners: BTreeSet<&'static str>,
}

impl<P: Speaks> Host<P> {
    pub(super) fn new(
        seed: u64,
        speech: Option<Speech>,
        trace: bool,
        serve: impl FnOnce(&Shared, &Plan) -> P,
    ) -> Self {
        let mut random = Random::new(seed);
        let plan = Plan { speech, ..Plan::new(&mut random) };
        let network = Network::new(Random::new(random.next()), &plan, trace);
        let base = network.base;
        let network = Shared::new(network);
        let mut core = ServerCore::serving(serve(&network, &plan), &plan.config);
        core.engine.observe(Box::new(network.clone()));
        for (at, door) in plan.doors.iter().enumerate() {
            core.acceptor.add(AcceptQueue::new(Tap::new(&network, at), door.is_owned()));
        }
        core.register(&network, plan.tokens, plan.capacity).unwrap();
        Self {
            handle: ShutdownHandle::new(core.requests.clone(), HostWaker::none()),
            core: Some(core),
            network,
            random,
            plan,
            base,
            now: 0,
            past: Vec::new(),
            turns: 0,
            events: 0,
            ended: true,
            ended_turns: 0,
            was_away: false,
            requested: None,
            forced: None,
            asked: Phase::Running,
            looked: None,
            overtime: 0,
            idle_turns: 0,
            idle_since: 0,
            interrupted: false,
            taken: 0,
            last_progress: 0,
            corners: BTreeSet::new(),
        }
    }

    /// Lives. Returns what was in it.
    pub(super) fn live(mut self) -> Result<BTreeSet<&'static str>, String> {
        self.run().map(|()| self.corners)
    }

    /// A life from the first client to the last close.
    fn run(&mut self) -> Result<(), String> {
        // What a host does before its first sleep.
        self.end_turn(self.base);
        while self.engine().is_some_and(|engine| engine.phase() < Phase::Finished) {
            let slept = self.sleep()?;
            let before = self.network.lock().numbers.len();
            self.turn();
            self.taken = self.network.lock().numbers.len() - before;
            self.note_turn();
            self.count_turn(slept)?;
            self.check_turn()?;
        }
        self.check_end()
    }

    pub(super) fn engine(&self) -> Option<&Engine<End, P>> {
        self.core.as_ref().map(|core| &core.engine)
    }

    pub(super) fn instant(&self) -> Instant {
        self.base + Duration::from_micros(self.now)
    }

    /// The instant to tell the engine: now, or one that it was told before.
    pub(super) fn told(&mut self) -> Instant {
        let back = self.random.percent(self.plan.manners.old_clock);
        let back = if back { self.random.below(self.now + 1) } else { 0 };
        self.base + Duration::from_micros(self.now - back)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.core.as_ref()?.next_deadline()
    }

    /// The same in microseconds.
    pub(super) fn deadline(&self) -> Option<u64> {
        let nanos = self.next_deadline()?.saturating_duration_since(self.base).as_nanos();
        Some(u64::try_from(nanos.div_ceil(1000)).unwrap_or(u64::MAX >> 1))
    }

    /// Sleeps until there is something to do. Returns whether a deadline, not an event, ended it.
    fn sleep(&mut self) -> Result<bool, String> {
        self.interrupted = self.random.percent(self.plan.manners.interrupted);
        let deadline = self.deadline();
        let network = self.network.lock();
        let knocks = network.doors.iter().any(|door| door.edge);
        let busy = (!network.ready.is_empty() || knocks) && !self.interrupted;
        let act = self.plan.acts.front().map(|(at, _)| *at);
        let wake = network.next_wake();
        let job = network.desk.next_job();
        drop(network);
        let next = [deadline, act, wake, job].into_iter().flatten().min();
        let timer = deadline.is_some() && deadline == next && !busy;
        match next {
            _ if busy => self.now += self.random.below(30),
            Some(next) => self.now = self.now.max(next) + self.random.below(3),
            None => self.ask_more()?,
        }
        let end = self.plan.span.saturating_mul(60) + 120_000_000;
        // A protocol may have something to do for ever.
        let endless = self.plan.speech.is_some() && self.turns > ENDLESS;
        if (self.now > end || endless) && self.forced.is_none() {
            self.ask_more()?;
        }
        if let Some((_, until)) = self.plan.frozen.take_if(|(from, _)| *from <= self.now) {
            self.network.lock().tell(|| format!("host: stands still until {until}"));
            self.now = self.now.max(until);
            self.looked = None;
            self.interrupted = self.random.one_in(2);
        }
        if self.random.percent(self.plan.manners.late) {
            let hours = if self.random.one_in(50) { self.random.below(9) } else { 0 };
            self.now += self.random.size(self.plan.span) + hours * 3_600_000_000;
            // What is bounded from a turn on is so from the next one.
            self.looked = None;
        }
        self.turns += 1;
        if self.turns > TURNS {
            return Err("a life without end".to_owned());
        }
        let mut network = self.network.lock();
        network.run_until(self.now);
        if deadline.is_some_and(|at| self.now > at.saturating_add(5_000)) {
            network.tardy_at = self.now;
        }
        drop(network);
        self.network.lock().tell(|| format!("host: wakes, the deadline is {deadline:?}"));
        Ok(timer)
    }

    /// Nothing would ever happen again: the next step of a stop.
    fn ask_more(&mut self) -> Result<(), String> {
        let act = match (self.requested, self.forced) {
            (_, Some(_)) => return Err("forced, and nothing will ever happen".to_owned()),
            (Some(_), None) => Act::Force,
            (None, None) => Act::Shutdown,
        };
        self.plan.acts.push_front((self.now, act));
        Ok(())
    }

    /// One turn: the events, the acts of the host among them, and the end of the batch.
    fn turn(&mut self) {
        let mut batch = self.harvest();
        self.events = batch.len();
        if self.random.percent(self.plan.manners.shuffled) {
            self.random.shuffle(&mut batch);
        }
        let act_at = self.random.below(batch.len() as u64 + 2) as usize;
        // The first instant of a turn is now.
        let mut first = true;
        for (index, (token, flags)) in batch.iter().copied().enumerate() {
            if index == act_at {
                self.act(&mut first);
            }
            let now = if first { self.instant() } else { self.told() };
            // With a token of somebody else's the time is not told.
            first &= !self.is_ours(token);
            self.deliver(token, flags, now);
        }
        if act_at >= batch.len() {
            self.act(&mut first);
        }
        self.answer(&mut first);
        self.past.extend(batch.into_iter().take(4));
        self.ended = first || !self.random.percent(self.plan.manners.skipped);
        if self.ended {
            let now = if first { self.instant() } else { self.told() };
            self.end_turn(now);
        }
    }

    fn harvest(&mut self) -> Vec<(Token, Readiness)> {
        let manners = self.plan.manners;
        let mut network = self.network.lock();
        if self.interrupted {
            network.tell(|| "host: interrupted".to_owned());
            return Vec::new();
        }
        let mut batch = network.harvest_doors();
        while batch.len() < manners.events
            && let Some(event) = network.harvest()
        {
            batch.push(event);
        }
        if self.random.percent(manners.spurious) {
            let tokens = self.plan.tokens;
            let nearby = self.random.below(self.plan.clients.len() as u64 + 5) as usize;
            let token = Token((tokens.first() + nearby).saturating_sub(1));
            batch.push((token, any_flags(&mut self.random)));
        }
        if self.random.percent(manners.stale) && !self.past.is_empty() {
            let old = self.random.below(self.past.len() as u64) as usize;
            batch.push(self.past.swap_remove(old));
        }
        if self.random.percent(manners.repeated) && !batch.is_empty() {
            batch.push(self.random.pick(&batch));
        }
        batch
    }

    fn is_ours(&self, token: Token) -> bool {
        let tokens = self.core.as_ref().and_then(ServerCore::tokens);
        tokens.is_some_and(|tokens| tokens.contains(token))
    }

    fn deliver(&mut self, token: Token, flags: Readiness, now: Instant) {
        let Some(core) = &mut self.core else { return };
        self.network.lock().epoch += 1;
        let open = core.engine.open();
        let ours = core.tokens().is_some_and(|tokens| tokens.contains(token));
        if core.handle_ready(token, flags, now) != ours {
            self.network.lock().blame(usize::MAX, "an event was not taken for what it was");
        }
        if core.engine.open() != open {
            self.network.lock().blame(usize::MAX, "a slot taken or freed by an event");
        }
    }

    fn end_turn(&mut self, now: Instant) {
        let Some(core) = &mut self.core else { return };
        let mut network = self.network.lock();
        network.epoch += 1;
        network.may_free = true;
        let before = (network.bytes_read + network.bytes_written, network.closed_count);
        drop(network);
        core.end_turn(&self.network, now);
        self.ended_turns += 1;
        let mut network = self.network.lock();
        let after = (network.bytes_read + network.bytes_written, network.closed_count);
        let away = core.tokens().is_none() && core.engine.phase() < Phase::Forcing;
        if away && before != after {
            network.blame(usize::MAX, "serves without a poll");
        }
        network.may_free = false;
        if core.engine.phase() == Phase::Draining && !away {
            network.visited_at = network.visited_at.or(Some(network.now));
        }
        drop(network);
        self.note_requests();
    }

    /// Turns that were called for must get something done.
    fn count_turn(&mut self, timer: bool) -> Result<(), String> {
        let progress = self.network.lock().progress;
        let moved = std::mem::replace(&mut self.last_progress, progress) != progress;
        if moved || self.events > 0 || !timer {
            (self.idle_turns, self.idle_since) = (0, self.now);
        } else if self.ended {
            self.idle_turns += 1;
        }
        // Whoever asks the kernel may do so each millisecond.
        let asking = (self.now - self.idle_since) / 900;
        let most = 12 + 2 * self.plan.clients.len() as u64 + asking;
        if self.idle_turns > most {
            return Err(format!("{} turns in a row in vain: it spins", self.idle_turns));
        }
        Ok(())
    }

    pub(super) fn budget_end(&self) -> Option<u64> {
        let budget = self.plan.config.shutdown_timeout?;
        let budget = u64::try_from(budget.as_micros()).unwrap_or(u64::MAX);
        self.requested.map(|at| at.saturating_add(budget))
    }

    /// Whether the server asks for another turn at once.
    pub(super) fn is_due(&self) -> bool {
        self.next_deadline().is_some_and(|at| at <= self.instant())
    }
}

fn any_flags(random: &mut Random) -> Readiness {
    let all = [
        Readiness::READABLE,
        Readiness::WRITABLE,
        Readiness::CLOSED,
        Readiness::ERROR,
        Readiness::PRIORITY,
    ];
    let mut flags = Readiness::NONE;
    for flag in all {
        if random.one_in(2) {
            flags |= flag;
        }
    }
    flags
}
