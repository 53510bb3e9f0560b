//! All connections of one life, their time and their chance: what a poll of them reports.

use mio::Token;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Instant;

use super::desk::Desk;
use super::door::Door;
use super::line::{Fate, Line, Times, micros};
use super::plan::{FORGOTTEN, Plan, Scarcity};
use super::random::Random;
use super::speech::Speech;
use crate::accept::pair::Pressure;
use crate::engine::phase::Phase;
use crate::token::{Readiness, TokenRange};

/// When a client repeats a SYN that was not answered, in microseconds.
const SYN_REPETITION: u64 = 1_000_000;

/// Wakes in a row for what is past: a world that spins.
const STALE_WAKES: u32 = 100_000;

/// What became of requests.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Requests {
    pub(super) taken: u64,
    pub(super) answered: u64,
    /// Not answered on connections that are over, and what of that is certain.
    pub(super) failed: u64,
    pub(super) unanswered: u64,
    pub(super) aborted: u64,
}

#[derive(Debug)]
pub(super) struct Network {
    pub(super) lines: Vec<Line>,
    pub(super) random: Random,
    pub(super) times: Times,
    pub(super) now: u64,
    wakes: BinaryHeap<Reverse<(u64, usize)>>,
    /// What a poll would report, in order.
    pub(super) ready: VecDeque<usize>,
    /// Lines by the number that the engine gave them, from 1.
    pub(super) numbers: Vec<usize>,
    /// The line that the host is inserting.
    pub(super) inserting: Option<usize>,
    pub(super) tokens: TokenRange,
    pub(super) doors: Vec<Door>,
    pub(super) scarcity: Scarcity,
    /// The kernel can be asked about connections; its counters, if they can be read.
    pub(super) asks: bool,
    pub(super) pressure: Option<Pressure>,
    /// Connections that hold a descriptor; calls of accept that failed for want of something.
    pub(super) descriptors: usize,
    pub(super) exhausted: u64,
    /// Clients that did not get in for some other reason than the end, and those refused.
    pub(super) accept_errors: u64,
    pub(super) refused: u64,
    /// Sockets taken off the poll by the departure under way.
    pub(super) departed: u64,
    /// A listener was found dead.
    pub(super) listener_failed: bool,
    /// There was a queue that nobody could count.
    pub(super) countless: bool,
    /// The last call of accept was one of those.
    pub(super) wanting: bool,
    /// Connections without an account by address, and how many each may take.
    pub(super) shares: HashMap<Option<IpAddr>, usize>,
    pub(super) most_per_ip: Option<usize>,
    /// How many connections there may be.
    pub(super) capacity: usize,
    /// What may be held is bounded, and so connections may be paused.
    pub(super) is_bounded: bool,
    pub(super) phase: Phase,
    pub(super) open_at_stop: u64,
    /// When the stop was asked for, when it began to drain and when everything was to be cut.
    pub(super) requested_at: Option<u64>,
    pub(super) draining_since: Option<u64>,
    pub(super) forced_at: Option<u64>,
    /// The end of the first turn that drained.
    pub(super) visited_at: Option<u64>,
    /// When the host last came back from where it had stayed too long.
    pub(super) tardy_at: u64,
    /// The engine is being dropped: everything is cut.
    pub(super) dropping: bool,
    /// Slots may be freed now.
    pub(super) may_free: bool,
    pub(super) bytes_read: u64,
    pub(super) bytes_written: u64,
    /// Bytes that were written and that accounts say were not sent.
    pub(super) corrected: u64,
    pub(super) closed_count: u64,
    pub(super) freed_count: u64,
    /// Everything that is progress: bytes, closes, errors and ends that were read.
    pub(super) progress: u64,
    /// Counts the calls of the engine.
    pub(super) epoch: u64,
    pub(super) pipes: u64,
    /// What is spoken, if not the echo.
    pub(super) speech: Option<Speech>,
    /// Where the protocol and its host meet.
    pub(super) desk: Desk,
    /// The instant that times are counted from.
    pub(super) base: Instant,
    /// The requests, by what happened to them.
    pub(super) requests: Requests,
    /// What the life had in it that nobody can see later.
    pub(super) seen: BTreeSet<&'static str>,
    /// One call in so many goes wrong for no fault of the peer's; 0: none.
    pub(super) hiccup_rate: u64,
    /// One call in so many finds that the peer has just acted; 0: none.
    pub(super) race_rate: u64,
    stale_wakes: u32,
    pub(super) trace: bool,
    /// The first law that was broken.
    pub(super) broken: Option<String>,
}

