//! The laws: what must hold after every turn.

use super::host::Host;
use super::inside;
use super::line::{FLOOD, Line, ROUNDING, Times};
use super::network::Network;
use crate::config::Drain;
use crate::engine::dialogue::Speaks;
use crate::engine::phase::{Cause, Phase};
use crate::engine::report::{Report, Stats};
use crate::engine::status::Locality;

/// How long an acknowledgement may go unnoticed: no event tells of it.
const ASKING: u64 = 250_000;
/// How long a force may wait for acknowledgements.
const FORCE: u64 = 250_000;
/// What one connection of a protocol may hold beyond what is left of the room.
const EXCESS: u64 = 160 << 10;
/// The shortest patience with a client that goes on sending, in microseconds.
pub(super) const PATIENCE: u64 = 1_000_000;

pub(super) fn hold(law: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if law { Ok(()) } else { Err(what()) }
}

impl<P: Speaks> Host<P> {
    pub(super) fn check_turn(&mut self) -> Result<(), String> {
        let network = self.network.clone();
        let network = network.lock();
        if let Some(broken) = &network.broken {
            return Err(broken.clone());
        }
        let Some(engine) = self.engine() else { return Ok(()) };
        let (report, phase) = (engine.report(), engine.phase());
        let sums = [
            ("accepted", report.connections.accepted, network.numbers.len() as u64),
            ("closed", report.connections.closed(), network.closed_count),
            ("read", report.bytes.read, network.bytes_read),
            ("written", report.bytes.written, network.bytes_written - network.corrected),
            ("open at the stop", report.connections.open_at_stop, network.open_at_stop),
        ];
        for (name, told, seen) in sums {
            hold(told == seen, || format!("{name}: {told} in the report, {seen} in the network"))?;
        }
        check_requests(report, &network)?;
        let Some(core) = &self.core else { return Ok(()) };
        check_stats(&core.stats(), engine.open(), phase, report, &network)?;
        let told = (core.stats().accept_errors, core.stats().refused);
        hold(told == (network.accept_errors, network.refused), || {
            format!(
                "{told:?} failures and refusals, in truth {:?}",
                (network.accept_errors, network.refused)
            )
        })?;
        hold(self.was_away || engine.stats().turns == self.ended_turns, || {
            "miscounted turns".to_owned()
        })?;
        hold(report.cause.is_some() == (phase > Phase::Running), || {
            format!("{phase} with the cause {:?}", report.cause)
        })?;
        if let Some(Cause::ListenerFailed(how)) = &report.cause {
            hold(how.starts_with("a door: "), || how.clone())?;
        }
        hold(!network.listener_failed || phase > Phase::Running, || {
            "serves on without".to_owned()
        })?;
        hold(phase >= self.asked || self.is_due(), || {
            format!("{phase}, {} was asked for, and it sleeps", self.asked)
        })?;
        let over = phase >= Phase::Draining && phase < Phase::Finished;
        let empty = engine.open() == 0 && network.doors.iter().all(|door| door.closed);
        let soon = self.deadline().is_some_and(|at| at <= self.now + ASKING);
        hold(!(over && empty) || soon, || "sleeps, and nothing is left".to_owned())?;
        if self.ended {
            let open = report.connections.accepted - report.connections.closed();
            hold(engine.open() as u64 == open, || "a slot outlived its turn".to_owned())?;
            hold(
                phase < Phase::Draining
                    || phase == Phase::Finished
                    || open > 0
                    || soon
                    || network.doors.iter().any(|door| !door.closed),
                || "nothing is left, and it is not finished".to_owned(),
            )?;
        }
        self.check_budget(phase)?;
        self.check_doors(&network)?;
        self.note_pauses(&network);
        if self.turns.is_multiple_of(self.plan.stride) {
            self.check_lines(&network)?;
        }
        Ok(())
    }

    /// The end of the budget is the end, but for the slices and a wait for acknowledgements.
    fn check_budget(&mut self, phase: Phase) -> Result<(), String> {
        let end = [self.budget_end(), self.forced].into_iter().flatten().min();
        if !self.ended || end.is_none_or(|end| self.now <= end) {
            return Ok(());
        }
        hold(phase >= Phase::Forcing, || format!("{phase} after the end of the budget"))?;
        let looked = *self.looked.get_or_insert(self.now);
        self.overtime += u64::from(self.now > looked + FORCE);
        let slices = 6 + self.plan.clients.len() as u64 / 100;
        hold(phase == Phase::Finished || self.overtime <= slices, || {
            format!("{phase} {} turns after the end of the budget", self.overtime)
        })
    }

