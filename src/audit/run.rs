//! An audit from its beginning to its end.

use std::net::SocketAddr;
use std::time::Duration;

use super::clock::nanos;
use super::crew::Crew;
use super::error::Error;
use super::error::ErrorKind;
use super::expected::Body;
use super::kind::Kind;
use super::learn::learn;
use super::plan::Plan;
use super::request::Requests;
use super::results::Audit;
use super::subject::Flow;
use super::subject::Progress;
use super::subject::Stage;
use super::subject::Subject;

/// The clients whose requests are the load before the stop.
const LOAD: [Kind; 4] = [Kind::New, Kind::Busy, Kind::Idle, Kind::Slow];

/// Half-sent requests are begun so long before the stop, and may take so long.
const HALF_BEFORE: u64 = 200_000_000;
const HALF_WITHIN: u64 = 1_000_000_000;

/// Connects to the frozen server may take so long.
const QUEUE_WITHIN: u64 = 100_000_000;

/// The children run again so long after the signalled process.
const THAW_AFTER: u64 = 20_000_000;

const TICK: u64 = 100_000_000;

/// The process is looked at so often.
const LOOK: u64 = 1_000_000;

/// Carries out one audit, in the calling thread.
///
/// Failures of connections and requests are data in the [`Audit`]. The server's process is
/// touched by `subject` alone.
///
/// # Errors
///
/// When the plan cannot be carried out: see [`ErrorKind`].
pub fn run(plan: &Plan, address: SocketAddr, subject: &mut dyn Subject) -> Result<Audit, Error> {
    plan.check().map_err(|why| Error::new(ErrorKind::Plan, why))?;
    let slow_path = plan.slow_path.as_deref().unwrap_or_else(|| plan.target.path());
    let mut requests = Requests::new(&plan.target, slow_path, plan.seed);
    let expected = learn(plan, address, &mut requests, subject)?;
    let crew = Crew::new(plan, address, requests, expected).map_err(system)?;
    let mut run = Run {
        crew,
        subject,
        stage: Stage::Warmup,
        tick_at: 0,
        look_at: 0,
        is_interrupted: false,
        is_queue_left_out: false,
        came_back: None,
    };
    run.load()?;
    if !run.is_interrupted {
        run.stop()?;
    }
    Ok(run.finish())
}

struct Run<'p, 's> {
    crew: Crew<'p>,
    subject: &'s mut dyn Subject,
    stage: Stage,
    tick_at: u64,
    look_at: u64,
    is_interrupted: bool,
    is_queue_left_out: bool,
    came_back: Option<bool>,
}

impl Run<'_, '_> {
    /// The load before the stop.
    fn load(&mut self) -> Result<(), Error> {
        self.crew.clock.count();
        let began = self.crew.clock.now();
        self.crew.tally.begun_at = began;
        LOAD.into_iter().for_each(|kind| self.crew.add(kind));
        let end = began.saturating_add(nanos(self.crew.plan.warmup));
        self.turn_until(end.saturating_sub(HALF_BEFORE), |_| false)?;
        self.crew.add(Kind::Half);
        self.turn_until(end, |_| false)?;
        let limit = self.crew.clock.now().saturating_add(HALF_WITHIN);
        self.turn_until(limit, |crew| crew.are_ready(Kind::Half))?;
        self.crew.drop_unready(Kind::Half);
        self.check_alive()
    }

    /// Fills the accept queue, stops the server, and follows what becomes of the clients.
    fn stop(&mut self) -> Result<(), Error> {
        self.fill_queue()?;
        self.crew.mark_stop();
        let stopped = self.subject.stop();
        self.crew.clock.count();
        let stopped = stopped.map_err(|error| {
            let message = format!("cannot stop the server: {error}");
            Error::new(ErrorKind::Stop, message)
        });
        if stopped.is_err() {
            self.subject.thaw();
        }
        stopped?;
        self.stage = Stage::Stopping;
        let stop = self.crew.clock.now();
        self.turn_until(stop.saturating_add(THAW_AFTER), |_| false)?;
        self.subject.thaw();
        self.follow(stop)?;
        self.settle()
    }

    /// Has clients connect and send while the server stands still, so that they are in its accept
    /// queue when it is stopped.
    fn fill_queue(&mut self) -> Result<(), Error> {
        if self.crew.plan.count(Kind::Queued) == 0 {
            return Ok(());
        }
        let is_frozen = self.subject.freeze();
        self.crew.clock.count();
        if !is_frozen {
            self.is_queue_left_out = true;
            return Ok(());
        }
        self.crew.add(Kind::Queued);
        let limit = self.crew.clock.now().saturating_add(QUEUE_WITHIN);
        let filled = self.turn_until(limit, |crew| crew.are_ready(Kind::Queued));
        if filled.is_err() {
            self.subject.thaw();
        }
        filled?;
        self.crew.drop_unready(Kind::Queued);
        Ok(())
    }