impl Network {
    pub(super) fn new(random: Random, plan: &Plan, trace: bool) -> Self {
        let clients = plan.clients.iter().enumerate();
        let mut network = Self {
            lines: clients.map(|(at, client)| Line::new(at, client, plan.asks)).collect(),
            random,
            times: Times::new(&plan.config),
            now: 0,
            wakes: BinaryHeap::new(),
            ready: VecDeque::new(),
            numbers: Vec::new(),
            inserting: None,
            tokens: plan.tokens,
            doors: plan.doors.iter().map(|door| Door::new(*door)).collect(),
            scarcity: plan.scarcity.clone(),
            asks: plan.asks,
            pressure: plan.asks.then(Pressure::default),
            descriptors: 0,
            exhausted: 0,
            accept_errors: 0,
            refused: 0,
            departed: 0,
            listener_failed: false,
            countless: false,
            wanting: false,
            shares: HashMap::new(),
            most_per_ip: plan.config.max_per_ip,
            capacity: plan.capacity,
            is_bounded: plan.config.max_held.is_some(),
            phase: Phase::Running,
            open_at_stop: 0,
            requested_at: None,
            draining_since: None,
            forced_at: None,
            visited_at: None,
            tardy_at: 0,
            dropping: false,
            may_free: false,
            bytes_read: 0,
            bytes_written: 0,
            corrected: 0,
            closed_count: 0,
            freed_count: 0,
            progress: 0,
            epoch: 1,
            pipes: 0,
            speech: plan.speech,
            desk: Desk::default(),
            base: Instant::now(),
            requests: Requests::default(),
            seen: BTreeSet::new(),
            hiccup_rate: plan.hiccup_rate,
            race_rate: plan.race_rate,
            stale_wakes: 0,
            trace,
            broken: None,
        };
        network.tell(|| format!("{plan:#?}"));
        for line in &mut network.lines {
            line.duplex.user_timeout = plan.config.user_timeout.map(micros);
        }
        for (at, client) in plan.clients.iter().enumerate() {
            network.wake(at, client.at);
        }
        network
    }

