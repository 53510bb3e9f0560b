//! Listening sockets of the simulated world, as the kernel knows them.

use std::collections::VecDeque;

use super::plan::Make;

/// One listening socket.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) make: Make,
    /// Established connections that were not accepted.
    pub(super) backlog: VecDeque<usize>,
    /// Handshakes whose last ACK has not come.
    pub(super) half_open: Vec<usize>,
    pub(super) registered: bool,
    /// The poll has something to report of it.
    pub(super) edge: bool,
    pub(super) gate_shut: bool,
    /// The server has closed it, and did so with the gate open though its queue was its own.
    pub(super) closed: bool,
    pub(super) ungated: bool,
    /// A dump of its connections was refused.
    pub(super) hidden: bool,
    /// A dump of its connections that is under way: what is still to be given.
    pub(super) dump: Option<Vec<usize>>,
    pub(super) epoch: u64,
    pub(super) calls: u32,
    /// When it last failed for want of something, and how many slots had come free.
    pub(super) exhausted: Option<(u64, u64)>,
}

impl Door {
    pub(super) fn new(make: Make) -> Self {
        Self {
            make,
            backlog: VecDeque::new(),
            half_open: Vec::new(),
            registered: false,
            edge: false,
            gate_shut: false,
            closed: false,
            ungated: false,
            hidden: false,
            dump: None,
            epoch: 0,
            calls: 0,
            exhausted: None,
        }
    }

    pub(super) fn is_dead(&self, now: u64) -> bool {
        self.make.dies.is_some_and(|(at, _)| at <= now)
    }

    /// A handshake is complete.
    pub(super) fn establish(&mut self, at: usize) {
        self.half_open.retain(|other| *other != at);
        self.backlog.push_back(at);
        self.edge = self.registered;
    }
}
