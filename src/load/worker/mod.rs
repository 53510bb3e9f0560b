//! One generator thread: a poll loop over its seats.

mod connect;
mod finish;
mod note;
mod schedule;
mod timer;
mod traffic;

use std::{
    io,
    sync::{Arc, mpsc::Sender},
    time::Duration,
};

use mio::{Events, Poll, Token, Waker};
use slab::Slab;

use self::{
    connect::Connector,
    schedule::{Churn, Schedule},
    timer::Timer,
};
use super::{
    Plan,
    clock::{NEVER, nanos},
    connection::{Connection, State},
    control::{Control, Gauges, Note, Phase},
    payload::Block,
    random::Random,
    source::Pool,
    tally::Tally,
};

const WAKER: Token = Token(usize::MAX);
const TIMER: Token = Token(usize::MAX - 1);

/// Bytes taken by one read.
const BUFFER: usize = 64 * 1024;

/// The gauges are published so often, in nanoseconds.
const PUBLISH_EVERY: u64 = 20_000_000;

/// A worker's part of the plan.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    /// The worker's number, and how many there are.
    pub(super) id: usize,
    pub(super) threads: usize,
    /// Its seats, and the number of its first one among those of all workers.
    pub(super) seats: usize,
    pub(super) active: usize,
    pub(super) first: usize,
    /// How many messages it may begin in the measured time.
    pub(super) messages: Option<u64>,
}

/// What all workers of a run share.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) plan: Arc<Plan>,
    pub(super) block: Arc<Block>,
    pub(super) pool: Option<Arc<Pool>>,
    pub(super) control: Arc<Control>,
    pub(super) notes: Sender<(usize, Note)>,
}

/// One generator thread's state.
#[derive(Debug)]
pub(super) struct Worker {
    shared: Shared,
    share: Share,
    gauges: Arc<Gauges>,
    poll: Poll,
    timer: Option<Timer>,
    seats: Slab<Connection>,
    connector: Connector,
    schedule: Option<Schedule>,
    churn: Option<Churn>,
    sizes: Random,
    tally: Tally,
    buffer: Box<[u8]>,
    phase: Phase,
    /// Seats with a connection, and messages in flight on them.
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
    /// The kinds of notes already sent in this phase.
    noted: Vec<&'static str>,
}

impl Worker {
    /// Builds a worker and the waker that makes it look at the control.
    pub(super) fn new(
        shared: Shared,
        share: Share,
        gauges: Arc<Gauges>,
    ) -> io::Result<(Self, Waker)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let plan = &shared.plan;
        let timer = match plan.rate {
            Some(_) => Timer::new(poll.registry(), TIMER)?,
            None => None,
        };
        let mut seats = Slab::with_capacity(share.seats);
        let targets = plan.targets.len().max(1);
        for seat in 0..share.seats {
            let target = share.first.saturating_add(seat).checked_rem(targets).unwrap_or(0);
            let target = u32::try_from(target).unwrap_or(0);
            seats.insert(Connection::new(seat < share.active, target));
        }
        let worker = Self {
            connector: Connector::new(plan, &share),
            sizes: Random::new(plan.seed.wrapping_add(nanos_of(share.id))),
            tally: Tally::new(plan.rate.is_some()),
            schedule: None,
            churn: None,
            buffer: vec![0; BUFFER].into_boxed_slice(),
            phase: Phase::Connecting,
            open: 0,
            inflight: 0,
            left: share.messages,
            step: 0,
            step_at: NEVER,
            step_opened: 0,
            step_lost: 0,
            scan_at: 0,
            leave_at: NEVER,
            publish_at: 0,
            last_event: 0,
            noted: Vec::new(),
            shared,
            share,
            gauges,
            poll,
            timer,
            seats,
        };
        Ok((worker, waker))
    }

    /// Runs until the control says that the run is finished.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(1024);
        for key in 0..self.share.seats {
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
                    self.tally.errors.add_other(format!("poll: {error}"));
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
        let (measured, after) = self.tally.take_slices();
        self.tell_step(NEVER, measured, after);
        self.gauges.publish(&self.tally, self.open);
        let tally = std::mem::replace(&mut self.tally, Tally::new(false));
        self.tell(Note::Done(Box::new(tally)));
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
            self.gauges.publish(&self.tally, self.open);
        }
        self.tell_state();
    }

    /// Reports the steps of the time series that have ended by `now`.
    fn steps_due(&mut self, now: u64) {
        while now >= self.step_at && self.step_at != NEVER {
            let (measured, after) = self.tally.take_slices();
            self.tell_step(self.step, measured, after);
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
        self.noted.clear();
        match phase {
            Phase::Connecting => {}
            Phase::Warmup => self.begin_load(since, now),
            Phase::Measuring => {
                // An exact number of messages is counted from where this worker begins to count.
                self.tally.measure_from = if self.left.is_some() { now } else { since };
                self.step_at = since.saturating_add(nanos(self.shared.plan.interval));
                (self.step_opened, self.step_lost) = (self.tally.opened, self.tally.lost);
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
            self.schedule.get_or_insert_with(|| Schedule::new(rate, &self.share, since));
        }
        if self.shared.plan.churn > 0.0 {
            let churn = self.shared.plan.churn;
            self.churn.get_or_insert_with(|| Churn::new(churn, &self.share, since));
        }
        for key in 0..self.share.active {
            self.feed(key, now);
        }
    }

    /// The measured time ends, unless it already has.
    fn end_measuring(&mut self, since: u64) {
        if self.tally.measure_to != NEVER {
            return;
        }
        self.tally.measure_to = since;
        let due = |seat: &Connection| seat.due.saturating_sub(seat.taken);
        let unsent = self.seats.iter().map(|(_, seat)| due(seat));
        self.tally.unsent_messages = unsent.fold(0, u64::saturating_add);
    }

    /// The load ends, unless it already has: no new message, no new connection.
    fn end_load(&mut self, since: u64, now: u64) {
        self.end_measuring(since);
        if self.step_at != NEVER {
            self.steps_due(since);
            self.step_at = NEVER;
            let (measured, after) = self.tally.take_slices();
            self.tell_step(self.step, measured, after);
        }
        self.drop_unconnected(now);
    }

    /// What was due before the measured time and could not be sent is not counted in it.
    fn forget_unsent(&mut self) {
        for (_, seat) in &mut self.seats {
            if seat.state != State::Open {
                seat.taken = seat.due;
            }
        }
    }

    /// The audit begins: what has been handed over by now must come back.
    fn mark_all(&mut self) {
        for key in 0..self.share.seats {
            self.mark(key);
        }
    }

    /// Marks a connection, unless that has been done: first thing when it writes or ends, since
    /// the server may have been told to stop in the middle of our turn.
    fn mark(&mut self, key: usize) {
        if self.shared.control.phase() != Phase::Auditing {
            return;
        }
        let Some(seat) = self.seats.get_mut(key) else {
            return;
        };
        if seat.is_connected() && seat.mark.is_none() {
            seat.mark = Some(seat.sent);
            seat.skipped = 0;
            self.tally.verdicts.connections = self.tally.verdicts.connections.saturating_add(1);
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
