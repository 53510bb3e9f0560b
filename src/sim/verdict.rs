//! The laws: what must hold at the end of a life.

use super::account::is_aborted;
use super::check::hold;
use super::duplex::LEAST_SEGMENT;
use super::host::Host;
use super::inside;
use super::line::{Fate, Line, ROUNDING};
use super::network::Network;
use super::peer::Saw;
use super::transcript::Over;
use crate::accept::pair::Visibility;
use crate::engine::dialogue::Speaks;
use crate::engine::observer::Closed;
use crate::engine::phase::{Cause, Phase};
use crate::engine::report::{ByteCounts, CloseReason, Grade, Report};
use crate::token::Readiness;

impl<P: Speaks> Host<P> {
    pub(super) fn check_end(&mut self) -> Result<(), String> {
        self.check_rest()?;
        let report = self.engine().map(|engine| engine.report().clone());
        self.network.lock().dropping = true;
        self.core = None;
        self.note_end(report.as_ref().and_then(Report::grade));
        self.live_on()?;
        let network = self.network.lock();
        let open =
            network.lines.iter().filter(|line| line.is_open && line.closed.is_none()).count();
        hold(open == 0, || format!("{open} connections have no account"))?;
        let Some(report) = report else { return Ok(()) };
        check_sums(&network, &report)?;
        check_way_in(&network, &report)?;
        let grade = report.grade().ok_or("no grade after the end")?;
        let unproved = network.lines.iter().position(|line| line.in_stop && !line.proved);
        hold(grade < Grade::Confirmed || unproved.is_none(), || {
            let at = unproved.unwrap_or_default();
            format!("line {at}: {grade}, and not known to have all\n{:#?}", network.lines[at])
        })?;
        for (at, line) in network.lines.iter().enumerate() {
            let wrong = untrue(line, grade).filter(|_| line.is_open);
            let wrong = wrong.or_else(|| broken_promise(line, &network, grade));
            hold(wrong.is_none(), || {
                format!("line {at}: {}, {grade}\n{line:#?}", wrong.unwrap_or_default())
            })?;
        }
        Ok(())
    }

    /// What comes after the end does nothing.
    fn check_rest(&mut self) -> Result<(), String> {
        let now = self.instant();
        let Some(core) = &mut self.core else { return Ok(()) };
        let engine = &mut core.engine;
        let before = format!("{:?}", engine.report());
        engine.request(Cause::Requested, now);
        engine.force(Cause::Requested, now);
        hold(engine.phase() == Phase::Finished, || format!("{} again", engine.phase()))?;
        hold(format!("{:?}", engine.report()) == before, || "told twice".to_owned())?;
        hold(!engine.handle_ready(0, Readiness::READABLE, now), || "a ghost".to_owned())?;
        hold(core.next_deadline().is_none(), || "finished, and not at rest".to_owned())?;
        inside::audit(&mut core.engine)?;
        hold(inside::is_quota_empty(&core.engine), || "a share was not given back".to_owned())
    }

    /// Has the clients and the kernels go on without the server.
    fn live_on(&mut self) -> Result<(), String> {
        let mut network = self.network.lock();
        for line in network.lines.iter_mut().filter(|line| line.peer.script.gulp > 0) {
            line.peer.script.gulp = u64::MAX;
            line.peer.script.asleep = None;
        }
        let settled = self.now.saturating_add(self.plan.span.saturating_mul(1_000) + 10_000_000);
        for _ in 0..200_000 {
            match network.next_wake() {
                Some(next) if next <= settled => network.run_until(next),
                _ => break,
            }
        }
        network.broken.clone().map_or(Ok(()), Err)
    }
}

