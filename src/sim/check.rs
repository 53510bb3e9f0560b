//! The laws: what must hold after every turn, and at the end of a life.

use super::host::Host;
use super::line::{Fate, Line, Times};
use super::network::Network;
use super::peer::Saw;
use crate::config::Drain;
use crate::engine::dialogue::LEAST_ROOM;
use crate::engine::phase::{Cause, Phase};
use crate::engine::report::{CloseReason, Grade, Report, Stats};
use crate::token::Readiness;

/// A tick, rounded up twice, and the rounding of the host's sleep.
const ROUNDING: u64 = 3_000;

fn hold(law: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if law { Ok(()) } else { Err(what()) }
}

impl Host {
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
            ("written", report.bytes.written, network.bytes_written),
            ("open at the stop", report.connections.open_at_stop, network.open_at_stop),
        ];
        for (name, told, seen) in sums {
            hold(told == seen, || format!("{name}: {told} in the report, {seen} in the network"))?;
        }
        let Some(core) = &self.core else { return Ok(()) };
        check_stats(&core.stats(), engine.open(), phase, report)?;
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
        hold(!(over && empty) || self.is_due(), || "sleeps, and nothing is left".to_owned())?;
        if self.ended {
            let open = report.connections.accepted - report.connections.closed();
            hold(engine.open() as u64 == open, || "a slot outlived its turn".to_owned())?;
            hold(
                phase < Phase::Draining
                    || phase == Phase::Finished
                    || open > 0
                    || network.doors.iter().any(|door| !door.closed),
                || "nothing is left, and it is not finished".to_owned(),
            )?;
        }
        self.check_budget(phase)?;
        self.check_doors(&network)?;
        if self.turns.is_multiple_of(self.plan.stride) {
            self.check_lines(&network)?;
        }
        Ok(())
    }

    /// The end of the budget is the end, but for the slices.
    fn check_budget(&mut self, phase: Phase) -> Result<(), String> {
        let end = [self.budget_end(), self.forced].into_iter().flatten().min();
        if !self.ended || end.is_none_or(|end| self.now <= end) {
            return Ok(());
        }
        hold(phase >= Phase::Forcing, || format!("{phase} after the end of the budget"))?;
        self.overtime += 1;
        let slices = 3 + self.plan.clients.len() as u64 / 200;
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
            hold(!waits || rest || engine.table.vacant().is_none(), || {
                format!("door {at}: {:?} wait and are forgotten", door.backlog)
            })?;
        }
        Ok(())
    }

    /// On no poll: nothing is served.
    fn is_away(&self) -> bool {
        self.core.as_ref().is_some_and(|core| core.tokens().is_none())
    }

    fn check_lines(&mut self, network: &Network) -> Result<(), String> {
        let (due, away) = (self.is_due(), self.is_away());
        let Some(core) = &mut self.core else { return Ok(()) };
        let engine = &mut core.engine;
        engine.table.audit()?;
        if engine.phase() < Phase::Draining {
            engine.table.audit_age(engine.settings.span_bits)?;
        }
        let held: u64 = network.lines.iter().filter(|line| is_live(line)).map(Line::held).sum();
        let told = engine.report().bytes.held();
        hold(held == told, || format!("{told} bytes held in the report, {held} in the network"))?;
        let most = self.plan.config.max_held.unwrap_or(usize::MAX) as u64;
        hold(held <= most, || format!("{held} bytes held, {most} allowed"))?;
        if due || away {
            return Ok(());
        }
        let full = most - held < LEAST_ROOM as u64;
        let phase = engine.phase();
        // Without an event the engine will not be called before then.
        let until = self.deadline().unwrap_or(u64::MAX >> 1).max(self.now);
        let end = self.budget_end().filter(|_| phase > Phase::Running && phase < Phase::Forcing);
        hold(end.is_none_or(|end| until <= end.saturating_add(1)), || {
            "sleeps beyond the budget".to_owned()
        })?;
        let Some(core) = &mut self.core else { return Ok(()) };
        let engine = &mut core.engine;
        for (at, line) in network.lines.iter().enumerate().filter(|(_, line)| is_live(line)) {
            let paused = line.slot.and_then(|slot| engine.table.get(slot));
            let paused = paused.is_some_and(|connection| connection.is_paused());
            let wrong = forgotten(line, paused && full)
                .or_else(|| overdue(line, network, phase, paused, until).filter(|_| self.ended));
            hold(wrong.is_none(), || {
                format!("line {at}: {}\n{line:#?}", wrong.unwrap_or_default())
            })?;
        }
        Ok(())
    }

    pub(super) fn check_end(&mut self) -> Result<(), String> {
        let now = self.instant();
        if let Some(core) = &mut self.core {
            let engine = &mut core.engine;
            // What comes after the end does nothing.
            let before = format!("{:?}", engine.report());
            engine.request(Cause::Requested, now);
            engine.force(Cause::Requested, now);
            hold(engine.phase() == Phase::Finished, || format!("{} again", engine.phase()))?;
            hold(format!("{:?}", engine.report()) == before, || "told twice".to_owned())?;
            hold(!engine.handle_ready(0, Readiness::READABLE, now), || "a ghost".to_owned())?;
        }
        let report = self.engine().map(|engine| engine.report().clone());
        if let Some(core) = &mut self.core {
            hold(core.next_deadline().is_none(), || "finished, and not at rest".to_owned())?;
            let engine = &mut core.engine;
            engine.table.audit()?;
            hold(engine.table.quota.is_empty(), || "a share was not given back".to_owned())?;
        }
        self.network.lock().dropping = true;
        self.core = None;
        self.note_end(report.as_ref().and_then(Report::grade));
        let mut network = self.network.lock();
        for line in network.lines.iter_mut().filter(|line| line.peer.script.gulp > 0) {
            line.peer.script.gulp = u64::MAX;
        }
        let settled = self.now.saturating_add(self.plan.span.saturating_mul(1_000));
        for _ in 0..200_000 {
            match network.next_wake() {
                Some(next) if next <= settled => network.run_until(next),
                _ => break,
            }
        }
        if let Some(broken) = &network.broken {
            return Err(broken.clone());
        }
        let open =
            network.lines.iter().filter(|line| line.is_open && line.closed.is_none()).count();
        hold(open == 0, || format!("{open} connections have no account"))?;
        let Some(report) = report else { return Ok(()) };
        let all = network.lines.iter().filter_map(|line| line.closed);
        let (mut late, mut unsent, mut aborted) = (0, 0, 0);
        for closed in all {
            late += closed.bytes.late;
            unsent += closed.bytes.unsent;
            aborted += closed.bytes.peer_aborted;
        }
        let bytes = report.bytes;
        hold(
            bytes.late == late && bytes.unsent == unsent && bytes.peer_aborted == aborted,
            || format!("{bytes:?} are not the sums {late}, {unsent}, {aborted}"),
        )?;
        hold(bytes.held() == 0, || format!("{} bytes went nowhere", bytes.held()))?;
        hold(report.connections.accepted == report.connections.closed(), || {
            format!("accepted is not the sum of closed: {:?}", report.connections)
        })?;
        check_way_in(&network, &report)?;
        let unproved = network.lines.iter().filter(|line| line.in_stop && !line.proved).count();
        hold(report.unconfirmed == unproved as u64, || {
            format!("{} unconfirmed, in truth {unproved}", report.unconfirmed)
        })?;
        let grade = report.grade().ok_or("no grade after the end")?;
        for (at, line) in network.lines.iter().enumerate().filter(|(_, line)| line.is_open) {
            let wrong = untrue(line, grade);
            hold(wrong.is_none(), || {
                format!("line {at}: {}, {}\n{line:#?}", wrong.unwrap_or_default(), grade)
            })?;
        }
        Ok(())
    }
}

