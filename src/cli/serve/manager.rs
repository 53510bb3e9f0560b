//! What the service manager is told, as sd_notify(3) describes it: ready, status, stopping, and
//! that the loop still turns.

use std::ffi::OsStr;
use std::fmt::Write;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use log::{debug, warn};
use netgrace::{Phase, Stats};
use sd_notify::NotifyState;

use crate::cli::logger::TARGET;

/// Status and extension of the stop are sent no more often than this.
const PAUSE: Duration = Duration::from_secs(1);

/// How much longer the manager is to wait for the end of a stop, each time it is asked.
const EXTENSION: Duration = Duration::from_secs(5);

/// What the status line shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shown {
    phase: Phase,
    open: u64,
}

/// The service manager, if there is one that listens.
///
/// Everything is sent from the loop's own turns, so that a loop which is stuck falls silent.
#[derive(Debug)]
pub(crate) struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
    /// How often it wants to hear that the loop turns.
    watchdog: Option<Duration>,
    heard: Instant,
    told: Instant,
    shown: Shown,
    now: Shown,
    complained: bool,
}

impl Manager {
    /// The manager that the environment names. What cannot be used is reported and done without.
    pub(crate) fn from_environment() -> Option<Self> {
        let name = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty())?;
        match Self::open(&name) {
            Ok(manager) => Some(manager),
            Err(error) => {
                warn!(target: TARGET, "cannot notify the service manager at {name:?}: {error}");
                None
            }
        }
    }

    fn open(name: &OsStr) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        // A manager that does not read must not hold up the loop.
        socket.set_nonblocking(true)?;
        let now = Instant::now();
        let shown = Shown { phase: Phase::Running, open: 0 };
        Ok(Self {
            socket,
            address: address(name)?,
            // Twice as often as it must be, as sd_watchdog_enabled(3) advises.
            watchdog: sd_notify::watchdog_enabled().and_then(|time| time.checked_div(2)),
            heard: now,
            told: now,
            shown,
            now: shown,
            complained: false,
        })
    }

    /// Tells that clients are served from now on.
    pub(crate) fn ready(&mut self) {
        let status = self.status();
        self.send(&[NotifyState::Ready, NotifyState::Status(&status)]);
    }

    /// Tells that another process carries the service on. It is for that one to speak then.
    pub(crate) fn hand_over(mut self, pid: u32) {
        self.send(&[NotifyState::MainPid(pid)]);
    }

    /// When [`end_turn`](Self::end_turn) has something to say.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let heard = self.watchdog.and_then(|time| self.heard.checked_add(time));
        let is_due = self.now != self.shown || self.is_stopping();
        let told = if is_due { self.told.checked_add(PAUSE) } else { None };
        [heard, told].into_iter().flatten().min()
    }

    fn is_stopping(&self) -> bool {
        self.now.phase > Phase::Running
    }

    /// Says what is due.
    pub(crate) fn end_turn(&mut self, stats: &Stats, now: Instant) {
        self.now = Shown { phase: stats.phase, open: stats.open };
        let is_past = |since: Instant, time| now.saturating_duration_since(since) >= time;
        let begins_to_stop = self.is_stopping() && self.shown.phase == Phase::Running;
        let mut states = Vec::new();
        if begins_to_stop {
            states.push(NotifyState::Stopping);
        }
        let changed = self.now != self.shown || self.is_stopping();
        let status = self.status();
        if begins_to_stop || (changed && is_past(self.told, PAUSE)) {
            self.told = now;
            self.shown = self.now;
            states.push(NotifyState::Status(&status));
            if self.is_stopping() {
                let micros = u32::try_from(EXTENSION.as_micros()).unwrap_or(u32::MAX);
                states.push(NotifyState::ExtendTimeoutUsec(micros));
            }
        }
        if self.watchdog.is_some_and(|time| is_past(self.heard, time)) {
            self.heard = now;
            states.push(NotifyState::Watchdog);
        }
        if !states.is_empty() {
            self.send(&states);
        }
    }

    fn status(&self) -> String {
        let plural = if self.now.open == 1 { "" } else { "s" };
        format!("{}: {} connection{plural} open", self.now.phase, self.now.open)
    }

    fn send(&mut self, states: &[NotifyState<'_>]) {
        let mut message = String::new();
        for state in states {
            // Writing to a string does not fail.
            writeln!(message, "{state}").unwrap_or_default();
        }
        match self.socket.send_to_addr(message.as_bytes(), &self.address) {
            Ok(_) => debug!(target: TARGET, "told the service manager {message:?}"),
            Err(error) if self.complained => {
                debug!(target: TARGET, "notify the service manager: {error}");
            }
            Err(error) => {
                self.complained = true;
                warn!(target: TARGET, "cannot notify the service manager: {error}");
            }
        }
    }
}

/// A path, or a name of Linux's abstract space after an `@`.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'/', ..] => SocketAddr::from_pathname(name),
        [b'@', rest @ ..] => abstract_address(rest),
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "neither a path nor @name")),
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn abstract_address(name: &[u8]) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt;
    SocketAddr::from_abstract_name(name)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn abstract_address(_: &[u8]) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}
