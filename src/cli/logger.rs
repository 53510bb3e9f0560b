//! The logger: simple_logger on stderr, made safe for a process that must not die or wait because
//! of its log.
//!
//! simple_logger writes with a macro that panics when stderr is gone or full, and that waits when
//! stderr is a pipe which nobody reads. So every line is offered with a poll first, short enough
//! that a pipe which has room takes it whole; what cannot be taken is dropped and counted; and a
//! panic is caught, without a word from the panic hook.

use std::cell::Cell;
use std::fmt;
use std::fmt::Write;
use std::io;
use std::os::fd::AsFd;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use log::{Level, Log, Metadata, Record};
use simple_logger::SimpleLogger;

use crate::cli::filter::Filter;
use crate::cli::output;

/// The longest message, so that with its timestamp, level and target it stays far below the
/// 4096 bytes that a pipe with any room takes at once.
const MESSAGE_BYTES_MAX: usize = 1500;

/// The target of the program's own lines.
pub(crate) const TARGET: &str = "netgrace";

/// Whether a line waits for room on stderr: only at the end, when nothing else is delayed.
static PATIENT: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Set while a line is written: the panic hook keeps quiet then.
    static WRITING: Cell<bool> = const { Cell::new(false) };
}

/// Installs the logger and reports what was wrong with the filter.
pub(crate) fn install(filter: &Filter) {
    let logger = filter.targets.iter().fold(
        SimpleLogger::new().with_utc_timestamps().with_level(filter.level),
        |logger, (target, level)| logger.with_module_level(target, *level),
    );
    let offered = Offered { logger, dropped: AtomicU64::new(0) };
    if log::set_boxed_logger(Box::new(offered)).is_err() {
        return;
    }
    log::set_max_level(filter.max_level());
    let loud = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if !WRITING.get() {
            loud(panic);
        }
    }));
    for line in &filter.refused {
        log::warn!(target: TARGET, "{line}");
    }
}

/// From now on a line waits a little for room on stderr, until one waited in vain: for the last
/// lines, which say how it ended.
pub(crate) fn wait_for_room() {
    PATIENT.store(true, Ordering::Relaxed);
}

/// A logger to which lines are offered: it takes them at once or not at all.
struct Offered {
    logger: SimpleLogger,
    /// Lines not taken since the last one that was.
    dropped: AtomicU64,
}

impl Offered {
    fn has_room(&self) -> bool {
        let patient = PATIENT.load(Ordering::Relaxed);
        let patience = if patient { output::BRIEFLY } else { Duration::ZERO };
        let room = output::is_writable(io::stderr().as_fd(), patience);
        if !room {
            PATIENT.store(false, Ordering::Relaxed);
        }
        room
    }

    /// Whether stderr took the line.
    fn write(&self, metadata: Metadata<'_>, message: fmt::Arguments<'_>) -> bool {
        if !self.has_room() {
            return false;
        }
        WRITING.set(true);
        let written = panic::catch_unwind(AssertUnwindSafe(|| {
            let text = one_line(message);
            let args = format_args!("{text}");
            self.logger.log(&Record::builder().metadata(metadata).args(args).build());
        }));
        WRITING.set(false);
        written.is_ok()
    }
}

impl Log for Offered {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.logger.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let about = Metadata::builder().level(Level::Warn).target(TARGET).build();
            let message = format_args!("{dropped} log lines dropped: stderr did not take them");
            if !self.write(about, message) {
                self.dropped.fetch_add(dropped.saturating_add(1), Ordering::Relaxed);
                return;
            }
        }
        if !self.write(record.metadata().clone(), *record.args()) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
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
