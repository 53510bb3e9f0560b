//! Small pictures out of characters.

use netgrace::load::Latency;

const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The widest sparkline and the longest bar, in characters.
const SPARKS: usize = 60;
const BAR: f64 = 40.0;

/// Values as a row of bars, the highest of which is full; many values are put together.
pub(crate) fn sparkline(values: &[f64]) -> String {
    let per_spark = values.len().div_ceil(SPARKS).max(1);
    let means: Vec<f64> = values
        .chunks(per_spark)
        .map(|chunk| chunk.iter().sum::<f64>() / chunk.len() as f64)
        .collect();
    let highest = means.iter().copied().fold(0.0, f64::max);
    let spark = |value: &f64| {
        let step = if highest > 0.0 { eighths(value / highest, 8.0).saturating_sub(1) } else { 0 };
        STEPS.get(step).copied().unwrap_or('█')
    };
    means.iter().map(spark).collect()
}

/// The distribution as one bar for each seventh of a power of ten, with its share of all values.
pub(crate) fn bars(latency: &Latency) -> Vec<String> {
    const EDGES: [u64; 7] = [100, 150, 200, 300, 400, 500, 700];
    let mut edges = vec![1, 2, 5, 10, 20, 50];
    let mut scale = 1_u64;
    for _ in 0..10 {
        edges.extend(EDGES.iter().map(|edge| edge.saturating_mul(scale)));
        scale = scale.saturating_mul(10);
    }
    let mut counts = vec![0_u64; edges.len().saturating_add(1)];
    for (nanos, count) in latency.buckets() {
        let at = edges.partition_point(|edge| *edge <= nanos);
        if let Some(slot) = counts.get_mut(at) {
            *slot = slot.saturating_add(count);
        }
    }
    let total = latency.count().max(1) as f64;
    let highest = counts.iter().copied().max().unwrap_or(0).max(1) as f64;
    let first = counts.iter().position(|count| *count > 0).unwrap_or(0);
    let last = counts.iter().rposition(|count| *count > 0).unwrap_or(0);
    let mut lines = Vec::new();
    for (at, count) in counts.iter().enumerate().take(last.saturating_add(1)).skip(first) {
        let edge = edges.get(at).copied().unwrap_or(u64::MAX);
        let share = *count as f64 / total * 100.0;
        let bar = bar(*count as f64 / highest);
        let below = super::figure::latency(edge).replace(".0", "");
        lines.push(format!("  < {below:>6} {share:>8.4}%  {bar}"));
    }
    lines
}

/// A bar of a part (0 to 1) of the longest, exact to an eighth of a character; never empty for
/// more than nothing.
fn bar(part: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = eighths(part, BAR * 8.0);
    let rest = EIGHTHS.get(eighths % 8).copied().unwrap_or_default();
    format!("{}{rest}", "█".repeat(eighths / 8))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a part of 0 to 1 times a small constant"
)]
fn eighths(part: f64, whole: f64) -> usize {
    let part = part.clamp(0.0, 1.0) * whole;
    part.ceil() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparks_follow_the_values() {
        assert_eq!(sparkline(&[0.0, 1.0, 4.0, 8.0]), "▁▁▄█");
        assert_eq!(sparkline(&[]), "");
        assert_eq!(sparkline(&[0.0, 0.0]), "▁▁");
        assert!(sparkline(&[1.0; 500]).chars().count() <= SPARKS);
    }

    #[test]
    fn bars_hold_every_value_once() {
        let mut latency = Latency::new();
        latency.record_n(15_000, 75);
        latency.record_n(35_000, 25);
        let lines = bars(&latency);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[0].contains("<   20us") && lines[0].contains("75.0000%"), "{lines:?}");
        assert!(lines[2].contains("<   40us") && lines[2].contains("25.0000%"), "{lines:?}");
    }
}
