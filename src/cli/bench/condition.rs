//! `--fail-if`: conditions on the outcome of a run, as they are written.

use std::fmt;
use std::str::FromStr;

use crate::cli::units;

/// A condition such as `p99>5ms`.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    text: String,
    pub(crate) metric: Metric,
    /// The condition holds above the bound; otherwise below it.
    pub(crate) above: bool,
    /// In the metric's unit: nanoseconds, a count, bytes.
    pub(crate) bound: f64,
}

/// A figure of the outcome.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Metric {
    Latency(Distribution, Statistic),
    Rate,
    Errors,
    Retried,
    Failed,
    Wrong,
    Missing,
    Extra,
    Cpu,
    Rss,
}

/// A distribution of latencies.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Distribution {
    /// From the schedule where there is a rate, else from send.
    Reported,
    RoundTrip,
    Connect,
}

/// A figure of a distribution.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Statistic {
    Min,
    Mean,
    Max,
    Percentile(f64),
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let at = text.find(['<', '>']).ok_or("is not METRIC<VALUE or METRIC>VALUE")?;
        let (metric, rest) = text.split_at_checked(at).unwrap_or((text, ""));
        let above = rest.starts_with('>');
        let value = rest.get(1..).unwrap_or_default().trim();
        let (name, metric) = (metric.trim(), metric.trim().parse::<Metric>()?);
        let wrong = |error: units::UnitError| format!("'{value}' {error} ({name} needs one)");
        let bound = match metric {
            Metric::Latency(..) | Metric::Cpu => {
                units::duration(value).map_err(wrong)?.as_secs_f64() * 1e9
            }
            Metric::Rss => units::size(value).map_err(wrong)? as f64,
            _ => units::count(value).map_err(wrong)? as f64,
        };
        Ok(Self { text: text.to_owned(), metric, above, bound })
    }
}

impl FromStr for Metric {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let (distribution, statistic) = match name.split_once('.') {
            Some(("rtt", rest)) => (Distribution::RoundTrip, rest),
            Some(("connect", rest)) => (Distribution::Connect, rest),
            _ => (Distribution::Reported, name),
        };
        let statistic = match statistic {
            "min" => Some(Statistic::Min),
            "mean" => Some(Statistic::Mean),
            "max" => Some(Statistic::Max),
            other => other
                .strip_prefix('p')
                .and_then(|percent| f64::from_str(percent).ok())
                .filter(|percent| (0.0..=100.0).contains(percent))
                .map(Statistic::Percentile),
        };
        if let Some(statistic) = statistic {
            return Ok(Self::Latency(distribution, statistic));
        }
        match name {
            "rate" => Ok(Self::Rate),
            "errors" => Ok(Self::Errors),
            "retried" => Ok(Self::Retried),
            "failed" => Ok(Self::Failed),
            "wrong" => Ok(Self::Wrong),
            "missing" => Ok(Self::Missing),
            "extra" => Ok(Self::Extra),
            "cpu" => Ok(Self::Cpu),
            "rss" => Ok(Self::Rss),
            _ => Err(format!(
                "'{name}' is no metric; known: min, mean, max, p99 (also rtt.p99, connect.p99), \
                 rate, errors, retried, failed, wrong, missing, extra, cpu, rss"
            )),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read() {
        for text in ["p99>5ms", "rate<100k", "rtt.max>1s", "connect.p99.9 > 2ms", "rss>1K"] {
            assert!(Condition::from_str(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "p99", "p99=5ms", "p101>5ms", "p99>5", "rate<5ms", "colour>3"] {
            assert!(Condition::from_str(text).is_err(), "{text}");
        }
    }
}
