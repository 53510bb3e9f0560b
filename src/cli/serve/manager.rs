//! Notification of the service manager by sd_notify(3): ready, status, stopping, and the watchdog
//! messages that prove that the loop still runs.

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

/// How much longer the manager waits for the end of a stop, from each message on.
const EXTENSION: Duration = Duration::from_secs(5);

/// What the status line shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shown {
    phase: Phase,
    open: u64,
}

/// The service manager that the environment names.
///
/// Every message is sent from a turn of the loop, so that a stuck loop sends none.
#[derive(Debug)]
pub(crate) struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
    /// The interval of watchdog messages.
    watchdog: Option<Duration>,
    watchdog_sent: Instant,
    status_sent: Instant,
    shown: Shown,
    now: Shown,
    has_warned: bool,
}

impl Manager {
    /// Returns the manager that the environment names. One that cannot be used is logged and
    /// ignored.
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
            watchdog_sent: now,
            status_sent: now,
            shown,
            now: shown,
            has_warned: false,
        })
    }

    /// Reports that clients are served from now on.
    pub(crate) fn ready(&mut self) {
        let status = self.status();
        self.send(&[NotifyState::Ready, NotifyState::Status(&status)]);
    }

    /// Reports that another process is the main process from now on, which sends all further
    /// messages.
    pub(crate) fn hand_over(mut self, pid: u32) {
        self.send(&[NotifyState::MainPid(pid)]);
    }

    /// Returns when [`end_turn`](Self::end_turn) is due without an event.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let watchdog = self.watchdog.and_then(|time| self.watchdog_sent.checked_add(time));
        let is_due = self.now != self.shown || self.is_stopping();
        let status = if is_due { self.status_sent.checked_add(PAUSE) } else { None };
        [watchdog, status].into_iter().flatten().min()
    }

    fn is_stopping(&self) -> bool {
        self.now.phase > Phase::Running
    }

    /// Sends what is due.
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
        if begins_to_stop || (changed && is_past(self.status_sent, PAUSE)) {
            self.status_sent = now;
            self.shown = self.now;
            states.push(NotifyState::Status(&status));
            if self.is_stopping() {
                let micros = u32::try_from(EXTENSION.as_micros()).unwrap_or(u32::MAX);
                states.push(NotifyState::ExtendTimeoutUsec(micros));
            }
        }
        if self.watchdog.is_some_and(|time| is_past(self.watchdog_sent, time)) {
            self.watchdog_sent = now;
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
            Ok(_) => debug!(target: TARGET, "notified the service manager: {message:?}"),
            Err(error) if self.has_warned => {
                debug!(target: TARGET, "notify the service manager: {error}");
            }
            Err(error) => {
                self.has_warned = true;
                warn!(target: TARGET, "cannot notify the service manager: {error}");
            }
        }
    }
}

/// Parses a path, or an abstract name after an `@` (Linux).
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
