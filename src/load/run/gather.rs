//! What the workers send, and the account of the run.

use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use super::Run;
use crate::load::clock::nanos;
use crate::load::control::{Milestone, WorkerMessage};
use crate::load::counts::WorkerCounts;
use crate::load::results::Results;

impl Run<'_> {
    pub(super) fn listen(&mut self, patience: Duration) {
        match self.inbox.recv_timeout(patience) {
            Ok((id, message)) => self.handle(id, message),
            Err(RecvTimeoutError::Timeout) => {}
            // All workers have ended by themselves; there is nothing to wait for.
            Err(RecvTimeoutError::Disconnected) => self.results.interrupted = true,
        }
    }

    pub(super) fn take_messages(&mut self) {
        while let Ok((id, message)) = self.inbox.try_recv() {
            self.handle(id, message);
        }
    }

    pub(super) fn handle(&mut self, id: usize, message: WorkerMessage) {
        match message {
            WorkerMessage::Reached(milestone) => {
                if let Some(reached) = self.reached.get_mut(id) {
                    reached.insert(milestone);
                }
                if milestone == Milestone::Reconnected && self.have_all_reached(&[milestone]) {
                    self.results.connect.reconnect_elapsed = self.reconnect_elapsed();
                }
            }
            WorkerMessage::Step(step) => {
                if let Some(interval) = self.series.add(*step) {
                    self.observer.interval(&interval);
                    self.results.intervals.push(interval);
                }
            }
            WorkerMessage::Plateau(step, slice) => {
                if let Some(results) = self.results.steps.get_mut(step) {
                    results.messages = results.messages.saturating_add(slice.messages);
                    results.bytes = results.bytes.saturating_add(slice.bytes);
                    results.latency.merge(&slice.latency);
                }
            }
            WorkerMessage::Done(counts) => self.add(&counts),
        }
    }

    /// Since the connections were to be closed and opened anew.
    fn reconnect_elapsed(&self) -> Option<Duration> {
        let after = self.plan.reconnect_after.map(nanos)?;
        let began = self.series.start()?.saturating_add(after);
        Some(Duration::from_nanos(self.control.clock.now().saturating_sub(began)))
    }

    /// Joins the workers and closes the account.
    pub(super) fn gather(mut self) -> Results {
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
        let Results { connect, load, errors, audit, pauses, .. } = &mut self.results;
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
        pauses.combine(&counts.pauses);
        if let (Some(audit), Some(signal)) = (audit, self.series.signal()) {
            counts.audit.add_to(audit, signal);
        }
    }
}