fn check_sums(network: &Network, report: &Report) -> Result<(), String> {
    let all = network.lines.iter().filter_map(|line| line.closed);
    let mut sums = ByteCounts::default();
    for ByteCounts { read, written, late, unsent, peer_aborted, served, .. } in
        all.clone().map(|closed| closed.bytes)
    {
        sums.read += read;
        sums.written += written;
        sums.late += late;
        sums.unsent += unsent;
        sums.peer_aborted += peer_aborted;
        sums.served += served;
    }
    for ByteCounts { produced, unserved, incomplete, .. } in all.map(|closed| closed.bytes) {
        sums.produced += produced;
        sums.unserved += unserved;
        sums.incomplete += incomplete;
    }
    let bytes = report.bytes;
    hold(bytes == sums, || format!("{bytes:?} are not the sums {sums:?}"))?;
    hold(bytes.held() == 0, || format!("{} bytes went nowhere", bytes.held()))?;
    hold(report.connections.accepted == report.connections.closed(), || {
        format!("accepted is not the sum of closed: {:?}", report.connections)
    })
}

/// Every client that came has its fate, and the report knows of those who were lost.
fn check_way_in(network: &Network, report: &Report) -> Result<(), String> {
    let count = |fate| network.lines.iter().filter(|line| line.fate == fate).count() as u64;
    let pending = count(Fate::Queued) + count(Fate::Taken);
    hold(pending == 0, || format!("{pending} clients are in nobody's hands"))?;
    let told = report.connections.backlog_left;
    hold(told.is_some() || network.countless, || "clients that nobody counted".to_owned())?;
    let counted = count(Fate::Counted) + count(Fate::Unregistered);
    let lost = count(Fate::Lost);
    hold(told.is_none_or(|told| told == counted && lost == 0), || {
        format!("{counted} clients let go, {lost} lost, {told:?} in the report")
    })?;
    let handshakes = report.connections.half_open;
    if let Some(known) = handshakes {
        hold(known.seen == known.completed + known.stale + known.left, || format!("{known:?}"))?;
    }
    let severed = network.lines.iter().enumerate().filter_map(|(at, line)| {
        let wrong = severed(line, network)?;
        Some(format!("line {at}: {wrong}, {handshakes:?}\n{line:#?}"))
    });
    severed.take(1).try_for_each(Err)?;
    // Where no gate was shut others may have come after the last look.
    let cut = network
        .lines
        .iter()
        .any(|line| line.fate == Fate::Severed && network.doors[line.door].gate_shut);
    hold(!cut || handshakes.is_none_or(|known| known.left + known.stale > 0), || {
        format!("half-open handshakes were cut, {handshakes:?} in the report")
    })?;
    let gated = !network.doors.iter().any(|door| door.ungated);
    hold(report.gated != Some(true) || gated, || "gated, and a gate stood open".to_owned())
}

/// A client that was reset though its handshake was complete on its side, and its ACK in time.
fn severed(line: &Line, network: &Network) -> Option<&'static str> {
    let (at, phase) = line.severed.filter(|_| line.fate == Fate::Severed)?;
    let door = &network.doors[line.door];
    let since = network.draining_since?;
    let wait = match door.make.visibility {
        Visibility::Shown if !door.hidden => network.times.handshake,
        Visibility::Cookies => network.times.handshake.min(100_000),
        Visibility::Shown | Visibility::Hidden => network.times.handshake.min(50_000),
        Visibility::Shared | Visibility::NoHandshakes => return None,
    };
    let shaken = line.handshake;
    let in_time = shaken.completes <= since.saturating_add(wait).saturating_sub(ROUNDING);
    let alive = line.peer.is_healthy() && !door.is_dead(at) && shaken.syn <= since;
    let promised = phase == Phase::Draining && alive && in_time;
    promised.then_some("reset with its handshake complete on its side")
}

