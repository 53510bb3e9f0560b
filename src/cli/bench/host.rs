//! The machine that a run was made on.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::cli::limits;

/// What a reader of the results wants to know about the machine.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) cpus: usize,
    pub(crate) kernel: String,
    pub(crate) somaxconn: Option<u32>,
    pub(crate) port_range: Option<(u64, u64)>,
}

impl Host {
    pub(crate) fn look() -> Self {
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        let range = kernel_setting("/proc/sys/net/ipv4/ip_local_port_range");
        let range = range.and_then(|text| {
            let mut numbers = text.split_whitespace().map(|number| number.parse().ok());
            Some((numbers.next()??, numbers.next()??))
        });
        Self { cpus: cpus(), kernel, somaxconn: limits::somaxconn(), port_range: range }
    }
}

fn kernel_setting(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// CPUs that this process may use.
pub(crate) fn cpus() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// A seed that no other run has, below 2^53.
pub(crate) fn seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    RandomState::new().hash_one(now) >> 11
}

/// The time now as `2026-01-31T23:59:59Z`.
pub(crate) fn timestamp() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format_timestamp(i64::try_from(now.as_secs()).unwrap_or(0))
}

/// Seconds since 1970 as a date and time.
fn format_timestamp(seconds: i64) -> String {
    // Counted from 1 March of the year 0 a leap day is the last day of its year.
    let days = (seconds / 86_400).saturating_add(719_468);
    let (era, day) = (days / 146_097, days % 146_097);
    let spare = (day / 36_524).saturating_sub(day / 146_096);
    let year = day.saturating_sub(day / 1_460).saturating_add(spare) / 365;
    let before = year.saturating_mul(365).saturating_add(year / 4).saturating_sub(year / 100);
    let day = day.saturating_sub(before);
    let shifted = day.saturating_mul(5).saturating_add(2) / 153;
    let day = day.saturating_sub(shifted.saturating_mul(153).saturating_add(2) / 5);
    let month = if shifted < 10 { shifted.saturating_add(3) } else { shifted.saturating_sub(9) };
    let year = era.saturating_mul(400).saturating_add(year).saturating_add(i64::from(month <= 2));
    let time = seconds % 86_400;
    let (hour, minute, second) = (time / 3_600, time / 60 % 60, time % 60);
    let day = day.saturating_add(1);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_round_leap_days_and_years() {
        let check = |seconds, expected| assert_eq!(format_timestamp(seconds), expected);
        check(0, "1970-01-01T00:00:00Z");
        check(951_782_399, "2000-02-28T23:59:59Z");
        check(951_782_400, "2000-02-29T00:00:00Z");
        check(1_709_251_199, "2024-02-29T23:59:59Z");
        check(1_735_689_599, "2024-12-31T23:59:59Z");
        check(4_107_542_400, "2100-03-01T00:00:00Z");
    }
}