    /// Nobody who waits is forgotten: the poll tells of him, a close will let him in, or a look
    /// into the queue is due within a second.
    fn check_doors(&self, network: &Network) -> Result<(), String> {
        let Some(engine) = self.engine().filter(|_| self.ended && !self.is_due()) else {
            return Ok(());
        };
        if self.is_away() {
            return Ok(());
        }
        let rest = self.deadline().is_some_and(|at| at <= self.now + 1_000_000 + ROUNDING);
        for (at, door) in network.doors.iter().enumerate().filter(|(_, door)| !door.closed) {
            let waits = !door.backlog.is_empty() && !door.edge;
            hold(!waits || rest || inside::is_full(engine), || {
                format!("door {at}: {:?} wait and are forgotten", door.backlog)
            })?;
        }
        Ok(())
    }

    /// On no poll: nothing is served.
    fn is_away(&self) -> bool {
        self.core.as_ref().is_some_and(|core| core.tokens().is_none())
    }

    /// Notes who is paused, or was until this turn: the server keeps from reading.
    fn note_pauses(&self, network: &Network) {
        let Some(engine) = self.engine().filter(|_| network.is_bounded) else { return };
        for line in network.lines.iter().filter(|line| is_live(line)) {
            let paused = line.slot.is_some_and(|slot| inside::is_paused(engine, slot));
            if line.was_paused.replace(paused) || paused {
                line.resumed_at.set(network.now);
                line.paused_at.set(network.now);
            }
        }
    }

    fn check_lines(&mut self, network: &Network) -> Result<(), String> {
        let (due, away) = (self.is_due(), self.is_away());
        let Some(core) = &mut self.core else { return Ok(()) };
        let engine = &mut core.engine;
        inside::audit(engine)?;
        let held: u64 = network.lines.iter().filter(|line| is_live(line)).map(Line::held).sum();
        let told = engine.report().bytes.held();
        hold(held == told, || format!("{told} bytes held in the report, {held} in the network"))?;
        let most = self.plan.config.max_held.unwrap_or(usize::MAX) as u64;
        // A call may put a whole buffer behind a whole read, and everybody last words.
        let excess = if self.plan.speech.is_some() { EXCESS } else { 0 };
        let excess = excess * (1 + network.lines.len() as u64);
        hold(held <= most.saturating_add(excess), || format!("{held} bytes held, {most} allowed"))?;
        if due || away {
            return Ok(());
        }
        let full = most.saturating_sub(held) < inside::ROOM;
        let phase = engine.phase();
        // Without an event the engine will not be called before then.
        let until = self.deadline().unwrap_or(u64::MAX >> 1).max(self.now);
        let end = self.budget_end().filter(|_| phase > Phase::Running && phase < Phase::Forcing);
        hold(end.is_none_or(|end| until <= end.saturating_add(1)), || {
            "sleeps beyond the budget".to_owned()
        })?;
        let Some(core) = &mut self.core else { return Ok(()) };
        let engine = &mut core.engine;
        let waits = network.doors.iter().any(|door| !door.closed && !door.backlog.is_empty());
        let crowded = phase == Phase::Draining && waits && inside::is_full(engine);
        for (at, line) in network.lines.iter().enumerate().filter(|(_, line)| is_live(line)) {
            let paused = line.slot.is_some_and(|slot| inside::is_paused(engine, slot));
            let wrong = forgotten(line, paused && full, network.now, until).or_else(|| {
                let wrong = overdue(line, network, phase, paused, until);
                let wrong = wrong.or_else(|| crowding(line, network, until).filter(|_| crowded));
                wrong.or_else(|| insatiable(line, network, phase, paused)).filter(|_| self.ended)
            });
            hold(wrong.is_none(), || {
                format!("line {at}: {}\n{line:#?}", wrong.unwrap_or_default())
            })?;
        }
        Ok(())
    }
}

