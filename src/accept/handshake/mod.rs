//! The wait of a stop for the half-open handshakes of one listener.
//!
//! Behind the gate no new handshake starts, and a dump shows those that had started before. Each
//! is over when accept returned its address, or when the kernel knows no such connection: that it
//! is no longer half open is not enough, because the kernel has the connection before its queue
//! has it. A second dump without any ends the wait. At the end of the grace a last dump shows who
//! is left.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::accept::pair::{Dumped, Pair, Sought, Standing, Visibility, key};
use crate::accept::queue::{KernelOf, Listen};
use crate::engine::deadline::{after, earlier, is_due};
use crate::engine::report::HalfOpen;

/// Handshakes that are asked about in one turn.
const QUESTIONS: usize = 256;
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);
/// How long to wait where handshakes cannot be seen.
const BLIND_WAIT: Duration = Duration::from_millis(50);
/// How long to wait for clients that hold a SYN cookie, of whom the kernel knows nothing.
const COOKIE_WAIT: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// To be looked for by a dump, which has begun or not.
    Looking { begun: bool },
    /// Some were found.
    Following,
    /// Nothing shows them: until the end of the wait.
    Blind,
    /// The grace is over: the last dump, which has begun or not.
    Closing { begun: bool },
    /// Nobody is waited for any more.
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
    /// Whom accept returned since the dump began or the pairs were last gone through.
    accepted: HashSet<SocketAddr>,
    counts: HalfOpen,
    pause: Duration,
    due: Option<Instant>,
    /// Not over before.
    since: Option<Instant>,
    /// Over then.
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

    /// Returns whether nobody is waited for any more.
    pub(crate) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Returns whether to look into the queue and then to call [`step`](Self::step).
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

    /// Accept returned a client.
    pub(crate) fn on_accepted(&mut self, peer: SocketAddr) {
        if self.is_dumping() || !self.pairs.is_empty() {
            self.accepted.insert(key(peer));
        }
    }

    /// Goes on with the wait; with `hurry` it ends without waiting. Returns whether it has ended
    /// in this call: then whoever completed has to be taken from the queue a last time.
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
                    // What the other dump has found up to here, the last one finds again.
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

    /// Waits for the time of a round, as nothing more can be known.
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

    /// Makes what a complete dump found the handshakes that are not over.
    fn take_found(&mut self) {
        // Between two slices one may be found a second time.
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

    /// Asks about some of those that are not over.
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
            // Another listener may have taken it.
            Standing::Known { .. } => !is_shared,
            Standing::HalfOpen { .. } | Standing::Unknown => true,
        });
        let gone = before.saturating_sub(self.pairs.len());
        self.complete(gone);
        // The others have their turn first.
        let still = count.saturating_sub(gone).min(self.pairs.len());
        self.pairs.rotate_left(still);
        if self.pairs.is_empty() {
            // With others on the port there is always a next one, which may be theirs.
            self.state = if is_shared { State::Over } else { State::Looking { begun: false } };
        }
    }

    /// Takes those out that accept returned.
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
