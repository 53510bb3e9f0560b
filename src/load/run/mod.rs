//! The coordinator: leads its workers through the phases and gathers what they find.

mod gather;
mod ramp;
mod stop;
mod team;

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, SystemTime};

use self::team::{WorkerHandle, worker_plans};
use super::clock::{Clock, NEVER, nanos};
use super::control::{Control, Milestone, Milestones, Phase, Progress, WorkerMessage};
use super::observer::{Flow, Observer};
use super::payload::PayloadBlock;
use super::plan::Plan;
use super::pool::Pool;
use super::results::Results;
use super::series::Series;
use super::worker::{PAUSE_MIN, Shared};
use crate::error::Error;

/// The observer is asked this often.
const TICK: Duration = Duration::from_millis(100);

/// A run that began within this after its time of day began on time.
const ON_TIME: Duration = Duration::from_millis(100);

/// The end of an interrupted run waits for the server this long at most.
const HURRY: Duration = Duration::from_secs(1);

/// Carries out `plan` and blocks until it is done, on `plan.threads` further threads.
///
/// Failures of connections are data in the [`Results`]. No signal handler is installed and no
/// process-wide limit touched.
///
/// # Errors
///
/// [`ErrorKind::Config`](crate::ErrorKind::Config) for a value out of range,
/// [`ErrorKind::Poll`](crate::ErrorKind::Poll) where a poll or a thread cannot be had.
pub fn run(plan: Plan, observer: &mut dyn Observer) -> Result<Results, Error> {
    plan.check()?;
    let (sender, inbox) = mpsc::channel();
    let plan = Arc::new(plan);
    let control = Arc::new(Control::new(Clock::start()));
    let pool = Pool::choose(&plan);
    let preferred: Arc<[AtomicU32]> = plan.targets.iter().map(|_| AtomicU32::new(0)).collect();
    let shared = Shared {
        plan: Arc::clone(&plan),
        block: Arc::new(PayloadBlock::new(plan.seed)),
        pool: pool.map(Arc::new),
        preferred: Arc::clone(&preferred),
        control: Arc::clone(&control),
        coordinator: sender,
    };
    let mut workers = Vec::new();
    for worker_plan in worker_plans(&plan) {
        workers.push(WorkerHandle::start(&shared, worker_plan)?);
    }
    let has_schedule = plan.rate_of(plan.active_connections()).is_some();
    let block = Arc::clone(&shared.block);
    drop(shared);
    let series = Series::new(plan.interval, workers.len(), has_schedule);
    let reached = vec![Milestones::default(); workers.len()];
    let results = Results::default();
    let now = control.clock.now();
    let at = |time: SystemTime| control.clock.at(time);
    let (start_at, stop_at) = (plan.start_at.map(at), plan.stop_at.map(at));
    let mut run = Run {
        plan,
        control,
        block,
        workers,
        inbox,
        observer,
        series,
        reached,
        results,
        preferred,
        start_at,
        stop_at,
        tick_at: 0,
        seen_at: now,
    };
    run.lead();
    Ok(run.gather())
}

struct Run<'o> {
    plan: Arc<Plan>,
    control: Arc<Control>,
    block: Arc<PayloadBlock>,
    workers: Vec<WorkerHandle>,
    inbox: Receiver<(usize, WorkerMessage)>,
    observer: &'o mut dyn Observer,
    series: Series,
    reached: Vec<Milestones>,
    results: Results,
    preferred: Arc<[AtomicU32]>,
    /// When measuring begins and when the server is stopped, where a time of day is given.
    start_at: Option<u64>,
    stop_at: Option<u64>,
    tick_at: u64,
    /// When this thread last looked at the clock.
    seen_at: u64,
}

