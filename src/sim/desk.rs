//! What a protocol that answers later and its host have in common.

use std::collections::{BTreeMap, VecDeque};

use crate::protocol::ConnectionId;

/// What the host has to do, and has done.
#[derive(Debug, Default)]
pub(super) struct Desk {
    /// Requests to be answered, by their time.
    pub(super) jobs: BTreeMap<(u64, u64), (ConnectionId, u64)>,
    count: u64,
    /// What is done and waits for its connection.
    pub(super) done: BTreeMap<ConnectionId, VecDeque<u64>>,
    /// Connections that the protocol is to name.
    pub(super) named: VecDeque<ConnectionId>,
}

impl Desk {
    /// When the host has something to answer.
    pub(super) fn next_job(&self) -> Option<u64> {
        self.jobs.keys().next().map(|(at, _)| *at)
    }

    /// A request whose time has come.
    pub(super) fn take_job(&mut self, now: u64) -> Option<(ConnectionId, u64)> {
        let job = self.jobs.first_entry().filter(|job| job.key().0 <= now)?;
        Some(job.remove())
    }

    pub(super) fn add(&mut self, at: u64, id: ConnectionId, request: u64) {
        self.count += 1;
        self.jobs.insert((at, self.count), (id, request));
    }
}
