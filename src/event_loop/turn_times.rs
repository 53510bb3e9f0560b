//! The times that the turns of a loop take.

use std::time::Duration;

/// How long the turns of an [`EventLoop`](crate::EventLoop) took, each from the end of the wait to
/// the end of the batch: the time for which every other connection had to wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TurnTimes {
    /// The number of turns measured.
    pub turns: u64,
    /// The sum of their times.
    pub total: Duration,
    /// The time of the longest.
    pub longest: Duration,
    counts: [u64; Self::BOUNDS.len()],
}

impl TurnTimes {
    const BOUNDS: [Duration; 6] = [
        Duration::from_micros(10),
        Duration::from_micros(100),
        Duration::from_millis(1),
        Duration::from_millis(10),
        Duration::from_millis(100),
        Duration::from_secs(1),
    ];

    /// Iterates over ascending bounds, each with the number of turns that took no longer.
    pub fn cumulated(&self) -> impl Iterator<Item = (Duration, u64)> {
        let mut sum: u64 = 0;
        Self::BOUNDS.into_iter().zip(self.counts).map(move |(bound, count)| {
            sum = sum.saturating_add(count);
            (bound, sum)
        })
    }

    pub(crate) fn add(&mut self, time: Duration) {
        self.turns = self.turns.saturating_add(1);
        self.total = self.total.saturating_add(time);
        self.longest = self.longest.max(time);
        let mut slots = Self::BOUNDS.iter().zip(&mut self.counts);
        if let Some((_, count)) = slots.find(|(bound, _)| time <= **bound) {
            *count = count.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_counted_below_their_bounds() {
        let mut times = TurnTimes::default();
        for micros in [10, 11, 999, 1_000_000, 1_000_001] {
            times.add(Duration::from_micros(micros));
        }
        let cumulated: Vec<u64> = times.cumulated().map(|(_, count)| count).collect();
        assert_eq!(cumulated, [1, 2, 3, 3, 3, 4]);
        assert_eq!((times.turns, times.longest.as_micros()), (5, 1_000_001));
        assert_eq!(times.total.as_micros(), 2_001_021);
    }
}