    /// Turns until the clients have nothing more to learn from the stop.
    fn follow(&mut self, stop: u64) -> Result<(), Error> {
        let plan = self.crew.plan;
        let settle = nanos(plan.settle);
        let limit = stop.saturating_add(nanos(plan.exit_within));
        if plan.restart {
            return self.follow_restart(stop.saturating_add(settle), limit);
        }
        loop {
            if self.is_interrupted {
                return Ok(());
            }
            let now = self.crew.clock.now();
            let until = now.saturating_add(LOOK);
            self.turn_until(until, |_| false)?;
            let now = self.crew.clock.now();
            let is_gone = self.look(now);
            let is_over = self.crew.is_over() && is_gone != Some(false);
            let gone_at = self.crew.tally.gone_at;
            let is_late = gone_at.is_some_and(|at| at.saturating_add(settle) <= now);
            if is_over || is_late || now >= limit {
                return Ok(());
            }
        }
    }

    /// Turns until the settle time is over and the service is there.
    fn follow_restart(&mut self, least: u64, limit: u64) -> Result<(), Error> {
        self.look_until(least)?;
        let mut known = self.crew.tally.answered;
        loop {
            let now = self.crew.clock.now();
            // An answer that came within the last tenth of a second, or not at all.
            self.look_until(now.saturating_add(TICK))?;
            let answered = self.crew.tally.answered;
            let is_back = answered > known && self.crew.is_served();
            known = answered;
            self.came_back = Some(is_back);
            if is_back || self.is_interrupted || self.crew.clock.now() >= limit {
                return Ok(());
            }
        }
    }

    fn look_until(&mut self, until: u64) -> Result<(), Error> {
        while self.crew.clock.now() < until && !self.is_interrupted {
            let next = self.crew.clock.now().saturating_add(LOOK).min(until);
            self.turn_until(next, |_| false)?;
            self.look(self.crew.clock.now());
        }
        Ok(())
    }

    /// Waits for what is in flight, and for the process if its time is not over.
    fn settle(&mut self) -> Result<(), Error> {
        self.stage = Stage::Settling;
        self.crew.close();
        let limit = self.crew.clock.now().saturating_add(nanos(self.crew.plan.settle));
        // One turn more than the patience, in which the last ones are judged.
        let limit = limit.saturating_add(TICK);
        while !self.is_interrupted && !self.crew.is_over() && self.crew.clock.now() < limit {
            let next = self.crew.clock.now().saturating_add(LOOK);
            self.turn_until(next, |crew| crew.is_over())?;
            self.look(self.crew.clock.now());
        }
        Ok(())
    }

    /// Looks whether the process is gone.
    fn look(&mut self, now: u64) -> Option<bool> {
        if self.crew.tally.gone_at.is_some() {
            return Some(true);
        }
        if now < self.look_at {
            return Some(false);
        }
        self.look_at = now.saturating_add(LOOK);
        let is_gone = self.subject.is_gone();
        if is_gone == Some(true) {
            self.crew.tally.gone_at = Some(now);
        }
        is_gone
    }

    fn check_alive(&mut self) -> Result<(), Error> {
        if self.subject.is_gone() == Some(true) {
            let message = "the server ended by itself before it was stopped";
            return Err(Error::new(ErrorKind::Ended, message));
        }
        Ok(())
    }

    /// Turns until then, until it is done, or until the audit is ended from outside.
    fn turn_until(&mut self, until: u64, is_done: fn(&mut Crew<'_>) -> bool) -> Result<(), Error> {
        while self.crew.clock.now() < until && !self.is_interrupted && !is_done(&mut self.crew) {
            self.crew.turn(until.min(self.tick_at)).map_err(system)?;
            self.tick();
        }
        Ok(())
    }

    fn tick(&mut self) {
        let now = self.crew.clock.now();
        if now < self.tick_at {
            return;
        }
        self.tick_at = now.saturating_add(TICK);
        let tally = &self.crew.tally;
        let since = tally.stopped_at.unwrap_or(tally.begun_at);
        let (lost, raced) = tally.failed();
        let progress = Progress {
            stage: self.stage,
            elapsed: Duration::from_nanos(now.saturating_sub(since)),
            answered: tally.answered,
            in_flight: u64::try_from(self.crew.in_flight()).unwrap_or(u64::MAX),
            lost,
            raced,
        };
        if self.subject.tick(&progress) == Flow::Stop {
            self.is_interrupted = true;
        }
    }

    fn finish(mut self) -> Audit {
        self.subject.thaw();
        self.crew.withdraw();
        let Crew { plan, clock, tally, expected, .. } = self.crew;
        let is_queue_left_out = self.is_queue_left_out;
        let takes_part =
            |kind| plan.count(kind) > 0 && !(kind == Kind::Queued && is_queue_left_out);
        let mut audit = tally.finish(takes_part, clock.now());
        audit.is_interrupted = self.is_interrupted;
        audit.is_queue_left_out = is_queue_left_out;
        audit.came_back = self.came_back;
        audit.paused = clock.paused();
        for expected in expected.into_iter().flatten() {
            audit.bodies_differ |= expected.body == Body::Any;
            for status in expected.statuses {
                if !audit.statuses.contains(&status) {
                    audit.statuses.push(status);
                }
            }
        }
        audit
    }
}

fn system(error: std::io::Error) -> Error {
    Error::new(ErrorKind::System, format!("the system refused a poll: {error}"))
}
