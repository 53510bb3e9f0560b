//! The state of signals that the program inherits, and the signals that must not end it.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use log::{debug, info};
use nix::sys::signal::{SigSet, Signal};
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

use crate::cli::logger::TARGET;

/// The signals that have a handler in some subcommand.
const HANDLED: [i32; 6] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2];

/// Returns those of `signals` that are not ignored now. Called before a handler is installed, so
/// that what nohup(1) or a shell has set stays in force. All of them where the system does not
/// provide /proc.
pub(crate) fn not_ignored(signals: &[i32]) -> Vec<i32> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = ignored(&status);
    let is_ignored = |signal: &i32| {
        let bit = u32::try_from(*signal).ok().and_then(|number| number.checked_sub(1));
        bit.and_then(|bit| ignored.checked_shr(bit)).is_some_and(|rest| rest & 1 == 1)
    };
    signals.iter().copied().filter(|signal| !is_ignored(signal)).collect()
}

fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Logs those of `signals` that stay ignored, and returns the others.
pub(crate) fn to_handle(signals: &[i32]) -> Vec<i32> {
    let handled = not_ignored(signals);
    let ignored = signals.iter().filter(|signal| !handled.contains(signal));
    let names = ignored.map(|signal| signal_hook::low_level::signal_name(*signal));
    let names: Vec<&str> = names.map(|name| name.unwrap_or("a signal")).collect();
    if !names.is_empty() {
        info!(target: TARGET, "ignored at the start, and still: {}", names.join(", "));
    }
    handled
}

/// Unblocks the signals with handlers, which a parent may have left blocked. Called after the
/// handlers have been installed: a signal that is pending takes effect now.
pub(crate) fn unblock() {
    let handled = HANDLED.iter().filter_map(|signal| Signal::try_from(*signal).ok());
    if let Err(error) = handled.collect::<SigSet>().thread_unblock() {
        debug!(target: TARGET, "unblock signals: {error}");
    }
}

/// Makes a write beyond the limit of file sizes (`ulimit -f`) fail instead of ending the process.
/// The handler is not inherited by the commands that this process starts.
pub(crate) fn survive_file_size_limit() {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in not_ignored(&[libc::SIGXFSZ]) {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&flag)) {
            debug!(target: TARGET, "handle SIGXFSZ: {error}");
        }
    }
}

/// Blocks SIGTTOU, so that a write to the terminal does not stop a process in the background
/// (`stty tostop`), which would stop serving its clients.
pub(crate) fn survive_terminal_stop() {
    if let Err(error) = SigSet::from(Signal::SIGTTOU).thread_block() {
        debug!(target: TARGET, "block SIGTTOU: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_is_read() {
        let status = "Name:\tx\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001001\nSigCgt:\t0\n";
        assert_eq!(ignored(status), 1 << (SIGHUP - 1) | 1 << (libc::SIGPIPE - 1));
        assert_eq!(ignored(""), 0);
        // The standard library ignores SIGPIPE.
        assert_eq!(not_ignored(&[libc::SIGPIPE, libc::SIGWINCH]), [libc::SIGWINCH]);
    }
}
