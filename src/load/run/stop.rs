//! Stopping the server under load, and what its clients see of it.

use std::sync::Arc;
use std::time::Duration;

use super::Run;
use crate::load::audit::Audit;
use crate::load::clock::nanos;
use crate::load::control::{Milestone, Phase};
use crate::load::probe::Probes;

/// Clients that connect at the very moment of a stop.
const QUEUED_CLIENTS: usize = 16;

/// One step of the audit; its times are exact to this.
const AUDIT_STEP: Duration = Duration::from_millis(1);

/// After the server is gone its connections can only end at once.
const AFTER_EXIT: u64 = 500_000_000;

impl Run<'_> {
    /// Has the server stopped under load, and watches until all is over.
    pub(super) fn audit(&mut self) {
        let clock = self.control.clock;
        let target = self.plan.targets.first().cloned();
        let probes = target.map(|target| Probes::new(target, Arc::clone(&self.block), clock));
        let Some(Ok(mut probes)) = probes else { return };
        self.observer.before_stop();
        for _ in 0..QUEUED_CLIENTS {
            probes.connect();
        }
        let mut audit = Audit::default();
        // From here on every first write of a connection marks what was handed over before.
        let signal = clock.now();
        self.control.enter(Phase::Auditing, signal);
        if let Err(error) = self.observer.stop_server() {
            audit.stop_error = Some(error.to_string());
        }
        self.wake();
        self.observer.entered(Phase::Auditing);
        self.measured_until(signal);
        self.series.stopped(signal);
        let deadline = signal.saturating_add(nanos(self.plan.exit_within));
        let mut gone_at = None;
        loop {
            probes.turn(signal, AUDIT_STEP);
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
