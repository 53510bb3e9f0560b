//! Points in time: deadlines that may never come, and the coarse clock of a connection.

use std::time::{Duration, Instant};

/// `now` plus `timeout`; one that overflows never comes.
#[must_use]
pub(crate) fn after(now: Instant, timeout: Option<Duration>) -> Option<Instant> {
    now.checked_add(timeout?)
}

/// The earlier of two deadlines.
#[must_use]
pub(crate) fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}

/// Whether a deadline has come.
#[must_use]
pub(crate) fn is_due(deadline: Option<Instant>, now: Instant) -> bool {
    deadline.is_some_and(|deadline| deadline <= now)
}

/// Milliseconds on a clock that wraps after 49 days: what a connection remembers of its last
/// byte, in 4 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tick(u32);

impl Tick {
    /// Milliseconds from this tick to a later one. One that lies ahead counts as now.
    pub(crate) fn age(self, now: Self) -> u32 {
        let age = now.0.wrapping_sub(self.0).cast_signed();
        u32::try_from(age).unwrap_or(0)
    }

    /// The tick rounded up, so that no age is overstated.
    fn rounded_up(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// The tick so many milliseconds later.
    pub(crate) fn plus(self, millis: u32) -> Self {
        Self(self.0.wrapping_add(millis))
    }

    /// The tick so many milliseconds earlier.
    pub(crate) fn minus(self, millis: u32) -> Self {
        Self(self.0.wrapping_sub(millis))
    }

    /// Whether it lies behind another one, of two that are less than 24 days apart.
    pub(crate) fn is_after(self, other: Self) -> bool {
        self.0.wrapping_sub(other.0).cast_signed() > 0
    }

    /// The later of two ticks.
    pub(crate) fn later(self, other: Self) -> Self {
        if other.is_after(self) { other } else { self }
    }

    /// The earlier of two ticks.
    pub(crate) fn earlier(self, other: Self) -> Self {
        if other.is_after(self) { self } else { other }
    }

    /// The tick modulo a power of two.
    pub(crate) fn modulo(self, size: u32) -> u32 {
        self.0 & size.saturating_sub(1)
    }

    /// The tick modulo 2^16.
    pub(crate) fn low_half(self) -> u16 {
        u16::try_from(self.0 & u32::from(u16::MAX)).unwrap_or(0)
    }

    /// Whether two ticks fall into one span of 2^`bits` milliseconds.
    pub(crate) fn same_span(self, other: Self, bits: u32) -> bool {
        (self.0 ^ other.0).checked_shr(bits).unwrap_or(0) == 0
    }
}

/// The instants of one engine as ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Option<Instant>,
    now: Option<Instant>,
    tick: Tick,
}

impl Clock {
    pub(crate) const fn new() -> Self {
        Self { origin: None, now: None, tick: Tick(0) }
    }

    /// Moves to `now`; the same or an earlier instant changes nothing. Returns the latest.
    pub(crate) fn set(&mut self, now: Instant) -> Instant {
        if let Some(current) = self.now.filter(|current| now <= *current) {
            return current;
        }
        let origin = *self.origin.get_or_insert(now);
        let millis = now.saturating_duration_since(origin).as_millis();
        self.now = Some(now);
        // Wrapping is the purpose: ages are differences.
        self.tick = Tick(u32::try_from(millis & u128::from(u32::MAX)).unwrap_or(0));
        now
    }

    /// The latest instant that was set.
    pub(crate) fn now(&self) -> Option<Instant> {
        self.now
    }

    /// Now, rounded down: for comparing.
    pub(crate) fn tick(&self) -> Tick {
        self.tick
    }

    /// Now, rounded up: for remembering, so that no age is ever over-stated.
    pub(crate) fn mark(&self) -> Tick {
        self.tick.rounded_up()
    }

    /// The deadline `limit` after `tick`.
    pub(crate) fn deadline(&self, tick: Tick, limit: Limit) -> Option<Instant> {
        let rest = limit.0?.saturating_sub(tick.age(self.tick));
        after(self.now?, Some(Duration::from_millis(u64::from(rest))))
    }

    /// The instant of a tick to come; now, if it has come.
    pub(crate) fn instant(&self, tick: Tick) -> Option<Instant> {
        let rest = self.tick.age(tick);
        after(self.now?, Some(Duration::from_millis(u64::from(rest))))
    }