/// The counters are those of the report, but for what a report corrects.
fn check_stats(
    stats: &Stats,
    open: usize,
    phase: Phase,
    report: &Report,
    network: &Network,
) -> Result<(), String> {
    let Report { connections, bytes, .. } = report;
    let told = [stats.open, stats.accepted, stats.closed, stats.read, stats.written, stats.held];
    let true_ones = [
        open as u64,
        connections.accepted,
        connections.closed(),
        bytes.read,
        network.bytes_written,
        bytes.held(),
    ];
    hold(told == true_ones && stats.phase == phase, || format!("{stats:?} of {report:?}"))
}

/// The requests are those that the network saw begin and end.
fn check_requests(report: &Report, network: &Network) -> Result<(), String> {
    let seen = network.requests;
    let Some(told) = report.requests.filter(|_| network.speech.is_some()) else {
        return hold(report.requests.is_none() == network.speech.is_none(), || {
            "requests of an echo, or none of a protocol".to_owned()
        });
    };
    let sure = told.unanswered >= seen.unanswered && told.aborted >= seen.aborted;
    let same = (told.taken, told.answered) == (seen.taken, seen.answered);
    let all = told.unanswered + told.aborted == seen.failed;
    hold(same && all && sure, || format!("{told:?} are in truth {seen:?}"))
}

fn is_live(line: &Line) -> bool {
    line.is_open && line.closed.is_none()
}

/// Work that nobody will come back to: no event is due, no turn is called for.
fn forgotten(line: &Line, paused: bool, now: u64, until: u64) -> Option<&'static str> {
    let input = line.duplex.has_input() && !line.queued;
    if line.fin_at.is_some() {
        return input.then_some("input after our FIN is forgotten");
    }
    if line.owed() > 0 {
        let room = line.duplex.is_writable() && !line.duplex.starved && !line.queued;
        let broken = line.duplex.fault.is_some() && !line.queued;
        return (room || broken).then_some("what is owed is forgotten");
    }
    if let Some(talk) = line.talk.as_ref().filter(|_| !paused) {
        let deadline = talk.deadline.filter(|_| talk.over.is_none());
        let ended = line.duplex.eof_read && !talk.has_told_end && !talk.is_busy();
        let rules = [
            (talk.over.is_some(), "an end is forgotten"),
            (talk.is_called_for(), "a call is forgotten"),
            (ended, "the peer's end is forgotten"),
            (deadline.is_some_and(|at| until > at.max(now) + ROUNDING), "a deadline is forgotten"),
        ];
        let wrong = rules.into_iter().find_map(|(broken, rule)| broken.then_some(rule));
        if wrong.is_some() || !talk.may_read() {
            return wrong;
        }
    }
    (input && !paused).then_some("input is forgotten")
}

fn over(time: u64, limit: u64) -> bool {
    time > limit.saturating_add(limit / 8 + ROUNDING)
}

/// What should have happened by `when`, no turn being called for before.
fn overdue(
    line: &Line,
    network: &Network,
    phase: Phase,
    paused: bool,
    when: u64,
) -> Option<&'static str> {
    let Times { grace, idle_timeout, drain, .. } = network.times;
    if let Some(fin) = line.fin_at {
        return lingering(line, network, when, fin).filter(|_| phase < Phase::Forcing);
    }
    match (phase, drain) {
        (Phase::Running | Phase::LameDuck, _) | (Phase::Draining, Drain::Peer) => {
            let time = idle_timeout.unwrap_or(0);
            // The kernel tells acknowledgements of our bytes and of nothing not apart.
            let told = if line.asks { line.duplex.last_ack } else { 0 };
            let last = line.last_byte.max(line.resumed_at.get());
            let told = told.min(last.saturating_add(2 * time));
            let told = told.max(line.resumed_at.get());
            let silence = when - line.last_byte.max(line.duplex.last_progress).max(told).min(when);
            // Behind one that moved when the drain came by, it may wait for that one's time.
            let silence = silence.min(network.visited_at.map_or(u64::MAX, |at| when - at));
            let waits = line.asks && line.duplex.down.unacknowledged() > 0;
            let asking = if waits { ASKING } else { 0 };
            // It is looked at again in a moment after a read that went wrong.
            let exempt = paused || line.is_busy() || network.now <= line.hiccuped_at + ROUNDING;
            return (!exempt && idle_timeout.is_some_and(|time| over(silence, time + asking)))
                .then_some("idle beyond its time");
        }
        (Phase::Draining, _) => {}
        (Phase::Forcing, _) => return None,
        (Phase::Finished, _) => return Some("left over in the last phase"),
    }
    let visited = network.visited_at.unwrap_or(when);
    let since = line.last_byte.max(visited).max(line.resumed_at.get());
    // A process that was kept from reading waits for another quiet time.
    let since = since.max(network.tardy_at);
    let requested = network.requested_at.unwrap_or(0);
    let round = line.longest_round(requested);
    let quiet = match drain {
        Drain::Idle => round.max(grace),
        Drain::Flush | Drain::Peer => round,
    };
    let dry = line.owed() == 0 && !line.duplex.has_input() && !paused && !line.is_busy();
    let late = over(when - since.min(when), quiet);
    let patience = PATIENCE.max(grace.saturating_mul(5)).max(round.saturating_mul(10));
    // A request that is served while it comes is waited for as long as it goes on coming.
    let patient_since = if line.is_midway() { requested.max(since) } else { requested };
    let half = line.is_receiving() && !over(when - patient_since.min(when), patience);
    (dry && late && !half).then_some("quiet, and not done")
}

