//! `--fail-if`: conditions on the outcome.

use std::{fmt, str::FromStr, time::Duration};

use super::outcome::Outcome;
use crate::cli::units;
use netgrace::load::Latency;

/// A condition such as `p99>5ms`.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    text: String,
    metric: Metric,
    above: bool,
    /// In the metric's unit: nanoseconds, a count, bytes.
    bound: f64,
}

#[derive(Clone, Copy, Debug)]
enum Metric {
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

#[derive(Clone, Copy, Debug)]
enum Distribution {
    Reported,
    RoundTrip,
    Connect,
}

#[derive(Clone, Copy, Debug)]
enum Statistic {
    Min,
    Mean,
    Max,
    Percentile(f64),
}

impl FromStr for Check {
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

impl Metric {
    fn of(self, outcome: &Outcome) -> Option<f64> {
        let results = &outcome.results;
        let count = |count: u64| Some(count as f64);
        match self {
            Self::Latency(Distribution::Reported, statistic) => statistic.of(&results.latency),
            Self::Latency(Distribution::RoundTrip, statistic) => {
                statistic.of(results.service.as_ref().unwrap_or(&results.latency))
            }
            Self::Latency(Distribution::Connect, statistic) => {
                statistic.of(&results.connect.latency)
            }
            Self::Rate => Some(results.load.messages_per_second()),
            Self::Errors => count(results.errors.total()),
            Self::Retried => count(results.connect.retried),
            Self::Failed => count(results.connect.failed),
            Self::Wrong => count(results.load.wrong_bytes),
            Self::Missing => count(results.load.missing_bytes),
            Self::Extra => count(results.load.extra_bytes),
            Self::Cpu => outcome.usage.cpu_us_per_message.map(|us| us * 1e3),
            Self::Rss => outcome.usage.rss_bytes_per_connection,
        }
    }
}

impl Statistic {
    fn of(self, latency: &Latency) -> Option<f64> {
        match self {
            Self::Min => latency.min().map(|nanos| nanos as f64),
            Self::Mean => latency.mean(),
            Self::Max => latency.max().map(|nanos| nanos as f64),
            Self::Percentile(percent) => latency.percentile(percent).map(|nanos| nanos as f64),
        }
    }
}

impl Check {
    /// What is to be said if the condition holds, or cannot be told.
    pub(crate) fn complaint(&self, outcome: &Outcome) -> Option<String> {
        let Some(value) = self.metric.of(outcome) else {
            return Some(format!("{self}: the value is not known"));
        };
        let holds = if self.above { value > self.bound } else { value < self.bound };
        holds.then(|| format!("{self}: it is {}", self.shown(value)))
    }

    fn shown(&self, value: f64) -> String {
        match self.metric {
            Metric::Latency(..) | Metric::Cpu => {
                units::approximate_duration(Duration::from_secs_f64(value / 1e9))
            }
            Metric::Rss => format!("{value:.0} B"),
            _ => format!("{value:.0}"),
        }
    }
}

impl fmt::Display for Check {
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
            assert!(Check::from_str(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "p99", "p99=5ms", "p101>5ms", "p99>5", "rate<5ms", "colour>3"] {
            assert!(Check::from_str(text).is_err(), "{text}");
        }
    }
}
