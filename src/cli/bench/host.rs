//! The machine that a run was made on.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cli::limits;

/// What a reader of the results wants to know about the machine.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) cpus: usize,
    pub(crate) kernel: String,
    pub(crate) somaxconn: Option<u32>,
    pub(crate) port_range: Option<(u64, u64)>,
    /// Connections in TIME_WAIT.
    pub(crate) time_wait: Option<u64>,
}

impl Host {
    pub(crate) fn look() -> Self {
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        let range = kernel_setting("/proc/sys/net/ipv4/ip_local_port_range");
        let range = range.and_then(|text| {
            let mut numbers = text.split_whitespace().map(|number| number.parse().ok());
            Some((numbers.next()??, numbers.next()??))
        });
        Self {
            cpus: cpus(),
            kernel,
            somaxconn: limits::somaxconn(),
            port_range: range,
            time_wait: time_wait(),
        }
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
    let now = OffsetDateTime::now_utc();
    format_time(now.replace_nanosecond(0).unwrap_or(now).into())
}

/// A time of day by RFC 3339.
pub(crate) fn format_time(time: SystemTime) -> String {
    OffsetDateTime::from(time).format(&Rfc3339).unwrap_or_else(|_| "?".to_owned())
}

/// A time of day in nanoseconds since 1970.
pub(crate) fn unix_nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// How many connections of this network namespace are in TIME_WAIT.
pub(crate) fn time_wait() -> Option<u64> {
    let text = kernel_setting("/proc/net/sockstat")?;
    let line = text.lines().find(|line| line.starts_with("TCP:"))?;
    let mut words = line.split_whitespace().skip_while(|word| *word != "tw").skip(1);
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_by_rfc_3339() {
        let time = UNIX_EPOCH + std::time::Duration::from_secs(951_782_400);
        assert_eq!(format_time(time), "2000-02-29T00:00:00Z");
        assert_eq!(unix_nanos(time), 951_782_400_000_000_000);
        assert!(timestamp().ends_with('Z'), "{}", timestamp());
    }
}