/// What should have happened to a connection with our FIN.
fn lingering(line: &Line, network: &Network, when: u64, fin: u64) -> Option<&'static str> {
    let (duplex, linger) = (&line.duplex, network.times.linger);
    let since = |at: u64| when - at.max(network.tardy_at).min(when);
    if !line.asks {
        let linger = linger.saturating_add(ASKING);
        return over(since(fin), linger).then_some("lingers beyond its time");
    }
    if duplex.vanished.is_some() && duplex.down.unacknowledged() > 0 {
        let time = 8 * duplex.link.retransmission();
        let end = since(fin.max(duplex.down.last_sent).max(line.last_byte));
        return (network.phase >= Phase::Draining && over(end, time.max(linger)))
            .then_some("a vanished peer holds the stop");
    }
    if duplex.down.unacknowledged() > 0 {
        return None;
    }
    let acked = fin.max(duplex.last_progress);
    if duplex.eof_read && over(since(acked.max(line.eof_at)), ASKING) {
        return Some("over, and not closed");
    }
    over(since(acked), linger.saturating_add(ASKING)).then_some("lingers beyond its time")
}

/// A connection that nothing of ours is missing on, and whose slot others wait for.
fn crowding(line: &Line, network: &Network, when: u64) -> Option<&'static str> {
    let done = line.fin_at.filter(|_| line.asks && line.duplex.down.unacknowledged() == 0)?;
    let since = done.max(line.duplex.last_progress).max(network.tardy_at);
    over(when - since.min(when), ASKING).then_some("lingers in a slot that a client waits for")
}

/// A client that goes on sending, and should hold the stop no longer.
fn insatiable(line: &Line, network: &Network, phase: Phase, paused: bool) -> Option<&'static str> {
    let Times { grace, drain, .. } = network.times;
    let draining = phase == Phase::Draining && drain != Drain::Peer && line.fin_at.is_none();
    let waits = line.owed() > 0 || line.is_busy() || paused;
    let requested = network.requested_at.filter(|_| draining && !waits)?;
    let round = line.longest_round(requested);
    let patience = PATIENCE.max(grace.saturating_mul(5)).max(round.saturating_mul(10));
    let now = network.now;
    if !over(now - requested, patience) || line.last_byte != now {
        return None;
    }
    if line.duplex.up.read - line.read_at_stop > line.duplex.up.size + FLOOD + (2 << 20) {
        return Some("has sent more than a stop waits for");
    }
    let dry = !line.duplex.has_input() && !line.hiccuped;
    // Nothing is read before the accept, nor while the host is away.
    let began = line.accepted_at.max(network.tardy_at).max(network.visited_at.unwrap_or(0));
    let began = began.max(line.paused_at.get());
    let eased = line.strained_at.is_none_or(|at| over(now - at, round)) && over(now - began, round);
    let last = line.duplex.link.locality != Locality::Network || line.duplex.up.is_short;
    (dry && eased && last).then_some("dry beyond all patience, and not done")
}