/// Every client that came has its fate, and the report knows of those who were lost.
fn check_way_in(network: &Network, report: &Report) -> Result<(), String> {
    let count = |fate| network.lines.iter().filter(|line| line.fate == fate).count() as u64;
    let pending = count(Fate::Queued) + count(Fate::Taken);
    hold(pending == 0, || format!("{pending} clients are in nobody's hands"))?;
    let told = report.connections.backlog_left;
    hold(told.is_some() || network.countless, || "clients that nobody counted".to_owned())?;
    let (counted, lost) = (count(Fate::Counted), count(Fate::Lost));
    hold(told.is_none_or(|told| told == counted && lost == 0), || {
        format!("{counted} clients let go, {lost} lost, {told:?} in the report")
    })
}

/// The counters are those of the report.
fn check_stats(stats: &Stats, open: usize, phase: Phase, report: &Report) -> Result<(), String> {
    let Report { connections, bytes, .. } = report;
    let told = [stats.open, stats.accepted, stats.closed, stats.read, stats.written, stats.held];
    let true_ones = [
        open as u64,
        connections.accepted,
        connections.closed(),
        bytes.read,
        bytes.written,
        bytes.held(),
    ];
    hold(told == true_ones && stats.phase == phase, || format!("{stats:?} of {report:?}"))
}

