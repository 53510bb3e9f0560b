//! One generator thread: a poll loop over its slots.

mod connect;
mod connector;
mod finish;
mod message;
mod part;
mod phase;
mod schedule;
mod timer;
mod traffic;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::mpsc::Sender;
use std::time::Duration;

use mio::{Events, Poll, Token, Waker};
use slab::Slab;

use self::connector::Connector;
pub(super) use self::part::WorkerPlan;
use self::schedule::{Churn, Schedule};
use self::timer::Timer;
use super::clock::{NEVER, nanos};
use super::connection::Connection;
use super::control::{Control, Gauges, Milestones, Phase, WorkerMessage};
use super::counts::WorkerCounts;
use super::payload::PayloadBlock;
use super::plan::Plan;
use super::pool::Pool;
use super::random::Random;

const WAKER: Token = Token(usize::MAX);
const TIMER: Token = Token(usize::MAX - 1);

/// Bytes taken by one read.
const BUFFER: usize = 64 * 1024;

/// The gauges are published so often, in nanoseconds.
const PUBLISH_EVERY: u64 = 20_000_000;

/// A thread that was late by more than this stood still, in nanoseconds.
pub(super) const PAUSE_MIN: u64 = 100_000_000;

/// What all workers of a run share.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) plan: Arc<Plan>,
    pub(super) block: Arc<PayloadBlock>,
    pub(super) pool: Option<Arc<Pool>>,
    /// For each target the number of the address that was last connected to.
    pub(super) preferred: Arc<[AtomicU32]>,
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
    /// How many slots may be connected, and how many of them send.
    opened_slots: usize,
    active: usize,
    /// The position in the ramp, as in [`Control::ramp`].
    ramp: u64,
    /// When all connections are to be opened anew.
    reconnect_at: u64,
    /// How many of them are not open again.
    reconnecting: u64,
    /// Whether the measured time is over.
    is_measured: bool,
    /// When this thread last resumed after it had stood still: nobody is overdue before.
    resumed_at: u64,
    /// The next step of the time series: its number, and its end.
    step: u64,
    step_at: u64,
    step_opened: u64,
    step_lost: u64,
    step_paused: bool,
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
        let has_schedule = plan.rate_of(plan.active_connections()).is_some();
        let timer = match has_schedule.then_some(()) {
            Some(()) => Timer::new(poll.registry(), TIMER)?,
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
            sizes: Random::new(plan.seed.wrapping_add(stream_number(plan, worker_plan.id))),
            counts: WorkerCounts::new(has_schedule),
            schedule: None,
            churn: None,
            buffer: vec![0; BUFFER].into_boxed_slice(),
            phase: Phase::Connecting,
            open: 0,
            inflight: 0,
            left: worker_plan.messages,
            opened_slots: worker_plan.steps.first().copied().unwrap_or(worker_plan.slots),
            active: 0,
            ramp: 0,
            reconnect_at: NEVER,
            reconnecting: 0,
            is_measured: false,
            resumed_at: 0,
            step: 0,
            step_at: NEVER,
            step_opened: 0,
            step_lost: 0,
            step_paused: false,
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
        self.active = self.worker_plan.active.min(self.opened_slots);
        for key in 0..self.opened_slots {
            self.connector.enqueue(key);
        }
        // When the next turn is due at the latest.
        let mut expected = NEVER;
        loop {
            let now = self.now();
            self.notice_pause(expected, now);
            self.turn(now);
            if self.phase == Phase::Finished {
                break;
            }
            let timeout = self.timeout(now);
            expected = now.max(self.next_due());
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
        self.climb(now);
        self.connect_due(now);
        if self.is_sending() {
            self.send_due(now);
            self.churn_due(now);
        }
        self.steps_due(now);
        if now >= self.reconnect_at {
            self.reconnect_at = NEVER;
            self.reconnecting = self.open;
            self.retire_all(now);
        }
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

    /// Counts the time that this thread stood still because it did not run when it should have.
    fn notice_pause(&mut self, expected: u64, now: u64) {
        let late = now.saturating_sub(expected);
        if late > PAUSE_MIN {
            self.resumed_at = now;
            self.counts.pauses.add(late);
            self.step_paused = true;
        }
    }

    /// When something is due that is no event.
    fn next_due(&self) -> u64 {
        let due = [
            self.step_at,
            self.scan_at,
            self.leave_at,
            self.reconnect_at,
            self.connector.next_due(),
            self.schedule.as_ref().filter(|_| self.is_sending()).map_or(NEVER, Schedule::next_due),
            self.churn.as_ref().filter(|_| self.is_sending()).map_or(NEVER, Churn::next_due),
        ];
        due.into_iter().min().unwrap_or(NEVER)
    }

    /// How long to sleep; arms the timer where milliseconds are too coarse.
    fn timeout(&mut self, now: u64) -> Option<Duration> {
        let due = self.next_due();
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

/// A number that no other worker of the run has, on whatever machine.
fn stream_number(plan: &Plan, id: usize) -> u64 {
    let number = plan.part.index.saturating_mul(plan.threads.max(1)).saturating_add(id);
    u64::try_from(number).unwrap_or(0)
}
