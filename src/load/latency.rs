//! Latencies in constant memory: three digits of every value, mergeable, no sampling.

use hdrhistogram::Histogram;

/// The longest latency that is recorded as it is, an hour; longer ones count as an hour.
const LATENCY_MAX: u64 = 3_600_000_000_000;

/// A distribution of nanoseconds, exact to three digits.
#[derive(Clone, Debug)]
pub struct Latency(Option<Histogram<u64>>);

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

impl Latency {
    /// An empty distribution.
    #[must_use]
    pub fn new() -> Self {
        // The constant bounds are valid; were they not, the distribution would stay empty.
        Self(Histogram::new_with_bounds(1, LATENCY_MAX, 3).ok())
    }

    /// Adds one value in nanoseconds.
    pub fn record(&mut self, nanos: u64) {
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record(nanos);
        }
    }

    /// Adds `count` values of `nanos` nanoseconds.
    pub fn record_n(&mut self, nanos: u64, count: u64) {
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record_n(nanos, count);
        }
    }

    /// Adds all values of `other`.
    pub fn merge(&mut self, other: &Self) {
        if let (Some(mine), Some(theirs)) = (&mut self.0, &other.0)
            && let Err(error) = mine.add(theirs)
        {
            log::error!("latencies of equal bounds did not merge: {error}");
        }
    }

    /// How many values were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, Histogram::len)
    }

    /// The smallest value in nanoseconds; `None` without values.
    #[must_use]
    pub fn min(&self) -> Option<u64> {
        self.filled().map(Histogram::min)
    }

    /// The largest value in nanoseconds; `None` without values.
    #[must_use]
    pub fn max(&self) -> Option<u64> {
        self.filled().map(Histogram::max)
    }

    /// The mean in nanoseconds; `None` without values.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        self.filled().map(Histogram::mean)
    }

    /// The standard deviation in nanoseconds; `None` without values.
    #[must_use]
    pub fn stdev(&self) -> Option<f64> {
        self.filled().map(Histogram::stdev)
    }

    /// The value in nanoseconds that `percent` (0 to 100) of all do not exceed.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> Option<u64> {
        self.filled().map(|histogram| {
            // The upper edge of a bucket may lie above the largest value seen.
            histogram.value_at_percentile(percent).min(histogram.max())
        })
    }

    /// The non-empty buckets: value in nanoseconds and count, ascending. Fed to
    /// [`record_n`](Self::record_n) they give the same distribution again.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let recorded = self.0.iter().flat_map(Histogram::iter_recorded);
        recorded.map(|step| (step.value_iterated_to(), step.count_at_value()))
    }

    /// Steps of the distribution as HdrHistogram's percentile files have them: value in
    /// nanoseconds, quantile (0 to 1), values up to here.
    pub fn steps(&self) -> impl Iterator<Item = (u64, f64, u64)> + '_ {
        self.0.iter().flat_map(|histogram| {
            let mut total = 0_u64;
            histogram.iter_quantiles(5).map(move |step| {
                total = total.saturating_add(step.count_since_last_iteration());
                let value = step.value_iterated_to().min(histogram.max());
                (value, step.quantile_iterated_to(), total)
            })
        })
    }

    fn filled(&self) -> Option<&Histogram<u64>> {
        self.0.as_ref().filter(|histogram| !histogram.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_rebuild_the_distribution() {
        let mut latency = Latency::new();
        for nanos in [1, 999, 1_000, 123_456, 7_000_000_000] {
            latency.record(nanos);
        }
        let mut again = Latency::new();
        latency.buckets().for_each(|(nanos, count)| again.record_n(nanos, count));
        assert_eq!(again.buckets().collect::<Vec<_>>(), latency.buckets().collect::<Vec<_>>());
        assert_eq!(again.count(), 5);
    }

    #[test]
    fn nothing_recorded_is_unknown() {
        let latency = Latency::new();
        assert_eq!((latency.min(), latency.max(), latency.percentile(50.0)), (None, None, None));
    }
}