    pub(super) fn tell(&self, what: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{:>12} us  {}", self.now, what());
        }
    }

    pub(super) fn blame(&mut self, at: usize, what: &str) {
        self.tell(|| format!("line {at}: BROKEN: {what}"));
        if self.broken.is_none() {
            self.broken = Some(format!("line {at}: {what}\n{:#?}", self.lines.get(at)));
        }
    }

    /// When something happens next without the server.
    pub(super) fn next_wake(&self) -> Option<u64> {
        self.wakes.peek().map(|Reverse((at, _))| *at)
    }

    pub(super) fn wake(&mut self, at: usize, when: u64) {
        let line = &mut self.lines[at];
        if line.wake.is_none_or(|wake| wake > when) {
            line.wake = Some(when);
            self.wakes.push(Reverse((when, at)));
        }
    }

    /// Lets everything happen that is due at `now`.
    pub(super) fn run_until(&mut self, now: u64) {
        while let Some(Reverse((when, at))) = self.wakes.peek().copied()
            && when <= now
        {
            self.wakes.pop();
            if self.lines[at].wake != Some(when) {
                continue;
            }
            self.lines[at].wake = None;
            self.now = self.now.max(when);
            self.act(at);
            self.lines[at].settled = self.lines[at].duplex.up.arrived;
        }
        self.now = self.now.max(now);
    }

    /// A client is put on the poll under a slot's token: it reports how the client stands.
    pub(super) fn register(&mut self, at: usize, slot: u32) {
        self.tell(|| format!("line {at}: on the poll for slot {slot}"));
        let line = &mut self.lines[at];
        if line.fate == Fate::Taken {
            self.inserting = Some(at);
        }
        line.slot = Some(slot);
        line.on_poll = true;
        line.duplex.edge = true;
        self.note_edge(at);
    }

    /// Lets a client and the kernels of its connection do what is due now.
    pub(super) fn act(&mut self, at: usize) {
        let now = self.now;
        let fate = self.lines[at].fate;
        if fate == Fate::Outside && !self.lines[at].has_knocked {
            self.connect(at);
        }
        let line = &mut self.lines[at];
        if fate == Fate::HalfOpen && now >= line.handshake.syn + FORGOTTEN {
            line.fate = Fate::Forgotten;
            self.doors[line.door].half_open.retain(|other| *other != at);
        }
        let line = &mut self.lines[at];
        let answered = line.has_knocked && !line.duplex.cut;
        if !line.duplex.connected && answered && line.handshake.connects.is_some_and(|at| at <= now)
        {
            line.duplex.connected = true;
            line.duplex.down.ack_due = Some(now + line.ack_delay);
        }
        line.duplex.run(now);
        let mut next = None;
        if line.duplex.connected {
            next = line.peer.act(&mut line.duplex, line.talk.as_deref(), now);
            line.duplex.run(now);
        } else if line.fate == Fate::HalfOpen {
            let forgotten = line.handshake.syn + FORGOTTEN;
            next = line.handshake.connects.or(Some(forgotten));
        }
        self.settle(at, next);
    }

    /// Notes what the kernels of a connection did, and when they do something next.
    pub(super) fn settle(&mut self, at: usize, next: Option<u64>) {
        let now = self.now;
        let line = &mut self.lines[at];
        line.duplex.run(now);
        let soonest = [next, line.duplex.next(now)].into_iter().flatten().min();
        if line.fate == Fate::HalfOpen && (line.duplex.established || line.duplex.dead) {
            line.fate = if line.duplex.dead { Fate::Forgotten } else { Fate::Queued };
            let door = &mut self.doors[line.door];
            door.half_open.retain(|other| *other != at);
            if line.fate == Fate::Queued {
                door.establish(at);
            }
            self.tell(|| format!("line {at}: its handshake ends, {:?}", self.lines[at].fate));
        }
        let line = &mut self.lines[at];
        let full = line.duplex.up.arrived > line.noted && !line.duplex.up.is_short;
        let closed = line.duplex.up.unread() + line.duplex.up.segment > line.duplex.up.size;
        if full || closed || line.owed() > 0 {
            line.strained_at = Some(now);
        }
        line.noted = line.duplex.up.arrived;
        if let Some(soonest) = soonest {
            self.stale_wakes = if soonest <= now { self.stale_wakes + 1 } else { 0 };
            assert!(self.stale_wakes < STALE_WAKES, "never rests: {:#?}", self.lines[at]);
            self.wake(at, soonest.max(now + 1));
        }
        self.note_edge(at);
    }

    /// A client's SYN comes, if there is somebody to shake hands with.
    fn connect(&mut self, at: usize) {
        let now = self.now;
        let door = &mut self.doors[self.lines[at].door];
        let line = &mut self.lines[at];
        if door.closed || door.is_dead(now) {
            line.has_knocked = true;
            line.duplex.refuse(now);
        } else if door.gate_shut {
            // Dropped; he tries once more.
            line.handshake = line.handshake.later(SYN_REPETITION);
            self.wake(at, now + SYN_REPETITION);
        } else {
            line.has_knocked = true;
            line.fate = Fate::HalfOpen;
            door.half_open.push(at);
            if line.duplex.link.is_unix() {
                line.duplex.established = true;
            }
            self.tell(|| format!("line {at}: connects, {:?}", self.lines[at].peer.script));
        }
    }

    /// Puts a line with an edge among those that the poll reports.
    pub(super) fn note_edge(&mut self, at: usize) {
        let line = &mut self.lines[at];
        let registered = line.on_poll && !line.duplex.dropped;
        if line.duplex.edge && registered && !line.queued {
            line.queued = true;
            self.ready.push_back(at);
        }
    }

    /// What the next poll reports of the listeners.
    pub(super) fn harvest_doors(&mut self) -> Vec<(Token, Readiness)> {
        let tokens = self.tokens;
        let doors = self.doors.iter_mut().enumerate();
        let told = doors.filter_map(|(at, door)| {
            let edge = std::mem::take(&mut door.edge);
            edge.then(|| tokens.token(at)).flatten().map(|token| (token, Readiness::READABLE))
        });
        told.collect()
    }

    /// What the next poll reports of one connection.
    pub(super) fn harvest(&mut self) -> Option<(Token, Readiness)> {
        while let Some(at) = self.ready.pop_front() {
            let line = &mut self.lines[at];
            line.queued = false;
            let known = line.on_poll && !line.duplex.dropped;
            let Some(slot) = line.slot.filter(|_| known) else { continue };
            let flags = line.duplex.harvest();
            self.tell(|| format!("line {at}: slot {slot} is {flags:?}"));
            let token = self.tokens.token(self.doors.len() + slot as usize)?;
            return Some((token, flags));
        }
        None
    }
}