/// What the report says and the peer did not see.
fn untrue(line: &Line, grade: Grade) -> Option<&'static str> {
    let Some(closed) = line.closed else { return Some("has no account") };
    let duplex = &line.duplex;
    let received = line.received();
    let complete = received >= closed.bytes.written;
    let aborted = is_aborted(&closed);
    let confirmed = line.in_stop && grade >= Grade::Confirmed;
    // What can still go wrong once we closed is not ours: the peer breaks off, or reads no more.
    let reads = line.peer.is_healthy() && !duplex.dead && !duplex.peer_reset;
    let saw_fin = line.peer.saw == Some(Saw::Fin);
    let rules = [
        (received > duplex.down.written, "got more than was written"),
        (saw_fin && !complete, "a FIN before the last byte"),
        (
            // What comes while our FIN is on its way is cut by a reset behind it.
            saw_fin && line.talk.is_none() && received + line.late < duplex.up.read,
            "a cut that looks complete",
        ),
        (
            saw_fin && line.talk.as_ref().is_some_and(|talk| received < talk.produced),
            "a cut that looks like a whole answer",
        ),
        (
            saw_fin && closed.bytes.unserved > 0 && closed.reason != CloseReason::ForcedLossy,
            "a cut that looks like silence",
        ),
        (
            line.in_stop && grade >= Grade::Lossless && closed.bytes.unserved > 0,
            "lossless with something unserved",
        ),
        (
            line.in_stop && grade == Grade::Complete && closed.bytes.incomplete > 0,
            "complete with something incomplete",
        ),
        (
            // Where the kernel cannot be asked nobody knows what a close leaves to it.
            (duplex.cut || duplex.timed_out)
                && (line.asks || duplex.reset_asked || duplex.timed_out)
                && received < closed.bytes.written,
            "bytes that our reset destroyed count as written",
        ),
        (
            line.in_stop && grade >= Grade::Lossless && closed.bytes.unsent > 0,
            "lossless with a loss",
        ),
        (
            confirmed && !aborted && line.received_at_end < closed.bytes.written && !duplex.dead,
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

/// Whether something that a client handed over before the stop was asked for was not dealt with,
/// or the answer did not come.
fn is_lost(line: &Line, closed: &Closed) -> bool {
    // Past all patience it got its FIN: no server can see that so small a window was full.
    let is_tiny = line.duplex.up.size < 2 * LEAST_SEGMENT;
    if is_tiny && line.fin_at.is_some() && line.arrived_at_fin < line.promised {
        return false;
    }
    let Some(talk) = &line.talk else {
        return line.promised > line.received() && line.peer.is_healthy();
    };
    let broken_off = matches!(talk.over, Some(Over::Abort | Over::Fault));
    let ended = broken_off || talk.over == Some(Over::Finish);
    let served = talk.consumed + closed.bytes.incomplete;
    let cut = line.received() < talk.produced && !broken_off;
    // It closed, and did not want what was still to be said.
    let left = line.duplex.peer_reset || line.duplex.peer_closed && is_aborted(closed);
    let healthy = line.peer.is_healthy() && !left;
    healthy && (line.promised > served && !ended || cut)
}

/// What a client handed over before the stop was asked for, and never got back.
fn broken_promise(line: &Line, network: &Network, grade: Grade) -> Option<&'static str> {
    let closed = line.closed.filter(|closed| line.in_stop && is_lost(line, closed))?;
    if network.dropping && line.closed_in.is_none_or(|phase| phase == Phase::Running) {
        return None;
    }
    let cut_short = line.closed_in.is_some_and(|phase| phase >= Phase::Forcing);
    let limited = closed.reason == CloseReason::IdleTimeout || line.duplex.timed_out;
    let vanished = line.duplex.vanished.is_some();
    // Where the kernel cannot be asked a connection lingers for its time, whatever is on its way.
    let unknown = !line.asks && line.fin_at.is_some() && !line.duplex.reset_asked;
    let vanished = vanished || unknown && line.duplex.cut;
    let lossless = grade >= Grade::Lossless;
    // Nobody can know of what is on its way when a limit comes to its end.
    let unheard = (cut_short || limited) && line.arrived_at_fin < line.promised;
    let rules = [
        (!cut_short && !limited && !vanished, "what was handed over in time never came back"),
        (lossless && !unheard && !vanished, "lossless, and what was handed over in time is lost"),
    ];
    rules.into_iter().find_map(|(broken, rule)| broken.then_some(rule))
}
