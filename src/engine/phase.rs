//! The stop: its phases, its one budget, and what caused it.

use std::fmt;
use std::time::{Duration, Instant};

use super::deadline::{Tick, after, is_due};

/// Where a server is in its life. Phases only move forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Accepting and serving.
    #[default]
    Running,
    /// A stop was requested; everything goes on, new clients too.
    LameDuck,
    /// No new clients; each connection is closed as soon as it is done.
    Draining,
    /// The budget is spent or patience is over: what is left is cut.
    Forcing,
    /// The last connection is closed.
    Finished,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::LameDuck => "lame duck",
            Self::Draining => "draining",
            Self::Forcing => "forcing",
            Self::Finished => "finished",
        })
    }
}

/// Why a server stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// `begin_shutdown`, `force_shutdown` or a [`ShutdownHandle`](crate::ShutdownHandle).
    Requested,
    /// A signal, by its number.
    Signal(i32),
    /// A listener died; the text says how.
    ListenerFailed(String),
    /// Polling failed; the text says how.
    PollFailed(String),
}

impl Cause {
    /// Whether somebody asked for the stop.
    #[must_use]
    pub fn is_request(&self) -> bool {
        matches!(self, Self::Requested | Self::Signal(_))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requested => f.write_str("request"),
            Self::Signal(libc::SIGHUP) => f.write_str("SIGHUP"),
            Self::Signal(libc::SIGINT) => f.write_str("SIGINT"),
            Self::Signal(libc::SIGQUIT) => f.write_str("SIGQUIT"),
            Self::Signal(libc::SIGTERM) => f.write_str("SIGTERM"),
            Self::Signal(number) => write!(f, "signal {number}"),
            Self::ListenerFailed(how) => write!(f, "listener failed: {how}"),
            Self::PollFailed(how) => write!(f, "poll failed: {how}"),
        }
    }
}

/// How long each phase of a stop took; zero for one that was skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PhaseTimes {
    /// [`Phase::LameDuck`].
    pub lame_duck: Duration,
    /// [`Phase::Draining`].
    pub draining: Duration,
    /// [`Phase::Forcing`].
    pub forcing: Duration,
}

/// How far forcing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Force {
    /// Everybody is served once more: a process that slept past its deadline looks before it cuts.
    Serve,
    /// Everybody was served by then, and is ended.
    End(Tick),
}

/// What the stop machine needs to know of a configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StopLimits {
    pub(crate) budget: Option<Duration>,
    pub(crate) lame_duck: Duration,
}

/// The stop as a machine over time: asked, it moves; it never moves back.
#[derive(Debug)]
pub(crate) struct Stop {
    limits: StopLimits,
    phase: Phase,
    cause: Option<Cause>,
    requested: Option<Instant>,
    entered: Option<Instant>,
    /// The end of the whole budget.
    deadline: Option<Instant>,
    /// The end of the lame-duck phase.
    lame_duck_deadline: Option<Instant>,
    times: PhaseTimes,
}

