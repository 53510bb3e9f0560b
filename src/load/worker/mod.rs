//! One generator thread: a poll loop over its slots.

mod connect;
mod finish;
mod message;
mod schedule;
mod timer;
mod traffic;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use mio::{Events, Poll, Token, Waker};
use slab::Slab;

use self::connect::Connector;
use self::schedule::{Churn, Schedule};
use self::timer::Timer;
use super::clock::{NEVER, nanos};
use super::connection::{Connection, State};
use super::control::{Control, Gauges, Milestones, Phase, WorkerMessage};
use super::counts::WorkerCounts;
use super::payload::PayloadBlock;
use super::plan::Plan;
use super::random::Random;
use super::source::Pool;

const WAKER: Token = Token(usize::MAX);
const TIMER: Token = Token(usize::MAX - 1);

/// Bytes taken by one read.
const BUFFER: usize = 64 * 1024;

/// The gauges are published so often, in nanoseconds.
const PUBLISH_EVERY: u64 = 20_000_000;

/// A worker's part of the plan.
#[derive(Clone, Copy, Debug)]
pub(super) struct WorkerPlan {
    /// The worker's number, and how many there are.
    pub(super) id: usize,
    pub(super) threads: usize,
    /// Its slots, and the number of its first one among those of all workers.
    pub(super) slots: usize,
    pub(super) active: usize,
    pub(super) first: usize,
    /// How many messages it may begin in the measured time.
    pub(super) messages: Option<u64>,
}

/// What all workers of a run share.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) plan: Arc<Plan>,
    pub(super) block: Arc<PayloadBlock>,
    pub(super) pool: Option<Arc<Pool>>,
    pub(super) control: Arc<Control>,
    pub(super) coordinator: Sender<(usize, WorkerMessage)>,
}

/// One generator thread's state.
#[derive(Debug)]
pub(super) struct Worker {
    shared: Shared,
    worker_plan: WorkerPlan,
    gauges: Arc<Gauges>,
    poll: Poll,
    timer: Option<Timer>,
    slots: Slab<Connection>,
    connector: Connector,
    schedule: Option<Schedule>,
    churn: Option<Churn>,
    sizes: Random,
    counts: WorkerCounts,
    buffer: Box<[u8]>,
    phase: Phase,
    /// Slots with a connection, and messages in flight on them.
    open: u64,
    inflight: u64,
    /// Messages that may still be begun in the measured time.
    left: Option<u64>,
    /// The next step of the time series: its number, and its end.
    step: u64,
    step_at: u64,
    step_opened: u64,
    step_lost: u64,
    scan_at: u64,
    /// When the clients of a stopping server leave.
    leave_at: u64,
    publish_at: u64,
    last_event: u64,
    /// The milestones already reported in this phase.
    milestones: Milestones,
}

