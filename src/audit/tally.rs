//! The account of an audit while it runs.

use std::time::Duration;

use super::class::Class;
use super::clock::nanos;
use super::gap::Gap;
use super::kind::Kind;
use super::results::Audit;
use super::results::Counts;
use super::results::KindCounts;
use super::results::Mark;
use super::results::STEP;

/// The most marks that are kept.
const MARKS_MAX: usize = 10_000;
/// The most steps that are kept: ten minutes.
const STEPS_MAX: usize = 60_000;

/// The account of an audit while it runs; times are of the audit's clock.
#[derive(Debug)]
pub(super) struct Tally {
    kinds: [KindCounts; Kind::ALL.len()],
    before: Counts,
    pub(super) announced: u64,
    pub(super) closed_idle: u64,
    pub(super) reset_idle: u64,
    left_out: u64,
    /// Whole, correct answers, before the stop too.
    pub(super) answered: u64,
    pub(super) begun_at: u64,
    pub(super) stopped_at: Option<u64>,
    refused_at: Option<u64>,
    answered_at: Option<u64>,
    pub(super) gone_at: Option<u64>,
    pub(super) gap: Gap,
    answers: Vec<u32>,
    marks: Vec<Mark>,
}

impl Tally {
    pub(super) fn new() -> Self {
        let kind = |kind| KindCounts { kind, started: 0, classes: Counts::default() };
        Self {
            kinds: Kind::ALL.map(kind),
            before: Counts::default(),
            announced: 0,
            closed_idle: 0,
            reset_idle: 0,
            left_out: 0,
            answered: 0,
            begun_at: 0,
            stopped_at: None,
            refused_at: None,
            answered_at: None,
            gone_at: None,
            gap: Gap::default(),
            answers: Vec::new(),
            marks: Vec::new(),
        }
    }

    fn of(&mut self, kind: Kind) -> Option<&mut KindCounts> {
        self.kinds.get_mut(kind as usize)
    }

    /// Counts a request that started after the stop or was unfinished at it.
    pub(super) fn start(&mut self, kind: Kind) {
        if let Some(of) = self.of(kind) {
            of.started = of.started.saturating_add(1);
        }
    }

    /// Takes back a request of which nothing can be said.
    pub(super) fn withdraw(&mut self, kind: Kind) {
        if let Some(of) = self.of(kind) {
            of.started = of.started.saturating_sub(1);
        }
    }

    /// Takes back a request that failed while the audit itself stood still.
    pub(super) fn leave_out(&mut self, kind: Kind) {
        self.withdraw(kind);
        self.left_out = self.left_out.saturating_add(1);
    }

    /// Counts the end of a request; `is_counted`: [`start`](Self::start) counted it.
    pub(super) fn end(&mut self, kind: Kind, class: Class, is_counted: bool, now: u64) {
        if class == Class::Answered {
            self.answer(is_counted, now);
        }
        if !is_counted {
            if class != Class::Answered {
                self.before.add(class);
            }
            return;
        }
        if let Some(of) = self.of(kind) {
            of.classes.add(class);
        }
        if class == Class::Refused && self.refused_at.is_none() {
            self.refused_at = Some(now);
        }
        let is_marked = class.is_lost() || class == Class::Raced;
        if is_marked && self.marks.len() < MARKS_MAX {
            let at = Duration::from_nanos(now.saturating_sub(self.begun_at));
            self.marks.push(Mark { at, kind, class });
        }
    }

    fn answer(&mut self, is_counted: bool, now: u64) {
        self.answered = self.answered.saturating_add(1);
        if is_counted {
            self.answered_at = Some(now);
            self.gap.answered(now);
        }
        let step = now.saturating_sub(self.begun_at).checked_div(nanos(STEP)).unwrap_or(0);
        let step = usize::try_from(step).unwrap_or(usize::MAX);
        if step >= STEPS_MAX {
            return;
        }
        if self.answers.len() <= step {
            self.answers.resize(step.saturating_add(1), 0);
        }
        if let Some(count) = self.answers.get_mut(step) {
            *count = count.saturating_add(1);
        }
    }

    /// Returns lost and raced requests so far.
    pub(super) fn failed(&self) -> (u64, u64) {
        let mut sum = Counts::default();
        self.kinds.iter().for_each(|kind| sum.merge(&kind.classes));
        (sum.lost(), sum.get(Class::Raced))
    }

    /// Returns the account as a result, of the kinds that took part.
    pub(super) fn finish(self, takes_part: impl Fn(Kind) -> bool, now: u64) -> Audit {
        let mut audit = Audit {
            kinds: self.kinds.into_iter().filter(|of| takes_part(of.kind)).collect(),
            before: self.before,
            announced: self.announced,
            closed_idle: self.closed_idle,
            reset_idle: self.reset_idle,
            left_out: self.left_out,
            answers: self.answers,
            marks: self.marks,
            ..Audit::default()
        };
        if let Some(stop) = self.stopped_at {
            let since = |at: u64| Duration::from_nanos(at.saturating_sub(stop));
            audit.stopped_at = Some(Duration::from_nanos(stop.saturating_sub(self.begun_at)));
            audit.times.listener_closed = self.refused_at.map(since);
            audit.times.last_answer = self.answered_at.map(since);
            audit.times.exit = self.gone_at.map(since);
            audit.times.gap = Duration::from_nanos(self.gap.longest(now));
        }
        audit
    }
}
