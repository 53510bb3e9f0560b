//! The logger: levels by simple_logger, lines on stderr, made safe for a process that must not die
//! or wait because of its log.
//!
//! simple_logger itself writes with a macro that panics if stderr is gone or full, waits if stderr
//! is a pipe which nobody reads, and writes the end of the line separately, so that the lines of
//! two processes mix. Here every line is one write, after a poll, and short enough that a pipe with
//! room takes it whole. A line that cannot be written is dropped and counted.

use std::fmt;
use std::fmt::Write;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use log::{Level, Log, Metadata, Record};
use rustix::io::retry_on_intr;
use simple_logger::SimpleLogger;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::cli::filter::Filter;
use crate::cli::output;

/// The longest message, so that with its timestamp, level and target it stays far below the
/// 4096 bytes that a pipe with any room takes at once.
const MESSAGE_BYTES_MAX: usize = 1500;

const TIME_FORMAT: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// The target of the program's own lines.
pub(crate) const TARGET: &str = "netgrace";

/// Whether a line waits for room on stderr: only at the end of the process, when it delays
/// nothing else.
static WAITS_FOR_ROOM: AtomicBool = AtomicBool::new(false);

/// Installs the logger and logs what is invalid in the filter.
pub(crate) fn install(filter: &Filter) {
    let levels = filter
        .targets
        .iter()
        .fold(SimpleLogger::new().with_level(filter.level), |logger, (target, level)| {
            logger.with_module_level(target, *level)
        });
    let logger = Logger { levels, dropped: AtomicU64::new(0) };
    if log::set_boxed_logger(Box::new(logger)).is_err() {
        return;
    }
    log::set_max_level(filter.max_level());
    for line in &filter.invalid {
        log::warn!(target: TARGET, "{line}");
    }
}

/// Makes every line wait briefly for room on stderr, until one of them gets none: for the last
/// lines, which report how the stop ended.
pub(crate) fn wait_for_room() {
    WAITS_FOR_ROOM.store(true, Ordering::Relaxed);
}

/// A logger that writes a line at once or drops it.
struct Logger {
    levels: SimpleLogger,
    /// Lines dropped since the last one that was written.
    dropped: AtomicU64,
}

impl Logger {
    /// Returns whether the line was written.
    fn write(level: Level, target: &str, message: fmt::Arguments<'_>) -> bool {
        let line = line(OffsetDateTime::now_utc(), level, target, message);
        let write = || rustix::io::write(io::stderr(), line.as_bytes());
        has_room() && retry_on_intr(write) == Ok(line.len())
    }
}

fn has_room() -> bool {
    let waits = WAITS_FOR_ROOM.load(Ordering::Relaxed);
    let timeout = if waits { output::BRIEFLY } else { Duration::ZERO };
    let room = output::is_writable(io::stderr().as_fd(), timeout);
    if !room {
        WAITS_FOR_ROOM.store(false, Ordering::Relaxed);
    }
    room
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.levels.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let message = format_args!("{dropped} log lines dropped: stderr did not take them");
            if !Self::write(Level::Warn, TARGET, message) {
                self.dropped.fetch_add(dropped.saturating_add(1), Ordering::Relaxed);
                return;
            }
        }
        if !Self::write(record.level(), record.target(), *record.args()) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
}

/// Returns the line with its end.
fn line(time: OffsetDateTime, level: Level, target: &str, message: fmt::Arguments<'_>) -> String {
    let time = time.format(TIME_FORMAT).unwrap_or_default();
    format!("{time} {:<5} [{target}] {}\n", level.as_str(), one_line(message))
}

/// The message with control characters escaped, cut where it gets too long.
fn one_line(message: fmt::Arguments<'_>) -> String {
    let mut line = OneLine(String::new());
    // A formatter that fails leaves what it wrote so far, and that is logged.
    write!(line, "{message}").unwrap_or_default();
    line.0
}

struct OneLine(String);

impl Write for OneLine {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if self.0.len() >= MESSAGE_BYTES_MAX {
                if !self.0.ends_with('…') {
                    self.0.push('…');
                }
                return Err(fmt::Error);
            }
            if c.is_control() { self.0.extend(c.escape_default()) } else { self.0.push(c) }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_time_level_and_target() {
        let time = OffsetDateTime::UNIX_EPOCH + Duration::from_millis(86_400_007);
        let found = line(time, Level::Warn, "netgrace", format_args!("a\nb"));
        assert_eq!(found, "1970-01-02T00:00:00.007Z WARN  [netgrace] a\\nb\n");
    }

    #[test]
    fn a_message_is_one_short_line() {
        assert_eq!(one_line(format_args!("a {} c", "b")), "a b c");
        assert_eq!(one_line(format_args!("x\ny\u{1b}[0mß")), "x\\ny\\u{1b}[0mß");
        let long = one_line(format_args!("{}{}", "é".repeat(5_000), "tail"));
        assert!(long.len() < MESSAGE_BYTES_MAX + 8 && long.ends_with("é…"), "{}", long.len());
    }

    #[test]
    fn a_formatter_that_fails_is_no_panic() {
        struct Broken;
        impl fmt::Display for Broken {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("half")?;
                Err(fmt::Error)
            }
        }
        assert_eq!(one_line(format_args!("{Broken} a line")), "half");
    }
}
