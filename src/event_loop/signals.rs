//! Signals as an event source of a poll: no thread, and a handler only sets a flag and writes a
//! byte into a socket pair.

use mio::event::Source;
use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use signal_hook::consts::FORBIDDEN;
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::low_level::{pipe, unregister};
use signal_hook::{SigId, flag};
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::engine::deadline::after;
use crate::error::{Error, ErrorKind};
use crate::server::handle::StopRequest;

/// A further stop signal counts only this long after the one before: Ctrl-C reaches a whole
/// process group, and a supervisor may add one of its own.
const DEBOUNCE: Duration = Duration::from_millis(500);

/// How far a stop by signals has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SignalState {
    Running,
    Stopping { may_force_at: Option<Instant> },
    Forcing,
}

impl SignalState {
    /// Returns the state after a stop signal, and the request that the signal makes, if any.
    fn on_signal(self, signal: i32, now: Instant) -> (Self, Option<StopRequest>) {
        let stopping = Self::Stopping { may_force_at: after(now, Some(DEBOUNCE)) };
        match self {
            Self::Running | Self::Stopping { .. } if signal == SIGQUIT => {
                (Self::Forcing, Some(StopRequest::Forced))
            }
            Self::Running => (stopping, Some(StopRequest::Graceful)),
            Self::Stopping { may_force_at } if may_force_at.is_some_and(|at| at <= now) => {
                (Self::Forcing, Some(StopRequest::Forced))
            }
            Self::Stopping { .. } | Self::Forcing => (self, None),
        }
    }
}

#[derive(Debug)]
struct Watched {
    signal: i32,
    /// Set by the handler.
    arrived: Arc<AtomicBool>,
}

impl Watched {
    fn is_stop(&self) -> bool {
        Signals::STOP.contains(&self.signal)
    }
}

/// Signal handlers, installed for the signals that were asked for.
///
/// Give them to [`EventLoop::watch_signals`](crate::EventLoop::watch_signals). INT, TERM and HUP
/// stop gracefully; a further one 500 ms or more later forces; QUIT forces at once. While a stop
/// goes on, a further signal that the loop has not come to see makes the next one end the process
/// from the handler, with 128 + its number, so that even a loop that hangs can be ended. Every
/// other signal is the host's, who asks for it with [`take`](Self::take).
///
/// Handlers are global to the process: one instance is enough. Dropping it removes its actions
/// again; the signals then do nothing.
///
/// ```no_run
/// use netgrace::{Config, EventLoop, Server, Signals};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// const SIGUSR1: i32 = 10;
/// let signals = Signals::install(Signals::STOP.into_iter().chain([SIGUSR1]))?;
/// let mut event_loop = EventLoop::new(Server::bind("127.0.0.1:0".parse()?, Config::new())?)?;
/// event_loop.watch_signals(signals)?;
/// while !event_loop.is_finished() {
///     event_loop.turn(None);
///     if event_loop.signals().is_some_and(|signals| signals.take(SIGUSR1)) {
///         log::info!("{:?}", event_loop.server().stats());
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[cfg_attr(docsrs, doc(cfg(feature = "signals")))]
pub struct Signals {
    pipe: UnixStream,
    watched: Vec<Watched>,
    ids: Vec<SigId>,
    /// Set by a handler, reset by the loop when it has seen the signal: if it is still set when
    /// the next signal comes, that one ends the process.
    unseen: Arc<AtomicBool>,
    /// The actions that set `unseen`.
    last_resort: Vec<SigId>,
    state: SignalState,
}