    /// Whether `limit` has passed since `tick`.
    pub(crate) fn is_past(&self, tick: Tick, limit: Limit) -> bool {
        limit.0.is_some_and(|limit| tick.age(self.tick) >= limit)
    }

    /// Time since the first instant that was set.
    pub(crate) fn elapsed(&self) -> Duration {
        match (self.origin, self.now) {
            (Some(origin), Some(now)) => now.saturating_duration_since(origin),
            _ => Duration::ZERO,
        }
    }
}

/// A timeout in ticks, rounded up; over half the clock's range it never comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit(Option<u32>);

impl Limit {
    pub(crate) fn new(timeout: Option<Duration>) -> Self {
        let millis = timeout.map(|timeout| timeout.as_nanos().div_ceil(1_000_000));
        let half = u128::from(u32::MAX >> 1);
        Self(millis.filter(|millis| *millis <= half).and_then(|millis| u32::try_from(millis).ok()))
    }

    /// The limit in milliseconds; at most, and where it never comes, a quarter of the clock's
    /// range, so that ticks can be compared.
    pub(crate) fn millis(self) -> u32 {
        self.0.unwrap_or(u32::MAX).min(u32::MAX >> 2)
    }

    /// The largest power of two, as bits, of at most a `parts`th of the limit, or one tick.
    pub(crate) fn span_bits(self, parts: u32) -> Option<u32> {
        Some(self.0?.checked_div(parts)?.checked_ilog2().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overflow_never_comes() {
        let now = Instant::now();
        assert_eq!(after(now, Some(Duration::MAX)), None);
        assert_eq!(after(now, None), None);
        assert!(Limit::new(Some(Duration::MAX)).0.is_none());
        assert!(Limit::new(Some(Duration::from_secs(86_400 * 25))).0.is_none());
        assert_eq!(Limit::new(Some(Duration::from_nanos(1))).0, Some(1));
        assert_eq!(Limit::new(Some(Duration::ZERO)).0, Some(0));
    }

    #[test]
    fn a_limit_is_past_at_it_and_not_before() {
        let start = Instant::now();
        let mut clock = Clock::new();
        clock.set(start);
        let mark = clock.mark();
        let limit = Limit::new(Some(Duration::from_millis(200)));
        for (micros, past) in [(0, false), (200_000, false), (200_999, false), (201_000, true)] {
            clock.set(start + Duration::from_micros(micros));
            assert_eq!(clock.is_past(mark, limit), past, "{micros}");
        }
        assert!(clock.deadline(mark, limit) <= Some(start + Duration::from_micros(201_000)));
    }

    #[test]
    fn spans_are_a_part_of_the_limit() {
        let bits = |millis, parts| Limit::new(Some(Duration::from_millis(millis))).span_bits(parts);
        assert_eq!((bits(200, 8), bits(256, 8), bits(255, 8)), (Some(4), Some(5), Some(4)));
        assert_eq!((bits(3, 8), bits(0, 8)), (Some(0), Some(0)));
        assert_eq!(Limit::new(None).span_bits(8), None);
        let same = |a, b, bits| Tick(a).same_span(Tick(b), bits);
        assert!(same(8, 15, 3) && same(15, 8, 3) && !same(7, 8, 3) && !same(8, 16, 3));
        assert!(same(5, 5, 0) && !same(5, 4, 0));
    }

    #[test]
    fn time_is_counted_from_the_first_instant() {
        let start = Instant::now();
        let mut clock = Clock::new();
        assert_eq!(clock.elapsed(), Duration::ZERO);
        for (millis, elapsed) in [(0, 0), (70, 70), (30, 70)] {
            clock.set(start + Duration::from_millis(millis));
            assert_eq!(clock.elapsed(), Duration::from_millis(elapsed));
        }
    }

    #[test]
    fn ages_survive_the_wrap() {
        let start = Instant::now();
        let mut clock = Clock::new();
        clock.set(start);
        clock.set(start + Duration::from_millis(u64::from(u32::MAX) - 10));
        let mark = clock.tick();
        clock.set(start + Duration::from_millis(u64::from(u32::MAX) + 90));
        assert_eq!(mark.age(clock.tick()), 100);
        assert_eq!(clock.mark().age(clock.tick()), 0);
    }
}
