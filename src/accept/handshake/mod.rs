//! The wait of a stop for the half-open handshakes of one listener.
//!
//! Once the gate is shut no new handshake starts, and a dump lists those that had started before.
//! Each is over when accept returned its address, or when the kernel knows no such connection. A
//! change of its state is not enough: a connection leaves SYN_RECV before it is in the accept
//! queue. A second dump without any handshake ends the wait. At the end of the grace a last dump
//! lists those that are left.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::accept::pair::{Dumped, Pair, Sought, Standing, Visibility, key};
use crate::accept::queue::{KernelOf, Listen};
use crate::engine::deadline::{after, earlier, is_due};
use crate::engine::report::HalfOpen;

/// Handshakes whose state is queried in one turn, at most.
const QUESTIONS: usize = 256;
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);
/// How long to wait where the kernel cannot be asked about handshakes.
const BLIND_WAIT: Duration = Duration::from_millis(50);
/// How long to wait where SYN cookies are in use: the kernel has no record of such handshakes.
const COOKIE_WAIT: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A dump is to be made, or under way.
    Looking { begun: bool },
    /// Some handshakes were found and are queried.
    Following,
    /// Nothing more can be learned: until the end of the wait.
    Blind,
    /// The grace is over: the last dump is to be made, or under way.
    Closing { begun: bool },
    /// The wait is over.
    Over,
}

/// A wait for handshakes to complete.
#[derive(Debug)]
pub(crate) struct Wait {
    state: State,
    visibility: Visibility,
    /// The number of complete dumps.
    dumps: u32,
    /// Found by the dump that is under way.
    found: Vec<Pair>,
    /// Those that are not over.
    pairs: Vec<Pair>,
    /// The peers that accept returned since the dump began or the pairs were last compared.
    accepted: HashSet<SocketAddr>,
    counts: HalfOpen,
    pause: Duration,
    due: Option<Instant>,
    /// The wait does not end before this time.
    since: Option<Instant>,
    /// The wait ends at this time.
    until: Option<Instant>,
}

impl Wait {
    /// Begins a wait of at most `grace`. Clients may hold SYN cookies if `cookies`.
    pub(crate) fn new(
        visibility: Visibility,
        cookies: bool,
        grace: Duration,
        now: Instant,
    ) -> Self {
        let state = match visibility {
            Visibility::NoHandshakes => State::Over,
            Visibility::Hidden => State::Blind,
            Visibility::Shown | Visibility::Cookies | Visibility::Shared => {
                State::Looking { begun: false }
            }
        };
        let cookies = cookies && visibility == Visibility::Shown;
        let visibility = if cookies { Visibility::Cookies } else { visibility };
        let mut wait = Self {
            state,
            visibility,
            dumps: 0,
            found: Vec::new(),
            pairs: Vec::new(),
            accepted: HashSet::new(),
            counts: HalfOpen::default(),
            pause: FIRST_PAUSE,
            due: Some(now),
            since: Some(now),
            until: after(now, Some(grace)),
        };
        match visibility {
            Visibility::Cookies => wait.since = earlier(after(now, Some(COOKIE_WAIT)), wait.until),
            Visibility::Hidden => wait.become_blind(now),
            Visibility::NoHandshakes | Visibility::Shown | Visibility::Shared => {}
        }
        wait
    }

