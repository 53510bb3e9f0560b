//! The coordinator: leads its workers through the phases and gathers what they find.

mod stop;

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mio::Waker;

use super::clock::{Clock, NEVER, nanos};
use super::control::{Control, Gauges, Milestone, Milestones, Phase, Progress, WorkerMessage};
use super::counts::WorkerCounts;
use super::observer::{Flow, Observer};
use super::payload::PayloadBlock;
use super::plan::Plan;
use super::results::Results;
use super::series::Series;
use super::source::Pool;
use super::worker::{Shared, Worker, WorkerPlan};
use crate::error::{Error, ErrorKind};

/// The observer is asked this often.
const TICK: Duration = Duration::from_millis(100);

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
    let pool = Pool::choose(&plan.sources, plan.source_ports, &plan.targets, plan.connections);
    let shared = Shared {
        plan: Arc::clone(&plan),
        block: Arc::new(PayloadBlock::new(plan.seed)),
        pool: pool.map(Arc::new),
        control: Arc::clone(&control),
        coordinator: sender,
    };
    let mut workers = Vec::new();
    for worker_plan in worker_plans(&plan) {
        workers.push(WorkerHandle::start(&shared, worker_plan)?);
    }
    let block = Arc::clone(&shared.block);
    drop(shared);
    let series = Series::new(plan.interval, workers.len(), plan.rate.is_some());
    let reached = vec![Milestones::default(); workers.len()];
    let results = Results::default();
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
        tick_at: 0,
    };
    run.lead();
    Ok(run.gather())
}

/// Splits the plan among the workers.
fn worker_plans(plan: &Plan) -> Vec<WorkerPlan> {
    let threads = plan.threads.min(plan.connections).max(1);
    let part = |whole: usize, id: usize| {
        let each = whole.checked_div(threads).unwrap_or(0);
        let rest = whole.checked_rem(threads).unwrap_or(0);
        each.saturating_add(usize::from(id < rest))
    };
    let mut first = 0_usize;
    (0..threads)
        .map(|id| {
            let slots = part(plan.connections, id);
            let messages = plan.messages.map(|all| {
                let all = usize::try_from(all).unwrap_or(usize::MAX);
                u64::try_from(part(all, id)).unwrap_or(u64::MAX)
            });
            let active = part(plan.active_connections(), id).min(slots);
            let worker_plan = WorkerPlan { id, threads, slots, active, first, messages };
            first = first.saturating_add(slots);
            worker_plan
        })
        .collect()
}

/// A worker's thread, as the coordinator holds it.
struct WorkerHandle {
    thread: Option<JoinHandle<()>>,
    waker: Waker,
    gauges: Arc<Gauges>,
}

impl WorkerHandle {
    fn start(shared: &Shared, worker_plan: WorkerPlan) -> Result<Self, Error> {
        let gauges = Arc::new(Gauges::default());
        let (worker, waker) = Worker::new(shared.clone(), worker_plan, Arc::clone(&gauges))
            .map_err(|error| Error::io(ErrorKind::Poll, "a poll for the load generator", error))?;
        let name = format!("load-{}", worker_plan.id);
        let thread = thread::Builder::new().name(name).spawn(|| worker.run());
        let thread = thread.map_err(|error| {
            Error::io(ErrorKind::Poll, "a thread for the load generator", error)
        })?;
        Ok(Self { thread: Some(thread), waker, gauges })
    }
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
    tick_at: u64,
}