impl Run<'_> {
    /// Leads the workers through all phases.
    fn lead(&mut self) {
        self.enter(Phase::Connecting);
        // The workers have been connecting since the clock was started.
        let began = 0;
        let is_late = self.start_at.is_some_and(|start| start <= began);
        if is_late {
            self.wait_until(NEVER, &[Milestone::Connected]);
        } else {
            self.wait_until(self.start_at.unwrap_or(NEVER), &[Milestone::Connected]);
        }
        let connected = self.control.clock.now();
        if let Some(start) = self.start_at
            && connected >= start
            && (is_late || !self.have_all_reached(&[Milestone::Connected]))
        {
            self.results.late_by = Some(Duration::from_nanos(connected.saturating_sub(start)));
        }
        self.results.connect.elapsed = Duration::from_nanos(connected);
        let nobody = self.progress().open == 0;
        if !self.results.interrupted && !nobody {
            self.load();
        } else {
            self.close();
        }
        self.enter(Phase::Finished);
        self.series.end(self.control.since());
    }

    /// The load itself, and its end.
    fn load(&mut self) {
        self.warm_up();
        let mut end = self.control.clock.now();
        if !self.results.interrupted {
            end = self.measure();
        }
        let measured = self.series.start().is_some();
        if self.plan.has_audit() && measured && !self.results.interrupted {
            self.audit();
            return;
        }
        self.enter_since(Phase::Settling, end);
        self.measured_until(end);
        self.series.end(end);
        self.wait_on(self.patience(), &[Milestone::Settled]);
        self.close();
    }

    /// Loads the server unmeasured, until the time of day to begin where one is given.
    fn warm_up(&mut self) {
        let warmup = nanos(self.plan.warmup);
        if let Some(start) = self.start_at {
            self.wait_until(start.saturating_sub(warmup), &[]);
        }
        if warmup > 0 && !self.results.interrupted {
            self.enter(Phase::Warmup);
            let end = self.start_at.unwrap_or_else(|| self.control.since().saturating_add(warmup));
            self.wait_until(end, &[Milestone::Empty]);
        }
    }

    /// Measures; returns when that ended.
    fn measure(&mut self) -> u64 {
        let now = self.control.clock.now();
        // The workers know the planned end before it comes: what is due then is outside.
        let is_late = self.results.late_by.is_some_and(|late| late > ON_TIME);
        let planned = self.start_at.filter(|start| *start <= now && !is_late);
        let began = planned.unwrap_or(now);
        let duration = self.plan.stop_after.unwrap_or(self.plan.duration);
        let planned = match self.stop_at {
            Some(stop) => stop,
            None if !self.plan.steps.is_empty() => NEVER,
            None => began.saturating_add(nanos(duration)),
        };
        self.control.plan_end(planned);
        self.enter_since(Phase::Measuring, began);
        self.series.begin(began);
        let before = Duration::from_nanos(now.saturating_sub(began));
        self.results.measured_from = SystemTime::now().checked_sub(before);
        if self.plan.steps.is_empty() {
            return self.wait_until(planned, &[Milestone::Spent, Milestone::Empty]);
        }
        self.climb()
    }

    fn close(&mut self) {
        self.enter(Phase::Closing);
        self.wait_on(self.patience().max(TICK), &[Milestone::Empty]);
    }

    /// How long the end of the run waits for the server.
    fn patience(&self) -> Duration {
        if self.results.interrupted { self.plan.settle.min(HURRY) } else { self.plan.settle }
    }

    fn measured_until(&mut self, now: u64) {
        if let Some(start) = self.series.start() {
            self.results.load.elapsed = Duration::from_nanos(now.saturating_sub(start));
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.enter_since(phase, self.control.clock.now());
    }

    /// Enters a phase that began at `since`, now or a moment ago.
    fn enter_since(&mut self, phase: Phase, since: u64) {
        self.control.enter(phase, since);
        self.wake();
        self.observer.entered(phase);
    }

    fn wake(&self) {
        for worker in &self.workers {
            if let Err(error) = worker.waker.wake() {
                log::error!("a load generator thread cannot be woken: {error}");
            }
        }
    }

    /// Waits until every worker has reached one of these milestones, at most until `deadline`, or
    /// until the observer ends it. Returns when that was, at the latest `deadline`.
    fn wait_until(&mut self, deadline: u64, any_of: &[Milestone]) -> u64 {
        loop {
            self.tick();
            let now = self.control.clock.now();
            let done = !any_of.is_empty() && self.have_all_reached(any_of);
            if done || now >= deadline || self.results.interrupted {
                return now.min(deadline);
            }
            let until = deadline.min(self.tick_at);
            self.listen(Duration::from_nanos(until.saturating_sub(now)));
            self.notice_pause(until);
        }
    }

    /// Waits from now on for at most `patience`, even if the observer has ended the run. Time in
    /// which this thread stood still does not count.
    fn wait_on(&mut self, patience: Duration, any_of: &[Milestone]) {
        let interrupted = std::mem::replace(&mut self.results.interrupted, false);
        let mut deadline = self.control.clock.now().saturating_add(nanos(patience));
        loop {
            let total = self.results.pauses.total;
            self.wait_until(deadline.min(self.tick_at), any_of);
            let paused = self.results.pauses.total.saturating_sub(total);
            deadline = deadline.saturating_add(nanos(paused));
            let is_over = self.control.clock.now() >= deadline;
            if is_over || self.have_all_reached(any_of) || self.results.interrupted {
                break;
            }
        }
        self.results.interrupted |= interrupted;
    }

    /// Counts the time that this thread stood still, if it woke much later than `expected`.
    /// Returns that time.
    fn notice_pause(&mut self, expected: u64) -> u64 {
        let now = self.control.clock.now();
        let late = now.saturating_sub(expected.max(self.seen_at));
        self.seen_at = now;
        if late <= PAUSE_MIN {
            return 0;
        }
        self.results.pauses.add(late);
        late
    }

    /// Returns whether every worker has reached one of these milestones.
    fn have_all_reached(&self, any_of: &[Milestone]) -> bool {
        self.reached.iter().all(|reached| any_of.iter().any(|one| reached.contains(*one)))
    }

    fn tick(&mut self) {
        let now = self.control.clock.now();
        if now < self.tick_at {
            return;
        }
        self.tick_at = now.saturating_add(nanos(TICK));
        let progress = self.progress();
        if self.observer.tick(&progress) == Flow::Stop {
            self.results.interrupted = true;
        }
    }

    fn progress(&self) -> Progress {
        let now = self.control.clock.now();
        let phase = self.control.phase();
        let planned = match phase {
            Phase::Warmup => Some(self.plan.warmup),
            Phase::Measuring => self.planned_duration(),
            Phase::Auditing => Some(self.plan.exit_within),
            Phase::Settling => Some(self.plan.settle),
            _ => None,
        };
        let mut progress = Progress {
            phase,
            elapsed: Duration::from_nanos(now.saturating_sub(self.control.since())),
            planned,
            requested: u64::try_from(self.plan.connections).unwrap_or(u64::MAX),
            ..Progress::default()
        };
        self.workers.iter().for_each(|worker| progress.add(&worker.gauges));
        progress
    }

    /// How long the measured time is planned to be.
    fn planned_duration(&self) -> Option<Duration> {
        if !self.plan.steps.is_empty() {
            return None;
        }
        let stop = self.stop_at.map(|at| at.saturating_sub(self.control.since()));
        let duration = self.plan.stop_after.unwrap_or(self.plan.duration);
        Some(stop.map_or(duration, Duration::from_nanos))
    }
}
