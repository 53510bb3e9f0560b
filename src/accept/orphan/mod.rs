//! The wait of a stop for closed sockets whose last bytes are not acknowledged: the network of a
//! container ends with its process, and the kernel delivers nothing after that.
//!
//! When the last connection is closed, one dump for each endpoint lists these sockets. Each is
//! over when nothing of it is unacknowledged or the kernel no longer knows it. Sockets that appear
//! later are not the server's.

use std::time::{Duration, Instant};

use crate::accept::pair::{Dumped, Pair, Sought, Standing};
use crate::accept::queue::{KernelOf, Listen};
use crate::engine::deadline::{after, is_due};

/// Sockets whose state is queried in one turn, at most.
const QUESTIONS: usize = 256;
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);
/// A peer that has left this many repetitions unanswered is gone.
const REPETITIONS: u8 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The dump of this endpoint is next, or under way.
    Looking { at: usize, begun: bool },
    /// All dumps are complete.
    Following,
    /// The wait is over.
    Over,
}

/// An endpoint, and those of its sockets that are not over.
#[derive(Debug)]
struct Site<E> {
    endpoint: E,
    pairs: Vec<Pair>,
}

/// A wait for closed sockets.
#[derive(Debug)]
pub(crate) struct Orphans<E> {
    sites: Vec<Site<E>>,
    state: State,
    /// Sockets with unacknowledged bytes at their end, and endpoints that could not be dumped.
    lost: u64,
    pause: Duration,
    due: Option<Instant>,
}

impl<E> Orphans<E> {
    /// Begins a wait for the closed sockets of some endpoints. `unseen` more endpoints cannot be
    /// dumped.
    pub(crate) fn new(endpoints: impl IntoIterator<Item = E>, unseen: u64) -> Self {
        let sites = endpoints.into_iter().map(|endpoint| Site { endpoint, pairs: Vec::new() });
        Self {
            sites: sites.collect(),
            state: State::Looking { at: 0, begun: false },
            lost: unseen,
            pause: FIRST_PAUSE,
            due: None,
        }
    }

    /// Returns whether the wait is over.
    pub(crate) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Returns how many sockets and endpoints are not known to have ended well.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// Returns when to call [`step`](Self::step) again.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Goes on with the wait; with `hurry` it ends once all endpoints were dumped. Returns whether
    /// it is over.
    pub(crate) fn step<Q>(&mut self, kernel: &mut KernelOf<Q>, now: Instant, hurry: bool) -> bool
    where
        Q: Listen<Endpoint = E>,
    {
        if !hurry && self.due.is_some() && !is_due(self.due, now) {
            return self.is_over();
        }
        while let State::Looking { at, begun } = self.state {
            self.look::<Q>(at, begun, kernel);
            if matches!(self.state, State::Looking { begun: true, .. }) {
                self.due = Some(now);
                return false;
            }
        }
        if self.due.is_some() {
            self.follow::<Q>(kernel);
        }
        let left = self.sites.iter().map(|site| site.pairs.len()).sum::<usize>();
        if left == 0 || hurry {
            self.lost = self.lost.saturating_add(u64::try_from(left).unwrap_or(u64::MAX));
            self.sites.clear();
            self.state = State::Over;
        }
        self.due = after(now, Some(self.pause));
        self.pause = self.pause.saturating_mul(2).min(LONGEST_PAUSE);
        self.is_over()
    }

    fn look<Q>(&mut self, at: usize, begun: bool, kernel: &mut KernelOf<Q>)
    where
        Q: Listen<Endpoint = E>,
    {
        let Some(site) = self.sites.get_mut(at) else {
            self.state = State::Following;
            return;
        };
        match Q::dump(&site.endpoint, Sought::Closed, !begun, kernel, &mut site.pairs) {
            Dumped::Partly => {
                self.state = State::Looking { at, begun: true };
                return;
            }
            Dumped::Wholly => judge(&mut site.pairs, &mut self.lost),
            Dumped::Unknown => {
                site.pairs.clear();
                self.lost = self.lost.saturating_add(1);
            }
        }
        self.state = State::Looking { at: at.saturating_add(1), begun: false };
    }

    fn follow<Q>(&mut self, kernel: &mut KernelOf<Q>)
    where
        Q: Listen<Endpoint = E>,
    {
        let mut room = QUESTIONS;
        for site in &mut self.sites {
            let count = site.pairs.len().min(room);
            // The others are queried first the next time.
            site.pairs.rotate_left(count);
            let rest = site.pairs.len().saturating_sub(count);
            let (_, asked) = site.pairs.split_at_mut(rest);
            Q::ask(&site.endpoint, kernel, asked);
            room = room.saturating_sub(count);
            judge(&mut site.pairs, &mut self.lost);
        }
        let next = usize::from(self.sites.len() > 1);
        self.sites.rotate_left(next);
    }
}

/// Removes the sockets that are over, and counts those that will never be acknowledged.
fn judge(pairs: &mut Vec<Pair>, lost: &mut u64) {
    pairs.retain(|pair| {
        let is_lost = match pair.standing {
            Standing::Gone | Standing::Known { unacknowledged: 0, .. } => return false,
            Standing::Known { repetitions, .. } => repetitions >= REPETITIONS,
            Standing::HalfOpen { .. } | Standing::Unknown => true,
        };
        *lost = lost.saturating_add(u64::from(is_lost));
        !is_lost
    });
}

#[cfg(test)]
mod tests;