impl Stop {
    pub(crate) fn new(limits: StopLimits) -> Self {
        Self {
            limits,
            phase: Phase::Running,
            cause: None,
            requested: None,
            entered: None,
            deadline: None,
            lame_duck_deadline: None,
            times: PhaseTimes::default(),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    pub(crate) fn cause(&self) -> Option<&Cause> {
        self.cause.as_ref()
    }

    pub(crate) fn times(&self) -> PhaseTimes {
        self.times
    }

    /// Time since the first request.
    pub(crate) fn elapsed(&self, now: Instant) -> Option<Duration> {
        self.requested.map(|requested| now.saturating_duration_since(requested))
    }

    /// Starts the stop. Only the first request counts.
    pub(crate) fn request(&mut self, cause: Cause, now: Instant) {
        if self.phase != Phase::Running {
            return;
        }
        self.cause = Some(cause);
        self.requested = Some(now);
        self.deadline = after(now, self.limits.budget);
        self.lame_duck_deadline = after(now, Some(self.limits.lame_duck));
        let first = if self.limits.lame_duck.is_zero() { Phase::Draining } else { Phase::LameDuck };
        self.enter(first, now);
    }

    /// Cuts the stop short, or starts with its last phase.
    pub(crate) fn force(&mut self, cause: Cause, now: Instant) {
        if self.phase == Phase::Running {
            self.cause = Some(cause);
            self.requested = Some(now);
        }
        if self.phase < Phase::Forcing {
            self.enter(Phase::Forcing, now);
        }
    }

    /// Moves on by time: at most one phase a call. Returns whether it did.
    pub(crate) fn advance(&mut self, now: Instant) -> bool {
        let next = match self.phase {
            Phase::LameDuck if is_due(self.lame_duck_deadline, now) => Phase::Draining,
            Phase::Draining if is_due(self.deadline, now) => Phase::Forcing,
            Phase::Running
            | Phase::LameDuck
            | Phase::Draining
            | Phase::Forcing
            | Phase::Finished => return false,
        };
        self.enter(next, now);
        true
    }

    /// The last connection is gone.
    pub(crate) fn finish(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Draining | Phase::Forcing) {
            self.enter(Phase::Finished, now);
        }
    }

    /// When [`advance`](Self::advance) will change something.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::LameDuck => self.lame_duck_deadline,
            Phase::Draining => self.deadline,
            Phase::Running | Phase::Forcing | Phase::Finished => None,
        }
    }

    fn enter(&mut self, next: Phase, now: Instant) {
        let spent = self.entered.map(|entered| now.saturating_duration_since(entered));
        let spent = spent.unwrap_or_default();
        match self.phase {
            Phase::LameDuck => self.times.lame_duck = spent,
            Phase::Draining => self.times.draining = spent,
            Phase::Forcing => self.times.forcing = spent,
            Phase::Running | Phase::Finished => {}
        }
        self.phase = next;
        self.entered = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: StopLimits =
        StopLimits { budget: Some(Duration::from_secs(8)), lame_duck: Duration::from_secs(2) };

    #[test]
    fn deadlines_hold_before_at_and_after() {
        let start = Instant::now();
        let nano = Duration::from_nanos(1);
        let mut stop = Stop::new(LIMITS);
        stop.request(Cause::Requested, start);
        assert_eq!(stop.phase(), Phase::LameDuck);
        assert!(!stop.advance(start + LIMITS.lame_duck - nano));
        assert!(stop.advance(start + LIMITS.lame_duck));
        assert_eq!(stop.phase(), Phase::Draining);
        assert_eq!(stop.next_deadline(), Some(start + Duration::from_secs(8)));
        assert!(!stop.advance(start + Duration::from_secs(8) - nano));
        assert!(stop.advance(start + Duration::from_secs(8) + nano));
        assert_eq!(stop.phase(), Phase::Forcing);
        stop.finish(start + Duration::from_secs(9));
        assert_eq!(stop.phase(), Phase::Finished);
        assert_eq!(stop.times().lame_duck, Duration::from_secs(2));
        assert_eq!(stop.times().draining, Duration::from_secs(6) + nano);
    }

    #[test]
    fn every_phase_meets_every_input() {
        type Input = fn(&mut Stop, Instant);
        let inputs: [(&str, Input); 4] = [
            ("request", |stop, now| stop.request(Cause::Signal(libc::SIGTERM), now)),
            ("force", |stop, now| stop.force(Cause::Signal(libc::SIGQUIT), now)),
            ("advance", |stop, now| while stop.advance(now) {}),
            ("finish", |stop, now| stop.finish(now)),
        ];
        let start = Instant::now();
        for (first, one) in inputs {
            for (second, two) in inputs {
                for (third, three) in inputs {
                    let mut stop = Stop::new(LIMITS);
                    let mut last = stop.phase();
                    for (step, input) in [one, two, three, one, two].into_iter().enumerate() {
                        let now = start + Duration::from_secs(3 * step as u64);
                        input(&mut stop, now);
                        assert!(stop.phase() >= last, "{first} {second} {third}");
                        assert_eq!(stop.cause().is_some(), stop.phase() > Phase::Running);
                        last = stop.phase();
                    }
                }
            }
        }
    }

    #[test]
    fn a_second_request_changes_neither_cause_nor_budget() {
        let start = Instant::now();
        let limits = StopLimits { lame_duck: Duration::ZERO, ..LIMITS };
        let mut stop = Stop::new(limits);
        stop.request(Cause::Signal(libc::SIGTERM), start);
        assert_eq!(stop.phase(), Phase::Draining);
        stop.request(Cause::Requested, start + Duration::from_secs(7));
        assert_eq!(stop.cause(), Some(&Cause::Signal(libc::SIGTERM)));
        assert!(stop.advance(start + Duration::from_secs(8)));
    }

    #[test]
    fn a_second_force_changes_no_time() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut stop = Stop::new(LIMITS);
        assert_eq!(stop.elapsed(start), None);
        stop.force(Cause::Requested, start);
        stop.force(Cause::Requested, at(2));
        stop.finish(at(3));
        assert_eq!(stop.times().forcing, Duration::from_secs(3));
        assert_eq!(stop.elapsed(at(5)), Some(Duration::from_secs(5)));
    }

    #[test]
    fn phases_and_causes_have_names() {
        let names: Vec<_> = [Phase::Running, Phase::LameDuck, Phase::Finished]
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(names, ["running", "lame duck", "finished"]);
        assert_eq!(Cause::Signal(libc::SIGTERM).to_string(), "SIGTERM");
        assert_eq!(Cause::ListenerFailed("gone".to_owned()).to_string(), "listener failed: gone");
    }

    #[test]
    fn a_budget_without_end_never_forces() {
        let start = Instant::now();
        let mut stop = Stop::new(StopLimits { budget: None, lame_duck: Duration::ZERO });
        stop.request(Cause::Requested, start);
        assert!(!stop.advance(start + Duration::from_secs(1 << 30)));
        assert_eq!(stop.next_deadline(), None);
    }
}