impl Run<'_> {
    /// Leads the workers through all phases.
    fn lead(&mut self) {
        self.enter(Phase::Connecting);
        let began = self.control.clock.now();
        self.wait(None, &[Milestone::Connected]);
        self.results.connect.elapsed =
            Duration::from_nanos(self.control.clock.now().saturating_sub(began));
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
        if !self.plan.warmup.is_zero() {
            self.enter(Phase::Warmup);
            self.wait(Some(self.plan.warmup), &[Milestone::Empty]);
        }
        let mut end = self.control.clock.now();
        if !self.results.interrupted {
            self.enter(Phase::Measuring);
            self.series.begin(self.control.since());
            let duration = self.plan.stop_after.unwrap_or(self.plan.duration);
            end = self.wait(Some(duration), &[Milestone::Spent, Milestone::Empty]);
        }
        let measured = self.series.start().is_some();
        if self.plan.stop_after.is_some() && measured && !self.results.interrupted {
            self.audit();
            return;
        }
        self.enter_since(Phase::Settling, end);
        self.measured_until(end);
        self.series.end(end);
        self.wait_on(self.patience(), &[Milestone::Settled]);
        self.close();
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

    /// Waits until every worker has reached one of these milestones, at most `patience`, or until the observer ends it;
    /// returns when that was, which is not after the end of the patience.
    fn wait(&mut self, patience: Option<Duration>, any_of: &[Milestone]) -> u64 {
        let clock = self.control.clock;
        let deadline =
            patience.map_or(NEVER, |patience| self.control.since().saturating_add(nanos(patience)));
        loop {
            self.tick();
            let now = clock.now();
            let done = self.have_all_reached(any_of);
            if done || now >= deadline || self.results.interrupted {
                return now.min(deadline);
            }
            let until = deadline.min(self.tick_at);
            self.listen(Duration::from_nanos(until.saturating_sub(now)));
        }
    }

    /// As [`wait`](Self::wait), even if the observer has ended the run.
    fn wait_on(&mut self, patience: Duration, any_of: &[Milestone]) {
        let interrupted = std::mem::replace(&mut self.results.interrupted, false);
        self.wait(Some(patience), any_of);
        self.results.interrupted |= interrupted;
    }

    /// Returns whether every worker has reached one of these milestones.
    fn have_all_reached(&self, any_of: &[Milestone]) -> bool {
        self.reached.iter().all(|reached| any_of.iter().any(|one| reached.contains(*one)))
    }

    fn listen(&mut self, patience: Duration) {
        match self.inbox.recv_timeout(patience) {
            Ok((id, message)) => self.handle(id, message),
            Err(RecvTimeoutError::Timeout) => {}
            // All workers have ended by themselves; there is nothing to wait for.
            Err(RecvTimeoutError::Disconnected) => self.results.interrupted = true,
        }
    }

    fn take_messages(&mut self) {
        while let Ok((id, message)) = self.inbox.try_recv() {
            self.handle(id, message);
        }
    }

    fn handle(&mut self, id: usize, message: WorkerMessage) {
        match message {
            WorkerMessage::Reached(milestone) => {
                if let Some(reached) = self.reached.get_mut(id) {
                    reached.insert(milestone);
                }
            }
            WorkerMessage::Step(step) => {
                if let Some(interval) = self.series.add(*step) {
                    self.observer.interval(&interval);
                    self.results.intervals.push(interval);
                }
            }
            WorkerMessage::Done(counts) => self.add(&counts),
        }
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
            Phase::Measuring => Some(self.plan.stop_after.unwrap_or(self.plan.duration)),
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

    /// Joins the workers and closes the account.
    fn gather(mut self) -> Results {
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take()
                && thread.join().is_err()
            {
                self.results.errors.add_other("a load generator thread failed".to_owned());
            }
        }
        self.take_messages();
        let totals = self.series.take_totals();
        let results = &mut self.results;
        results.connect.requested = u64::try_from(self.plan.connections).unwrap_or(u64::MAX);
        results.load.messages = totals.messages;
        results.load.message_bytes = totals.bytes;
        results.load.missing_bytes =
            results.load.sent_bytes.saturating_sub(results.load.verified_bytes);
        results.latency = totals.latency;
        results.service = totals.service;
        self.results
    }

    /// Adds a worker's account.
    fn add(&mut self, counts: &WorkerCounts) {
        let add = |sum: &mut u64, count: u64| *sum = sum.saturating_add(count);
        let Results { connect, load, errors, audit, .. } = &mut self.results;
        add(&mut connect.established, counts.established);
        add(&mut connect.failed, counts.failed);
        add(&mut connect.retried, counts.retried);
        add(&mut connect.churned, counts.churned);
        connect.latency.merge(&counts.connect_latency);
        add(&mut load.sent_bytes, counts.sent);
        add(&mut load.verified_bytes, counts.verified);
        add(&mut load.wrong_bytes, counts.wrong);
        add(&mut load.extra_bytes, counts.extra);
        add(&mut load.foreign_bytes, counts.foreign);
        add(&mut load.audit_bytes, counts.audited_bytes);
        add(&mut load.unsent_messages, counts.unsent_messages);
        errors.merge(&counts.errors);
        if let (Some(audit), Some(signal)) = (audit, self.series.signal()) {
            counts.audit.add_to(audit, signal);
        }
    }
}
