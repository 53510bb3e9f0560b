//! The figures of the process under the names that Prometheus gives them for every program.

use std::fmt::{self, Write};
use std::fs;
use std::sync::OnceLock;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::cli::limits;

/// Descriptors are counted one by one, where the system has no number of them, up to so many
/// connections: the count holds the loop up.
const COUNTED_MAX: u64 = 10_000;

/// Writes the figures that the system reports. `open`: connections open now.
pub(crate) fn write(text: &mut String, open: u64) -> fmt::Result {
    let help = "Total user and system CPU time spent in seconds.";
    one(text, "cpu_seconds_total", "counter", help, cpu_seconds())?;
    let help = "Resident memory size in bytes.";
    one(text, "resident_memory_bytes", "gauge", help, limits::resident_bytes())?;
    let help = "Number of open file descriptors.";
    one(text, "open_fds", "gauge", help, open_files(open))?;
    let help = "Maximum number of open file descriptors.";
    one(text, "max_fds", "gauge", help, getrlimit(Resource::Nofile).current)?;
    let help = "Start time of the process since unix epoch in seconds.";
    one(text, "start_time_seconds", "gauge", help, start_seconds())
}

fn one(
    text: &mut String,
    name: &str,
    kind: &str,
    help: &str,
    value: Option<impl fmt::Display>,
) -> fmt::Result {
    let Some(value) = value else { return Ok(()) };
    writeln!(
        text,
        "# HELP process_{name} {help}\n# TYPE process_{name} {kind}\nprocess_{name} {value}"
    )
}

/// Returns the CPU time of all threads, to the nanosecond.
fn cpu_seconds() -> Option<f64> {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Some(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
}

fn open_files(open: u64) -> Option<u64> {
    // Linux 6.2 and later: the number is the size of the directory.
    match fs::metadata("/proc/self/fd").map(|directory| directory.len()) {
        Ok(count) if count > 0 => Some(count),
        Ok(_) if open <= COUNTED_MAX => Some(limits::open_now()),
        Ok(_) | Err(_) => None,
    }
}

/// Returns when the process started, as read at the first call.
fn start_seconds() -> Option<f64> {
    static START: OnceLock<Option<f64>> = OnceLock::new();
    *START.get_or_init(read_start)
}

/// The start of the process is so many ticks after that of the machine.
fn read_start() -> Option<f64> {
    let ticks = parse_start(&fs::read_to_string("/proc/self/stat").ok()?)?;
    let boot = parse_boot(&fs::read_to_string("/proc/stat").ok()?)?;
    Some(boot as f64 + ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// The 22nd field; the second one is a name in parentheses, with whatever it contains.
fn parse_start(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

fn parse_boot(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_any_name() {
        let stat = "7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20 21";
        assert_eq!(parse_start(stat), Some(4242));
        assert_eq!(parse_start("7 (a"), None);
        assert_eq!(parse_boot("cpu 1 2\nbtime 1700000000\nx 1\n"), Some(1_700_000_000));
    }

    #[test]
    fn what_the_system_does_not_report_is_left_out() {
        let mut text = String::new();
        one(&mut text, "open_fds", "gauge", "x", None::<u64>).unwrap();
        assert_eq!(text, "");
        one(&mut text, "open_fds", "gauge", "x", Some(7)).unwrap();
        let lines = ["# HELP process_open_fds x", "# TYPE process_open_fds gauge"];
        assert_eq!(text.lines().collect::<Vec<_>>(), [lines[0], lines[1], "process_open_fds 7"]);
    }
}
