//! Numbers for people: short, with a unit.

use std::time::Duration;

/// Nanoseconds as `92us`, `1.1ms`, `24ms`.
pub(crate) fn latency(nanos: u64) -> String {
    let value = nanos as f64;
    let (value, unit) = match nanos {
        0..1_000 => return format!("{nanos}ns"),
        1_000..1_000_000 => (value / 1e3, "us"),
        1_000_000..1_000_000_000 => (value / 1e6, "ms"),
        _ => (value / 1e9, "s"),
    };
    if value < 9.95 { format!("{value:.1}{unit}") } else { format!("{value:.0}{unit}") }
}

/// A latency that may be unknown.
pub(crate) fn maybe_latency(nanos: Option<u64>) -> String {
    nanos.map_or_else(|| "-".to_owned(), latency)
}

/// A duration as [`latency`] shows it.
pub(crate) fn duration(duration: Duration) -> String {
    latency(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

/// A number of things per second, or of things: `312`, `24.4k`, `1.25M`.
pub(crate) fn quantity(value: f64) -> String {
    match value {
        _ if value < 99.95 && value.fract() != 0.0 => format!("{value:.1}"),
        _ if value < 9_999.5 => format!("{value:.0}"),
        _ if value < 999_950.0 => format!("{:.1}k", value / 1e3),
        _ => format!("{:.2}M", value / 1e6),
    }
}

/// A count exactly, with `k` or `M` where that is shorter.
pub(crate) fn count(count: u64) -> String {
    match count {
        0 => "0".to_owned(),
        _ if count.is_multiple_of(1_000_000) => format!("{}M", count / 1_000_000),
        _ if count.is_multiple_of(1_000) => format!("{}k", count / 1_000),
        _ => count.to_string(),
    }
}

/// Bytes per second in MiB/s.
pub(crate) fn mebibytes(value: f64) -> String {
    let value = value / (1024.0 * 1024.0);
    if value < 99.95 { format!("{value:.1} MiB/s") } else { format!("{value:.0} MiB/s") }
}

/// Bytes as `312 B`, `9.1 KiB`, `2.0 MiB`.
pub(crate) fn bytes(value: f64) -> String {
    match value {
        _ if value < 1024.0 => format!("{value:.0} B"),
        _ if value < 1_048_576.0 => format!("{:.1} KiB", value / 1024.0),
        _ if value < 1_073_741_824.0 => format!("{:.1} MiB", value / 1_048_576.0),
        _ => format!("{:.2} GiB", value / 1_073_741_824.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_have_two_or_three_digits() {
        let shown = [850, 9_200, 92_000, 410_400, 1_900_000, 24_000_000, 1_250_000_000];
        let shown: Vec<_> = shown.into_iter().map(latency).collect();
        assert_eq!(shown, ["850ns", "9.2us", "92us", "410us", "1.9ms", "24ms", "1.2s"]);
    }

    #[test]
    fn quantities_are_short() {
        let shown: Vec<_> = [0.0, 12.25, 312.0, 24_390.0, 1_250_000.0].map(quantity).to_vec();
        assert_eq!(shown, ["0", "12.2", "312", "24.4k", "1.25M"]);
        assert_eq!(bytes(9_318.0), "9.1 KiB");
        assert_eq!(mebibytes(102_400_000.0), "97.7 MiB/s");
    }
}