impl Worker {
    /// Builds a worker and the waker that makes it look at the control.
    pub(super) fn new(
        shared: Shared,
        worker_plan: WorkerPlan,
        gauges: Arc<Gauges>,
    ) -> io::Result<(Self, Waker)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let plan = &shared.plan;
        let timer = match plan.rate {
            Some(_) => Timer::new(poll.registry(), TIMER)?,
            None => None,
        };
        let mut slots = Slab::with_capacity(worker_plan.slots);
        let targets = plan.targets.len().max(1);
        for slot in 0..worker_plan.slots {
            let target = worker_plan.first.saturating_add(slot).checked_rem(targets).unwrap_or(0);
            let target = u32::try_from(target).unwrap_or(0);
            slots.insert(Connection::new(slot < worker_plan.active, target));
        }
        let worker = Self {
            connector: Connector::new(plan, &worker_plan),
            sizes: Random::new(plan.seed.wrapping_add(nanos_of(worker_plan.id))),
            counts: WorkerCounts::new(plan.rate.is_some()),
            schedule: None,
            churn: None,
            buffer: vec![0; BUFFER].into_boxed_slice(),
            phase: Phase::Connecting,
            open: 0,
            inflight: 0,
            left: worker_plan.messages,
            step: 0,
            step_at: NEVER,
            step_opened: 0,
            step_lost: 0,
            scan_at: 0,
            leave_at: NEVER,
            publish_at: 0,
            last_event: 0,
            milestones: Milestones::default(),
            shared,
            worker_plan,
            gauges,
            poll,
            timer,
            slots,
        };
        Ok((worker, waker))
    }

    /// Runs until the control says that the run is finished.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(1024);
        for key in 0..self.worker_plan.slots {
            self.connector.enqueue(key);
        }
        loop {
            let now = self.now();
            self.turn(now);
            if self.phase == Phase::Finished {
                break;
            }
            let timeout = self.timeout(now);
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    self.counts.errors.add_other(format!("poll: {error}"));
                    break;
                }
            }
            for event in &events {
                if event.token() != WAKER && event.token() != TIMER {
                    self.last_event = now;
                    self.handle(event);
                }
            }
        }
        let (measured, after) = self.counts.take_slices();
        self.send_step(NEVER, measured, after);
        self.gauges.publish(&self.counts, self.open);
        let counts = std::mem::replace(&mut self.counts, WorkerCounts::new(false));
        self.send(WorkerMessage::Done(Box::new(counts)));
    }

    fn now(&self) -> u64 {
        self.shared.control.clock.now()
    }

    /// Everything that is due, other than events.
    fn turn(&mut self, now: u64) {
        let phase = self.shared.control.phase();
        if phase != self.phase {
            self.enter(phase, now);
        }
        self.connect_due(now);
        if self.is_sending() {
            self.send_due(now);
            self.churn_due(now);
        }
        self.steps_due(now);
        if now >= self.leave_at {
            self.leave_at = NEVER;
            self.retire_all(now);
        }
        if now >= self.scan_at {
            self.scan(now);
        }
        if now >= self.publish_at {
            self.publish_at = now.saturating_add(PUBLISH_EVERY);
            self.gauges.publish(&self.counts, self.open);
        }
        self.report_milestones();
    }

    /// Reports the steps of the time series that have ended by `now`.
    fn steps_due(&mut self, now: u64) {
        while now >= self.step_at && self.step_at != NEVER {
            let (measured, after) = self.counts.take_slices();
            self.send_step(self.step, measured, after);
            self.step = self.step.saturating_add(1);
            self.step_at = self.step_at.saturating_add(nanos(self.shared.plan.interval));
        }
    }

    fn is_sending(&self) -> bool {
        matches!(self.phase, Phase::Warmup | Phase::Measuring | Phase::Auditing)
    }

    fn enter(&mut self, phase: Phase, now: u64) {
        let since = self.shared.control.since();
        self.phase = phase;
        self.milestones = Milestones::default();
        match phase {
            Phase::Connecting => {}
            Phase::Warmup => self.begin_load(since, now),
            Phase::Measuring => {
                // An exact number of messages is counted from where this worker begins to count.
                self.counts.measure_from = if self.left.is_some() { now } else { since };
                self.step_at = since.saturating_add(nanos(self.shared.plan.interval));
                (self.step_opened, self.step_lost) = (self.counts.opened, self.counts.lost);
                self.begin_load(since, now);
                self.forget_unsent();
            }
            Phase::Auditing => {
                self.end_measuring(since);
                self.connector.clear();
                self.mark_all();
                let leave = self.shared.plan.leave_after.map(nanos);
                self.leave_at = leave.map_or(NEVER, |leave| since.saturating_add(leave));
            }
            Phase::Settling => self.end_load(since, now),
            Phase::Closing => {
                self.end_load(since, now);
                self.close_all(now);
            }
            Phase::Finished => {
                self.end_load(since, now);
                self.abandon_all(now);
            }
        }
    }

    /// The load begins, unless it has already.
    fn begin_load(&mut self, since: u64, now: u64) {
        if let Some(rate) = self.shared.plan.rate {
            self.schedule.get_or_insert_with(|| Schedule::new(rate, &self.worker_plan, since));
        }
        if self.shared.plan.churn > 0.0 {
            let churn = self.shared.plan.churn;
            self.churn.get_or_insert_with(|| Churn::new(churn, &self.worker_plan, since));
        }
        for key in 0..self.worker_plan.active {
            self.feed(key, now);
        }
    }

    /// The measured time ends, unless it already has.
    fn end_measuring(&mut self, since: u64) {
        if self.counts.measure_to != NEVER {
            return;
        }
        self.counts.measure_to = since;
        for (_, slot) in &self.slots {
            let unsent = slot.due.saturating_sub(slot.taken);
            self.counts.unsent_messages = self.counts.unsent_messages.saturating_add(unsent);
        }
    }

    /// The load ends, unless it already has: no new message, no new connection.
    fn end_load(&mut self, since: u64, now: u64) {
        self.end_measuring(since);
        if self.step_at != NEVER {
            self.steps_due(since);
            self.step_at = NEVER;
            let (measured, after) = self.counts.take_slices();
            self.send_step(self.step, measured, after);
        }
        self.drop_unconnected(now);
    }

    /// What was due before the measured time and could not be sent is not counted in it.
    fn forget_unsent(&mut self) {
        for (_, slot) in &mut self.slots {
            if slot.state != State::Open {
                slot.taken = slot.due;
            }
        }
    }

    /// The audit begins: what has been handed over by now must come back.
    fn mark_all(&mut self) {
        for key in 0..self.worker_plan.slots {
            self.mark(key);
        }
    }

    /// Marks a connection, unless that has been done: first thing when it writes or ends, since
    /// the server may have been told to stop in the middle of our turn.
    fn mark(&mut self, key: usize) {
        if self.shared.control.phase() != Phase::Auditing {
            return;
        }
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        if slot.is_connected() && slot.mark.is_none() {
            slot.mark = Some(slot.sent);
            slot.skipped = 0;
            self.counts.audit.connections = self.counts.audit.connections.saturating_add(1);
        }
    }

    /// How long to sleep; arms the timer where milliseconds are too coarse.
    fn timeout(&mut self, now: u64) -> Option<Duration> {
        let due = [
            self.step_at,
            self.scan_at,
            self.leave_at,
            self.connector.next_due(),
            self.schedule.as_ref().filter(|_| self.is_sending()).map_or(NEVER, Schedule::next_due),
            self.churn.as_ref().filter(|_| self.is_sending()).map_or(NEVER, Churn::next_due),
        ];
        let due = due.into_iter().min().unwrap_or(NEVER);
        let spin = nanos(self.shared.plan.busy_poll);
        if due <= now || (spin > 0 && now.saturating_sub(self.last_event) < spin) {
            return Some(Duration::ZERO);
        }
        if due == NEVER {
            return None;
        }
        let wait = Duration::from_nanos(due.saturating_sub(now));
        match &mut self.timer {
            Some(timer) => timer.sleep(due, wait),
            None => Some(wait),
        }
    }
}

fn nanos_of(id: usize) -> u64 {
    u64::try_from(id).unwrap_or(0)
}
