//! The running server: its loop, and the other event sources of the process: the predecessor, the
//! successor, the service manager and the admin listener.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use log::{info, warn};
use mio::Token;
use netgrace::{Error, EventLoop, Phase, Report};

use crate::cli::admin::Admin;
use crate::cli::admin::page::Facts;
use crate::cli::limits;
use crate::cli::logger::TARGET;
use crate::cli::serve::handover::Label;
use crate::cli::serve::listening::Listening;
#[cfg(feature = "systemd")]
use crate::cli::serve::manager::Manager;
use crate::cli::serve::predecessor::Predecessor;
use crate::cli::serve::progress::Progress;
use crate::cli::serve::report;
use crate::cli::serve::successor::{Program, Successor};
use crate::cli::serve::transfer::Claim;
use crate::cli::units::Timeout;

/// Writes the counters to the log.
const SIGNAL_STATS: i32 = libc::SIGUSR1;
/// Starts a successor.
const SIGNAL_UPGRADE: i32 = libc::SIGUSR2;
/// The signals that the program takes beside those of a stop.
pub(crate) const SIGNALS: [i32; 2] = [SIGNAL_STATS, SIGNAL_UPGRADE];

/// The tokens of the program's own sources, above the server's.
#[derive(Clone, Copy, Debug)]
struct Tokens {
    predecessor: Token,
    successor: Token,
    /// The first of those for --admin, which uses all above it.
    admin: Token,
}

impl Tokens {
    fn new(first: Token) -> Self {
        let after = |more| Token(first.0.saturating_add(more));
        Self { predecessor: after(0), successor: after(1), admin: after(2) }
    }
}

/// The interval of the log line with the counters.
#[derive(Debug)]
struct Ticker {
    interval: Duration,
    due: Option<Instant>,
}

impl Ticker {
    fn new(interval: Duration) -> Self {
        Self { interval, due: Instant::now().checked_add(interval) }
    }

    fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.due.is_some_and(|due| due <= now);
        if is_due {
            self.due = now.checked_add(self.interval);
        }
        is_due
    }
}

/// The loop and the other event sources.
pub(crate) struct Service<P: netgrace::Service> {
    event_loop: EventLoop<P>,
    listening: Listening,
    tokens: Tokens,
    stats: Option<Ticker>,
    progress: Progress,
    #[cfg(feature = "systemd")]
    manager: Option<Manager>,
    predecessor: Option<Predecessor>,
    program: Program,
    successor: Option<Successor>,
    /// Who owns the queues, as last set on the server.
    claim: Option<Claim>,
    admin: Option<Admin>,
}

impl<P: netgrace::Service> Service<P> {
    pub(crate) fn new(
        event_loop: EventLoop<P>,
        listening: Listening,
        predecessor: Option<Predecessor>,
        program: Program,
        stats: Timeout,
    ) -> Self {
        let tokens = Tokens::new(event_loop.first_free_token());
        Self {
            event_loop,
            listening,
            tokens,
            stats: stats.limit().map(Ticker::new),
            progress: Progress::default(),
            #[cfg(feature = "systemd")]
            manager: Manager::from_environment(),
            // Sockets that were handed over were adopted as shared with the predecessor.
            claim: predecessor.is_some().then_some(Claim::None),
            predecessor,
            program,
            successor: None,
            admin: None,
        }
    }

    /// Serves `admin` on the loop.
    ///
    /// # Errors
    ///
    /// If the poll refuses.
    pub(crate) fn add_admin(&mut self, mut admin: Admin) -> Result<(), Error> {
        admin.register(self.event_loop.registry(), self.tokens.admin)?;
        self.admin = Some(admin);
        Ok(())
    }

    pub(crate) fn listening(&self) -> &Listening {
        &self.listening
    }

    pub(crate) fn report(&self) -> &Report {
        self.event_loop.server().report()
    }

    /// Reports readiness to the service manager and the predecessor, and serves until a stop has
    /// finished.
    pub(crate) fn run(&mut self) {
        #[cfg(feature = "systemd")]
        if let Some(manager) = &mut self.manager {
            manager.ready();
        }
        if let Some(predecessor) = &mut self.predecessor {
            let token = self.tokens.predecessor;
            match predecessor.register(self.event_loop.registry(), token) {
                Ok(()) => predecessor.confirm_ready(),
                Err(error) => warn!(target: TARGET, "watch the predecessor: {error}"),
            }
        }
        while !self.event_loop.is_finished() {
            self.turn();
        }
        if let Some(admin) = self.admin.take() {
            let facts = Facts::of(&self.event_loop);
            admin.finish(self.event_loop.registry(), &facts, self.successor.is_some());
        }
        if let Some(successor) = &mut self.successor {
            successor.wait_for_end();
        }
    }

