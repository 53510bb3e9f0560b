//! Stopping the server under load, and what its clients see of it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use super::Run;
use crate::load::audit::Audit;
use crate::load::clock::nanos;
use crate::load::control::{Milestone, Phase};
use crate::load::probe::Probes;

/// Clients that connect at the very moment of a stop, and as many whose handshakes are half open
/// then.
const QUEUED_CLIENTS: usize = 8;

/// One step of the audit; its times are exact to this.
const AUDIT_STEP: Duration = Duration::from_millis(1);

/// After the server is gone its connections can only end at once.
const AFTER_EXIT: u64 = 500_000_000;

/// Where the mark has a time of day the server is told to stop so much later, in nanoseconds: all
/// workers of a run have taken their marks by then, though their clocks differ a little.
const AFTER_MARK: u64 = 100_000_000;

impl Run<'_> {
    /// Has the server stopped under load, and watches until all is over.
    pub(super) fn audit(&mut self) {
        let clock = self.control.clock;
        let Some(target) = self.plan.targets.first().cloned() else { return };
        let address = self.preferred.first().map_or(0, |number| number.load(Relaxed));
        let address = usize::try_from(address).unwrap_or(0);
        let probes = Probes::new(target, address, Arc::clone(&self.block), clock);
        let Ok(mut probes) = probes else { return };
        self.observer.before_stop();
        let mut audit = Audit::default();
        if self.stop_at.is_some() {
            self.mark(&mut audit);
            let signal = self.control.since().saturating_add(AFTER_MARK);
            self.wait_until(signal, &[]);
        }
        for _ in 0..QUEUED_CLIENTS {
            probes.connect();
            probes.connect_half_open();
        }
        if self.stop_at.is_none() {
            self.mark(&mut audit);
        }
        let signal = clock.now();
        self.series.stopped(signal);
        audit.signalled_at = Some(SystemTime::now());
        if let Err(error) = self.observer.stop_server() {
            audit.stop_error = Some(error.to_string());
        }
        self.wake();
        self.observer.entered(Phase::Auditing);
        self.watch_stop(probes, audit, signal);
    }

    /// Begins the audit: from here on every first write of a connection marks what was handed
    /// over before.
    fn mark(&mut self, audit: &mut Audit) {
        let now = self.control.clock.now();
        audit.marked_at = Some(SystemTime::now());
        self.control.enter(Phase::Auditing, now);
        self.wake();
        self.measured_until(now.min(self.control.planned_end()));
    }

    /// Watches until the server is gone and every connection has ended, or the time is up.
    fn watch_stop(&mut self, mut probes: Probes, mut audit: Audit, signal: u64) {
        let clock = self.control.clock;
        let mut deadline = signal.saturating_add(nanos(self.plan.exit_within));
        let mut gone_at = None;
        loop {
            let step = clock.now().saturating_add(nanos(AUDIT_STEP));
            probes.turn(signal, AUDIT_STEP);
            deadline = deadline.saturating_add(self.notice_pause(step));
            self.take_messages();
            self.tick();
            let now = clock.now();
            let gone = self.observer.is_server_gone();
            if gone == Some(true) && gone_at.is_none() {
                gone_at = Some(now);
            }
            let empty = self.have_all_reached(&[Milestone::Empty]) && !probes.is_pending();
            let over = empty && gone != Some(false);
            let left = gone_at.is_some_and(|at| now.saturating_sub(at) > AFTER_EXIT);
            if over || left || now >= deadline || self.results.interrupted {
                break;
            }
        }
        let since = |at: u64| Duration::from_nanos(at.saturating_sub(signal));
        audit.exit = gone_at.map(since);
        let (queue, refused_at) = probes.finish();
        audit.queue = queue;
        audit.listener_closed = refused_at.map(since);
        self.results.audit = Some(audit);
    }
}
