//! What an audit found.

use std::fmt;
use std::time::Duration;

use super::class::Class;
use super::kind::Kind;

/// Requests by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; Class::ALL.len()]);

impl Counts {
    /// Returns how many requests are of this class.
    #[must_use]
    pub fn get(&self, class: Class) -> u64 {
        self.0.get(class as usize).copied().unwrap_or(0)
    }

    /// Counts one request.
    pub(super) fn add(&mut self, class: Class) {
        if let Some(count) = self.0.get_mut(class as usize) {
            *count = count.saturating_add(1);
        }
    }

    /// Adds the counts of another audit.
    pub fn merge(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum = sum.saturating_add(count);
        }
    }

    /// Returns the sum of all classes.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Returns the sum of the classes that are lost.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let lost = Class::ALL.into_iter().filter(|class| class.is_lost());
        lost.fold(0, |sum, class| sum.saturating_add(self.get(class)))
    }
}

/// What became of the requests of one kind of client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindCounts {
    /// The kind.
    pub kind: Kind,
    /// Requests that were unfinished at the stop or started after it.
    pub started: u64,
    /// The same requests by class.
    pub classes: Counts,
}

/// Times from the stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Times {
    /// The first connect that was refused; `None`: none was.
    pub listener_closed: Option<Duration>,
    /// The last whole, correct answer.
    pub last_answer: Option<Duration>,
    /// The longest time without a whole, correct answer while one was wanted.
    pub gap: Duration,
    /// The process was gone; `None`: it was not, or is not known.
    pub exit: Option<Duration>,
}

/// A request that was lost or raced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mark {
    /// When it ended, since the start of the load.
    pub at: Duration,
    /// Whose it was.
    pub kind: Kind,
    /// What became of it.
    pub class: Class,
}

/// The length of a step of [`Audit::answers`].
pub const STEP: Duration = Duration::from_millis(10);

/// What one stop did to the clients.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Audit {
    /// The kinds of clients that took part.
    pub kinds: Vec<KindCounts>,
    /// What failed before the stop.
    pub before: Counts,
    /// Returns that said `Connection: close` to a client that wanted to stay, since the stop.
    pub announced: u64,
    /// Connections without a request that ended by FIN since the stop.
    pub closed_idle: u64,
    /// Connections without a request that were reset since the stop.
    pub reset_idle: u64,
    /// Times from the stop.
    pub times: Times,
    /// When the stop was, since the start of the load; `None`: it did not come to that.
    pub stopped_at: Option<Duration>,
    /// Whole, correct answers in each [`STEP`] since the start of the load.
    pub answers: Vec<u32>,
    /// The first lost and raced requests, up to 10 000.
    pub marks: Vec<Mark>,
    /// The body of the right answer differs from request to request and was not compared.
    pub bodies_differ: bool,
    /// Status codes of the right answer.
    pub statuses: Vec<u16>,
    /// The process could not be frozen, so there were no queued clients.
    pub is_queue_left_out: bool,
    /// How long the audit itself stood still.
    pub paused: Duration,
    /// Failed requests that are not counted, since the audit stood still while it was its turn.
    pub left_out: u64,
    /// With a restart: whether a new connection was answered at the end.
    pub came_back: Option<bool>,
    /// The audit was ended from outside.
    pub is_interrupted: bool,
}

impl Audit {
    /// Returns the requests of all kinds by class.
    #[must_use]
    pub fn classes(&self) -> Counts {
        let mut sum = Counts::default();
        self.kinds.iter().for_each(|kind| sum.merge(&kind.classes));
        sum
    }

    /// Returns the requests that were lost.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.classes().lost()
    }

    /// Returns the requests that were raced.
    #[must_use]
    pub fn raced(&self) -> u64 {
        self.classes().get(Class::Raced)
    }

    /// Returns whether every request that started is in exactly one class.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        self.kinds.iter().all(|kind| kind.started == kind.classes.total())
    }

    /// Returns what it all comes to.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if self.lost() > 0 {
            Verdict::Lossy
        } else if self.raced() > 0 {
            Verdict::Racy
        } else {
            Verdict::Lossless
        }
    }

    /// Adds another stop of the same server: counts are sums, times are the worst of all.
    pub fn merge(&mut self, other: Self) {
        for kind in other.kinds {
            match self.kinds.iter_mut().find(|own| own.kind == kind.kind) {
                Some(own) => {
                    own.started = own.started.saturating_add(kind.started);
                    own.classes.merge(&kind.classes);
                }
                None => self.kinds.push(kind),
            }
        }
        self.kinds.sort_by_key(|kind| kind.kind);
        self.before.merge(&other.before);
        self.announced = self.announced.saturating_add(other.announced);
        self.closed_idle = self.closed_idle.saturating_add(other.closed_idle);
        self.reset_idle = self.reset_idle.saturating_add(other.reset_idle);
        self.left_out = self.left_out.saturating_add(other.left_out);
        self.paused = self.paused.saturating_add(other.paused);
        let worst = |one: Option<Duration>, other: Option<Duration>| Some(one?.max(other?));
        self.times.listener_closed = worst(self.times.listener_closed, other.times.listener_closed);
        self.times.exit = worst(self.times.exit, other.times.exit);
        self.times.last_answer = self.times.last_answer.max(other.times.last_answer);
        self.times.gap = self.times.gap.max(other.times.gap);
        self.bodies_differ |= other.bodies_differ;
        self.is_queue_left_out |= other.is_queue_left_out;
        self.is_interrupted |= other.is_interrupted;
        self.came_back = match (self.came_back, other.came_back) {
            (Some(one), Some(other)) => Some(one && other),
            (one, other) => one.or(other),
        };
        for status in other.statuses {
            if !self.statuses.contains(&status) {
                self.statuses.push(status);
            }
        }
    }
}

/// What an audit comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Verdict {
    /// Nothing was lost or raced.
    Lossless,
    /// Nothing was lost, but requests were raced.
    Racy,
    /// Requests were lost.
    Lossy,
}

impl Verdict {
    /// Returns the name that reports use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Lossless => "lossless",
            Self::Racy => "racy",
            Self::Lossy => "lossy",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audit(class: Class, started: u64, gap: u64) -> Audit {
        let mut classes = Counts::default();
        classes.add(class);
        let times = Times {
            gap: Duration::from_millis(gap),
            exit: (gap > 1).then_some(Duration::from_secs(1)),
            ..Times::default()
        };
        let kinds = vec![KindCounts { kind: Kind::New, started, classes }];
        Audit { kinds, times, ..Audit::default() }
    }

    #[test]
    fn the_verdict_is_the_worst_that_happened() {
        assert_eq!(audit(Class::Answered, 1, 1).verdict(), Verdict::Lossless);
        assert_eq!(audit(Class::Refused, 1, 1).verdict(), Verdict::Lossless);
        assert_eq!(audit(Class::Raced, 1, 1).verdict(), Verdict::Racy);
        let mut sum = audit(Class::Raced, 1, 1);
        sum.merge(audit(Class::Hung, 1, 5));
        assert_eq!((sum.verdict(), sum.lost(), sum.raced()), (Verdict::Lossy, 1, 1));
        assert_eq!(sum.times.gap, Duration::from_millis(5));
        assert_eq!(sum.times.exit, None, "one of them did not exit");
        assert!(sum.is_balanced());
        sum.merge(audit(Class::Cut, 2, 1));
        assert!(!sum.is_balanced());
    }
}