    fn turn(&mut self) {
        // Without other event sources the clock is not read here: the loop has its own deadlines.
        let timeout = self
            .is_timed()
            .then(Instant::now)
            .and_then(|now| Some(self.next_deadline(now)?.saturating_duration_since(now)));
        let admin = &mut self.admin;
        let (tokens, mut by_predecessor, mut by_successor) = (self.tokens, false, false);
        let mut by_admin = false;
        self.event_loop.turn_with(timeout, &mut |_, event| {
            by_predecessor |= event.token() == tokens.predecessor;
            by_successor |= event.token() == tokens.successor;
            if let Some(admin) = admin {
                by_admin |= admin.on_event(event, Instant::now());
            }
        });
        let asked = self.take(SIGNAL_STATS);
        if self.take(SIGNAL_UPGRADE) {
            self.start_successor(Instant::now());
        }
        self.follow_predecessor(by_predecessor);
        let now = (by_admin || self.is_timed()).then(Instant::now);
        if asked || self.stats.as_mut().zip(now).is_some_and(|(stats, now)| stats.is_due(now)) {
            let line = report::to_line(&self.event_loop.server().stats(), limits::resident_bytes());
            info!(target: TARGET, "{line}");
        }
        let Some(now) = now else { return };
        if Progress::is_watched(self.event_loop.server().phase())
            && let Some(line) = self.progress.line(&self.event_loop.server().stats(), now)
        {
            info!(target: TARGET, "{line}");
        }
        #[cfg(feature = "systemd")]
        if let Some(manager) = &mut self.manager {
            manager.end_turn(&self.event_loop.server().stats(), now);
        }
        self.follow_successor(by_successor, now);
        if let Some(admin) = &mut self.admin {
            admin.end_turn(self.event_loop.registry(), &Facts::of(&self.event_loop), now);
        }
    }

    fn take(&self, signal: i32) -> bool {
        self.event_loop.signals().is_some_and(|signals| signals.take(signal))
    }

    /// Whether another event source has deadlines.
    fn is_timed(&self) -> bool {
        #[cfg(feature = "systemd")]
        if self.manager.is_some() {
            return true;
        }
        if Progress::is_watched(self.event_loop.server().phase()) {
            return true;
        }
        let asked = self.admin.as_ref().is_some_and(|admin| admin.next_deadline().is_some());
        asked || self.stats.is_some() || self.successor.is_some()
    }

    fn next_deadline(&self, now: Instant) -> Option<Instant> {
        #[cfg(feature = "systemd")]
        let manager = self.manager.as_ref().and_then(Manager::next_deadline);
        #[cfg(not(feature = "systemd"))]
        let manager = None;
        let stats = self.stats.as_ref().and_then(|stats| stats.due);
        let successor = self.successor.as_ref().and_then(|other| other.next_deadline(now));
        let admin = self.admin.as_ref().and_then(Admin::next_deadline);
        let progress = self.progress.next_deadline();
        [manager, stats, successor, admin, progress].into_iter().flatten().min()
    }

    fn start_successor(&mut self, now: Instant) {
        let server = self.event_loop.server();
        let refusal = if server.phase() > Phase::Running {
            "this process is stopping"
        } else if self.successor.is_some() {
            "another one is starting"
        } else if self.predecessor.is_some() {
            "the process before this one is still there"
        } else {
            ""
        };
        if !refusal.is_empty() {
            warn!(target: TARGET, "no successor is started: {refusal}");
            return;
        }
        let admin = self.admin.as_ref().and_then(Admin::to_hand_over);
        let sockets: Vec<(Label, BorrowedFd<'_>)> = self
            .listening
            .labels()
            .into_iter()
            .zip(server.listeners().map(|(_, fd)| fd))
            .chain(admin)
            .collect();
        let started = Successor::start(&self.program, &sockets, now);
        let registry = self.event_loop.registry();
        let started = started.map(|mut successor| {
            if let Err(error) = successor.register(registry, self.tokens.successor) {
                successor.on_stop(now);
                warn!(target: TARGET, "watch the successor: {error}");
            }
            successor
        });
        match started {
            Ok(successor) => {
                self.set_claim(successor.claim());
                self.successor = Some(successor);
            }
            Err(error) => warn!(target: TARGET, "cannot start a successor: {error}; carrying on"),
        }
    }

    fn follow_predecessor(&mut self, has_event: bool) {
        let Some(predecessor) = &mut self.predecessor else { return };
        // A stop may have closed the listeners already.
        if self.event_loop.server().phase() > Phase::Running {
            predecessor.on_stop();
        }
        if has_event {
            predecessor.on_event();
        }
        if predecessor.take_stop() {
            self.event_loop.begin_shutdown();
        }
        let (claim, has_copies) = (predecessor.claim(), has_listeners(&self.event_loop));
        if predecessor.is_gone(has_copies) {
            self.predecessor = None;
        }
        self.set_claim(claim);
    }

    fn follow_successor(&mut self, has_event: bool, now: Instant) {
        let Some(successor) = &mut self.successor else { return };
        if has_event {
            successor.on_event(now);
        }
        if self.event_loop.server().phase() > Phase::Running {
            successor.on_stop(now);
        }
        successor.end_turn(now);
        let (claim, pid) = (successor.claim(), successor.pid());
        if successor.take_release() {
            info!(target: TARGET, "process {pid} carries on; this one finishes what it has");
            #[cfg(feature = "systemd")]
            if let Some(manager) = self.manager.take() {
                manager.hand_over(pid);
            }
            if let Some(admin) = &mut self.admin {
                admin.hand_over(self.event_loop.registry(), now);
            }
            self.set_claim(claim);
            self.event_loop.begin_shutdown();
        }
        self.set_claim(claim);
        let has_copies = has_listeners(&self.event_loop);
        self.successor.take_if(|successor| successor.is_done(has_copies));
    }

    /// Sets who owns the queues.
    fn set_claim(&mut self, claim: Claim) {
        if self.claim.replace(claim) != Some(claim) {
            self.listening.set_claim(claim, self.event_loop.server_mut());
        }
    }
}

/// Returns whether this process has copies of the listening sockets.
fn has_listeners<P: netgrace::Service>(event_loop: &EventLoop<P>) -> bool {
    event_loop.server().listeners().next().is_some()
}