impl Signals {
    /// The signals that stop a server: HUP, INT, QUIT and TERM.
    pub const STOP: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];

    /// Installs handlers for these signals and no others. To be called at the start of `main`, so
    /// that no signal can come too early. Until the loop watches them, a second stop signal ends
    /// the process.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Signal`] if the socket pair or a handler is refused, as for KILL, STOP and the
    /// signals of faults.
    pub fn install(signals: impl IntoIterator<Item = i32>) -> Result<Self, Error> {
        let mut wanted: Vec<i32> = signals.into_iter().collect();
        wanted.sort_unstable();
        wanted.dedup();
        if let Some(signal) = wanted.iter().find(|signal| FORBIDDEN.contains(signal)) {
            return Err(Error::new(
                ErrorKind::Signal,
                format!("install a handler for signal {signal}: this signal cannot be handled"),
            ));
        }
        Self::try_install(&wanted)
            .map_err(|error| Error::io(ErrorKind::Signal, "install the signal handlers", error))
    }

    fn try_install(wanted: &[i32]) -> io::Result<Self> {
        let (receiver, sender) = std::os::unix::net::UnixStream::pair()?;
        receiver.set_nonblocking(true)?;
        let watched = |signal: &i32| Watched { signal: *signal, arrived: Arc::default() };
        let mut signals = Self {
            pipe: UnixStream::from_std(receiver),
            watched: wanted.iter().map(watched).collect(),
            ids: Vec::new(),
            unseen: Arc::new(AtomicBool::new(false)),
            last_resort: Vec::new(),
            state: SignalState::Running,
        };
        for Watched { signal, .. } in signals.watched.iter().filter(|watched| watched.is_stop()) {
            // Actions run in the order of their registration: to end the process is checked first.
            let status = signal.saturating_add(128);
            let unseen = Arc::clone(&signals.unseen);
            let id = flag::register_conditional_shutdown(*signal, status, unseen)?;
            signals.ids.push(id);
        }
        signals.arm()?;
        for Watched { signal, arrived } in &signals.watched {
            signals.ids.push(flag::register(*signal, Arc::clone(arrived))?);
            signals.ids.push(pipe::register(*signal, sender.try_clone()?)?);
        }
        Ok(signals)
    }

    fn arm(&mut self) -> io::Result<()> {
        for watched in self.watched.iter().filter(|watched| watched.is_stop()) {
            let id = flag::register(watched.signal, Arc::clone(&self.unseen))?;
            self.last_resort.push(id);
        }
        Ok(())
    }

    /// Called once the loop runs: two signals within one turn of it are no reason to end the
    /// process.
    pub(crate) fn disarm(&mut self) {
        for id in self.last_resort.drain(..) {
            unregister(id);
        }
        self.unseen.store(false, Ordering::SeqCst);
    }

    /// Returns whether `signal` came since the last call. Always false for the signals of
    /// [`STOP`](Self::STOP), which are the loop's, and for one that was not installed.
    #[must_use]
    pub fn take(&self, signal: i32) -> bool {
        let mut found = self.watched.iter().filter(|watched| watched.signal == signal);
        found.any(|watched| !watched.is_stop() && watched.arrived.swap(false, Ordering::SeqCst))
    }

    /// Returns the strongest request of the stop signals that came, and its signal. To be called
    /// when the source is readable.
    pub(crate) fn take_request(&mut self, now: Instant) -> Option<(StopRequest, i32)> {
        self.empty_pipe();
        let mut request = None;
        for signal in Self::STOP {
            let mut found = self.watched.iter().filter(|watched| watched.signal == signal);
            if !found.any(|watched| watched.arrived.swap(false, Ordering::SeqCst)) {
                continue;
            }
            let (state, new) = self.state.on_signal(signal, now);
            let begins = self.state == SignalState::Running;
            self.state = state;
            request = new.map(|new| (new, signal)).or(request);
            if begins && let Err(error) = self.arm() {
                log::warn!("arm the last resort of a third signal: {error}");
            }
            self.unseen.store(state == SignalState::Forcing, Ordering::SeqCst);
        }
        request
    }

    fn empty_pipe(&mut self) {
        let mut bytes = [0; 64];
        while matches!(self.pipe.read(&mut bytes), Ok(count) if count > 0) {}
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.disarm();
        for id in self.ids.drain(..) {
            unregister(id);
        }
    }
}

impl Source for Signals {
    fn register(&mut self, to: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.pipe.register(to, token, interests)
    }

    fn reregister(&mut self, to: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.pipe.reregister(to, token, interests)
    }

    fn deregister(&mut self, from: &Registry) -> io::Result<()> {
        self.pipe.deregister(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_escalate() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let run = |script: &[(i32, u64)]| -> Vec<Option<StopRequest>> {
            let mut state = SignalState::Running;
            let step = |&(signal, millis): &(i32, u64)| {
                let (next, request) = state.on_signal(signal, at(millis));
                state = next;
                request
            };
            script.iter().map(step).collect()
        };
        let (graceful, forced) = (Some(StopRequest::Graceful), Some(StopRequest::Forced));
        assert_eq!(
            run(&[(SIGTERM, 0), (SIGTERM, 100), (SIGINT, 499), (SIGTERM, 500), (SIGTERM, 2000)]),
            [graceful, None, None, forced, None]
        );
        assert_eq!(run(&[(SIGQUIT, 0), (SIGTERM, 900)]), [forced, None]);
        assert_eq!(run(&[(SIGHUP, 0), (SIGQUIT, 1)]), [graceful, forced]);
    }

    #[test]
    fn a_signal_that_cannot_be_handled_is_an_error() {
        for signal in [libc::SIGKILL, libc::SIGSTOP, libc::SIGSEGV] {
            let error = Signals::install([libc::SIGWINCH, signal]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Signal);
            assert!(error.to_string().contains(&signal.to_string()), "{error}");
        }
    }

    #[test]
    fn only_the_signals_asked_for_are_taken_once_and_no_stop_signal_by_the_host() {
        let signals = Signals::install([libc::SIGWINCH, libc::SIGWINCH]).unwrap();
        assert!(!signals.take(libc::SIGWINCH));
        signal_hook::low_level::raise(libc::SIGWINCH).unwrap();
        assert!(signals.take(libc::SIGWINCH));
        assert!(!signals.take(libc::SIGWINCH));
        assert!(!signals.take(libc::SIGURG));
        assert!(signals.watched.iter().all(|watched| !watched.is_stop()));
    }
}