    /// Returns whether the wait is over.
    pub(crate) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Returns whether to empty the queue and then to call [`step`](Self::step).
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        is_due(self.next_deadline(), now)
    }

    /// Returns when [`is_due`](Self::is_due).
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        match self.state {
            State::Over => None,
            State::Looking { .. } | State::Following | State::Blind | State::Closing { .. } => {
                earlier(self.due, self.until)
            }
        }
    }

    /// Notes that accept returned a client.
    pub(crate) fn on_accepted(&mut self, peer: SocketAddr) {
        if self.is_dumping() || !self.pairs.is_empty() {
            self.accepted.insert(key(peer));
        }
    }

    /// Goes on with the wait; with `hurry` it ends without waiting. Returns whether it has ended
    /// in this call: then the queue has to be emptied a last time.
    pub(crate) fn step<Q: Listen>(
        &mut self,
        endpoint: Option<&Q::Endpoint>,
        kernel: &mut KernelOf<Q>,
        now: Instant,
        hurry: bool,
    ) -> bool {
        let ends = hurry || is_due(self.until, now);
        if self.is_over() || !(ends || self.is_due(now)) {
            return false;
        }
        let Some(endpoint) = endpoint else {
            self.state = State::Over;
            return true;
        };
        if ends {
            self.state = match self.state {
                State::Blind | State::Over => State::Over,
                State::Closing { begun } => State::Closing { begun },
                State::Looking { .. } | State::Following => {
                    // The last dump finds again what the dump under way has found.
                    self.found.clear();
                    State::Closing { begun: false }
                }
            };
        }
        let before = self.counts;
        if self.state == State::Following {
            self.follow::<Q>(endpoint, kernel, now);
        }
        if let State::Looking { begun } | State::Closing { begun } = self.state {
            self.look::<Q>(endpoint, kernel, begun, now);
        }
        if self.counts != before {
            self.pause = FIRST_PAUSE;
        }
        self.due = after(now, Some(if self.is_dumping() { Duration::ZERO } else { self.pause }));
        self.pause = self.pause.saturating_mul(2).min(LONGEST_PAUSE);
        self.is_over()
    }

    /// Returns what became of the handshakes, or `None` if it cannot be known. Where a queue
    /// overflowed, a client that answered may be among those that seem stale.
    pub(crate) fn outcome(&mut self, overflowed: bool, cookies: bool) -> Option<HalfOpen> {
        self.settle();
        for pair in self.pairs.drain(..) {
            let is_stale = matches!(pair.standing, Standing::HalfOpen { repetitions: 1.. });
            let count = if is_stale && !overflowed {
                &mut self.counts.stale
            } else {
                &mut self.counts.left
            };
            *count = count.saturating_add(1);
        }
        let known = match self.visibility {
            Visibility::NoHandshakes => true,
            Visibility::Shown => !cookies,
            Visibility::Cookies | Visibility::Shared | Visibility::Hidden => false,
        };
        known.then_some(self.counts)
    }

    /// Returns whether its dump is under way: then no other may begin one.
    pub(crate) fn is_dumping(&self) -> bool {
        matches!(self.state, State::Looking { begun: true } | State::Closing { begun: true })
    }

    /// Waits for a fixed time, as nothing more can be known.
    fn become_blind(&mut self, now: Instant) {
        self.state = State::Blind;
        self.visibility = Visibility::Hidden;
        self.until = earlier(self.until, after(now, Some(BLIND_WAIT)));
        self.pairs.clear();
        self.found.clear();
    }

    fn look<Q: Listen>(
        &mut self,
        endpoint: &Q::Endpoint,
        kernel: &mut KernelOf<Q>,
        begun: bool,
        now: Instant,
    ) {
        let is_last = matches!(self.state, State::Closing { .. });
        match Q::dump(endpoint, Sought::HalfOpen, !begun, kernel, &mut self.found) {
            Dumped::Partly if is_last => self.state = State::Closing { begun: true },
            Dumped::Partly => self.state = State::Looking { begun: true },
            Dumped::Unknown => {
                self.become_blind(now);
                if is_last {
                    self.state = State::Over;
                }
            }
            Dumped::Wholly => {
                self.take_found();
                self.dumps = self.dumps.saturating_add(1);
                self.state = if is_last {
                    State::Over
                } else if !self.pairs.is_empty() {
                    State::Following
                } else if self.dumps > 1 && is_due(self.since, now) {
                    State::Over
                } else {
                    State::Looking { begun: false }
                };
            }
        }
    }

    /// Takes over the handshakes that a complete dump found.
    fn take_found(&mut self) {
        // Two slices may list the same handshake.
        self.found.sort_unstable_by_key(|pair| (pair.peer, pair.local));
        self.found.dedup_by_key(|pair| (pair.peer, pair.local));
        let known: HashSet<_> = self.pairs.iter().map(|pair| (pair.peer, pair.local)).collect();
        let mut gone = known.len();
        for pair in &self.found {
            if known.contains(&(pair.peer, pair.local)) {
                gone = gone.saturating_sub(1);
            } else {
                self.counts.seen = self.counts.seen.saturating_add(1);
            }
        }
        self.complete(gone);
        self.pairs = std::mem::take(&mut self.found);
        self.settle();
    }

    /// Queries some of the handshakes that are not over.
    fn follow<Q: Listen>(
        &mut self,
        endpoint: &Q::Endpoint,
        kernel: &mut KernelOf<Q>,
        now: Instant,
    ) {
        self.settle();
        let count = self.pairs.len().min(QUESTIONS);
        let (asked, _) = self.pairs.split_at_mut(count);
        Q::ask(endpoint, kernel, asked);
        if asked.iter().any(|pair| pair.standing == Standing::Unknown) {
            self.become_blind(now);
            return;
        }
        let is_shared = self.visibility == Visibility::Shared;
        let before = self.pairs.len();
        self.pairs.retain(|pair| match pair.standing {
            Standing::Gone => false,
            // Another listener may have accepted it.
            Standing::Known { .. } => !is_shared,
            Standing::HalfOpen { .. } | Standing::Unknown => true,
        });
        let gone = before.saturating_sub(self.pairs.len());
        self.complete(gone);
        // The others are queried first the next time.
        let still = count.saturating_sub(gone).min(self.pairs.len());
        self.pairs.rotate_left(still);
        if self.pairs.is_empty() {
            self.state = State::Looking { begun: false };
            if is_shared {
                // With siblings on the port there may always be another one, which may be theirs.
                // The last ones have left SYN_RECV and may not be in the queue yet.
                self.state = State::Blind;
                self.until = earlier(self.until, after(now, Some(FIRST_PAUSE)));
            }
        }
    }

    /// Removes the handshakes that accept returned.
    fn settle(&mut self) {
        let before = self.pairs.len();
        let accepted = &self.accepted;
        self.pairs.retain(|pair| !accepted.contains(&pair.key()));
        self.accepted.clear();
        let gone = before.saturating_sub(self.pairs.len());
        self.complete(gone);
    }

    fn complete(&mut self, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.counts.completed = self.counts.completed.saturating_add(count);
    }
}

#[cfg(test)]
mod tests;
