//! The time series as CSV, and the latency distribution as an HdrHistogram percentile file.

use std::fmt::Write as _;

use netgrace::load::{Interval, Latency};

/// One row per interval, with a head row.
pub(crate) fn csv(intervals: &[Interval]) -> String {
    let mut text = String::from(
        "t_s,length_s,connections,opened,messages,messages_per_s,bytes,p50_ns,p90_ns,p99_ns,\
         p99_9_ns,max_ns,errors,stopping\n",
    );
    for interval in intervals {
        // An unknown value is an empty field.
        let known = |nanos: Option<u64>| nanos.map_or_else(String::new, |nanos| nanos.to_string());
        let percentile = |percent: f64| known(interval.latency.percentile(percent));
        let row = [
            format!("{:.6}", interval.at.as_secs_f64()),
            format!("{:.6}", interval.length.as_secs_f64()),
            interval.connections.to_string(),
            interval.opened.to_string(),
            interval.messages.to_string(),
            format!("{:.1}", interval.messages_per_second()),
            interval.bytes.to_string(),
            percentile(50.0),
            percentile(90.0),
            percentile(99.0),
            percentile(99.9),
            known(interval.latency.max()),
            interval.errors.to_string(),
            interval.stopping.to_string(),
        ];
        text.push_str(&row.join(","));
        text.push('\n');
    }
    text
}

/// The distribution in milliseconds, in the form that HdrHistogram's plotters read.
pub(crate) fn hgrm(latency: &Latency) -> String {
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let mut line = |line: std::fmt::Arguments<'_>| {
        let written = text.write_fmt(line);
        debug_assert!(written.is_ok(), "writing to a string");
    };
    for (nanos, quantile, count) in latency.steps() {
        let value = nanos as f64 / 1e6;
        if quantile < 1.0 {
            let inverse = 1.0 / (1.0 - quantile);
            line(format_args!("{value:>12.6} {quantile:>14.12} {count:>10} {inverse:>14.2}\n"));
        } else {
            line(format_args!("{value:>12.6} {quantile:>14.12} {count:>10}\n"));
        }
    }
    let (mean, deviation) = (latency.mean().unwrap_or(0.0), latency.stdev().unwrap_or(0.0));
    let max = latency.max().unwrap_or(0) as f64 / 1e6;
    let (mean, deviation) = (mean / 1e6, deviation / 1e6);
    let count = latency.count();
    line(format_args!("#[Mean    = {mean:>12.6}, StdDeviation   = {deviation:>12.6}]\n"));
    line(format_args!("#[Max     = {max:>12.6}, Total count    = {count:>12}]\n"));
    line(format_args!("#[Buckets = {:>12}, SubBuckets     = {:>12}]\n", 32, 2048));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_percentile_file_ends_with_everything() {
        let mut latency = Latency::new();
        (1..=1000).for_each(|micros: u64| latency.record(micros.saturating_mul(1_000)));
        let text = hgrm(&latency);
        let last = text.lines().rfind(|line| !line.starts_with('#')).unwrap();
        let fields: Vec<&str> = last.split_whitespace().collect();
        assert_eq!(fields[1..], ["1.000000000000", "1000"], "{text}");
        assert!(text.contains("Total count    =         1000]"), "{text}");
    }
}
