//! The engine itself: what it holds, and what may be asked of it at any time.

use std::io;
use std::time::{Duration, Instant};

use super::closing::Proof;
use super::deadline::{Clock, Tick};
use super::dialogue::{IoLimits, Speaks};
use super::observer::Observer;
use super::phase::{Force, Phase, Stop, StopLimits};
use super::quota::Quota;
use super::report::{CloseReason, Report};
use super::settings::Settings;
use super::stream::Stream;
use super::table::{Driven, Table};
use super::timer::Timers;
use super::visit::Visits;
use crate::config::Config;
use crate::protocol::{ConnectionId, Context, Echo};
use crate::token::Readiness;

/// The one read buffer.
const BUFFER: usize = 64 << 10;
/// Bytes that one connection may read in one turn.
pub(super) const CONNECTION_BUDGET: usize = 256 << 10;
/// Readiness of a drive without an event.
pub(super) const NO_HINT: Readiness = Readiness::NONE;
/// A stop that is called so long after its deadline was kept from reading.
const LATE: Duration = Duration::from_millis(20);
/// After so many pauses only one that is much longer counts.
const PAUSES: u8 = 12;
/// Connections that are visited, looked at, closed by a deadline or forced in one turn, each.
pub(super) const SLICE: usize = 256;
/// Slots that the drain passes in one turn.
pub(super) const SLOTS: u32 = 4096;

/// The state of a server, apart from its sockets' registration and its listeners.
pub(crate) struct Engine<S: Stream, P: Speaks = Echo> {
    pub(crate) table: Table<S, P>,
    pub(super) stop: Stop,
    pub(crate) settings: Settings,
    pub(super) clock: Clock,
    pub(super) buffer: Box<[u8]>,
    /// The phase that was last announced to the log and the observer.
    pub(super) announced: Phase,
    /// When the stop was requested.
    pub(super) requested: Tick,
    /// When a stop last went on after a pause in which nobody called it.
    pub(super) awake: Tick,
    /// Such pauses, and the longest of them.
    pub(super) pauses: u8,
    pub(super) longest_pause: Duration,
    /// Slots below this one were seen by the drain, and visited if they stood on the timer wheel.
    pub(super) drained: u32,
    /// What the stop knows of each connection.
    pub(super) visits: Visits,
    pub(super) force: Force,
    /// A connection was closed whose bytes the kernel may still be sending.
    pub(super) orphans: bool,
    pub(super) turns: u64,
    /// When protocols have something to say.
    pub(super) timers: Timers,
    /// More connections are to be resumed than one turn does.
    pub(super) more_resumes: bool,
}

#[cfg(any(test, feature = "_internals"))]
impl<S: Stream> Engine<S, Echo> {
    /// An engine that echoes.
    pub(crate) fn new(config: &Config) -> Self {
        Self::serving(Echo, config)
    }
}

impl<S: Stream, P: Speaks> Engine<S, P> {
    pub(crate) fn serving(protocol: P, config: &Config) -> Self {
        let limits = StopLimits { budget: config.shutdown_timeout, lame_duck: config.lame_duck };
        Self {
            table: Table::new(protocol, Quota::new(config.max_per_ip)),
            stop: Stop::new(limits),
            settings: Settings::new(config),
            clock: Clock::new(),
            buffer: vec![0; BUFFER].into_boxed_slice(),
            announced: Phase::Running,
            requested: Tick::default(),
            awake: Tick::default(),
            pauses: 0,
            longest_pause: Duration::ZERO,
            drained: 0,
            visits: Visits::default(),
            force: Force::Serve,
            orphans: false,
            turns: 0,
            timers: Timers::default(),
            more_resumes: false,
        }
    }

    /// Sets how many connections there may be.
    pub(crate) fn reserve(&mut self, capacity: usize) {
        self.table.reserve(capacity);
    }

    pub(crate) fn observe(&mut self, observer: Box<dyn Observer + Send>) {
        self.table.observer = Some(observer);
    }

    pub(crate) fn phase(&self) -> Phase {
        self.stop.phase()
    }

    pub(crate) fn report(&self) -> &Report {
        &self.table.report
    }

    pub(crate) fn report_mut(&mut self) -> &mut Report {
        &mut self.table.report
    }

    pub(crate) fn open(&self) -> usize {
        self.table.len()
    }

    /// One more than the highest slot that is taken.
    pub(crate) fn slots(&self) -> usize {
        self.table.slots()
    }

    /// Calls `act` for each slot's stream until it fails.
    pub(crate) fn for_each_stream(
        &mut self,
        act: impl FnMut(usize, &mut S) -> io::Result<()>,
    ) -> io::Result<()> {
        self.table.for_each_stream(act)
    }

    /// The latest instant that the engine was given.
    pub(crate) fn now(&self) -> Option<Instant> {
        self.clock.now()
    }

    /// Moves the clock to `now`. Returns that instant, or the latest one given before.
    ///
    /// A process that was frozen, or a host that comes late, has read nothing meanwhile: for every
    /// connection that counts as reading that was held back.
    #[inline]
    pub(super) fn set_clock(&mut self, now: Instant) -> Instant {
        if self.stop.phase() == Phase::Draining {
            self.note_lateness(now);
        }
        self.clock.set(now)
    }

    /// Notes whether a turn of the drain comes late.
    fn note_lateness(&mut self, now: Instant) {
        let Some(due) = self.next_deadline() else { return };
        let late = now.saturating_duration_since(due);
        // A host that is always late must come to an end all the same.
        let is_rare = self.pauses < PAUSES || late >= self.longest_pause.saturating_mul(2);
        if late >= LATE && is_rare {
            self.pauses = self.pauses.saturating_add(1);
            self.longest_pause = late.max(self.longest_pause);
            self.clock.set(now);
            self.awake = self.clock.tick();
        }
    }

    /// What asks the kernel, for the whole of a stop.
    pub(crate) fn kernel(&mut self) -> &mut S::Kernel {
        &mut self.table.kernel
    }

    /// Whether the kernel may still be sending bytes of connections that are closed.
    pub(crate) fn may_have_orphans(&self) -> bool {
        self.orphans
    }

    /// The slot that the next [`insert`](Self::insert) fills, unless all are taken.
    pub(crate) fn vacant(&self) -> Option<u32> {
        self.table.vacant()
    }

    /// The connection in a slot, with what it needs to read and write within bounds.
    pub(super) fn io(&mut self, at: u32, limits: IoLimits) -> Option<Driven<'_, S, P>> {
        if P::HAS_CALLS {
            let context = self.context(at);
            self.table.shared.enter(context);
        }
        self.table.io(at, &mut self.buffer, limits, self.clock.mark())
    }

    /// The circumstances of the calls for the connection in a slot.
    fn context(&self, at: u32) -> Option<Context> {
        let id = ConnectionId::new(at, self.table.get(at)?.number());
        Some(Context::new(id, self.stop.phase(), self.clock.now()?))
    }

    /// Closes a connection; every close comes through here.
    pub(super) fn close(&mut self, at: u32, reason: CloseReason, proof: Proof) {
        self.timers.set(at, None);
        self.table.close(at, reason, proof, self.stop.phase() > Phase::Running);
    }
}