fn is_live(line: &Line) -> bool {
    line.is_open && line.closed.is_none()
}

/// Work that nobody will come back to: no event is due, no turn is called for.
fn forgotten(line: &Line, paused: bool) -> Option<&'static str> {
    let input = line.duplex.has_input() && !line.queued;
    if line.fin_at.is_some() {
        return input.then_some("input after our FIN is forgotten");
    }
    if line.held() > 0 {
        let room = line.duplex.is_writable() && !line.duplex.starved && !line.queued;
        let broken = line.duplex.fault.is_some() && !line.queued;
        return (room || broken).then_some("what is owed is forgotten");
    }
    (input && !paused).then_some("input is forgotten")
}

/// What should have happened by `when`, no turn being called for before.
fn overdue(
    line: &Line,
    network: &Network,
    phase: Phase,
    paused: bool,
    when: u64,
) -> Option<&'static str> {
    let Times { grace, linger, idle_timeout, drain } = network.times;
    let silence = when - line.last_byte;
    let over = |time: u64, limit: u64| time > limit.saturating_add(limit / 8 + ROUNDING);
    if let Some(fin) = line.fin_at {
        return (phase < Phase::Forcing && over(when - fin, linger))
            .then_some("lingers beyond its time");
    }
    let drained = network.draining_since.map_or(0, |since| when - since);
    // Behind one that moved when the drain came by, a connection may wait for that one's time.
    let silence = silence.min(network.visited_at.map_or(u64::MAX, |at| when - at));
    let open = match (phase, drain) {
        (Phase::Running | Phase::LameDuck, _) | (Phase::Draining, Drain::Peer) => {
            return idle_timeout
                .is_some_and(|timeout| over(silence, timeout))
                .then_some("idle beyond its time");
        }
        (Phase::Draining, _) => line.held() == 0,
        (Phase::Forcing | Phase::Finished, _) => return Some("left over in the last phase"),
    };
    let impatient = drained > grace.saturating_mul(5).saturating_add(ROUNDING);
    let dry = open && !line.duplex.has_input() && !paused;
    if open && impatient && !paused {
        return Some("open beyond all patience");
    }
    match drain {
        Drain::Flush if dry => Some("dry, and not done"),
        Drain::Idle if dry && over(silence, grace) => Some("quiet, and not done"),
        Drain::Flush | Drain::Idle | Drain::Peer => None,
    }
}

/// What the report says and the peer did not see.
fn untrue(line: &Line, grade: Grade) -> Option<&'static str> {
    let Some(closed) = line.closed else { return Some("has no account") };
    let duplex = &line.duplex;
    let complete = duplex.received == closed.bytes.written;
    let aborted = matches!(closed.reason, CloseReason::ResetByPeer | CloseReason::IoError);
    let confirmed = line.in_stop && grade >= Grade::Confirmed;
    // What can still go wrong once we closed is not ours: the peer breaks off, or reads no more.
    let reads = line.peer.is_healthy() && !duplex.dead;
    let rules = [
        (duplex.received > closed.bytes.written, "got more than was written"),
        (line.peer.saw == Some(Saw::Fin) && !complete, "a FIN before the last byte"),
        (line.peer.saw == Some(Saw::Fin) && closed.bytes.unsent > 0, "a cut that looks complete"),
        (
            line.in_stop && grade >= Grade::Lossless && closed.bytes.unsent > 0,
            "lossless with a loss",
        ),
        (
            confirmed
                && !aborted
                && !duplex.eof_read
                && duplex.delivered != closed.bytes.written
                && !duplex.dead,
            "confirmed, and not delivered",
        ),
        (confirmed && reads && !aborted && !complete, "confirmed, and not complete"),
        (
            line.in_stop
                && grade == Grade::Complete
                && line.unread > 0
                && !aborted
                && reads
                && !line.hiccuped,
            "complete, and left something unread",
        ),
    ];
    rules.into_iter().find_map(|(broken, rule)| broken.then_some(rule))
}
