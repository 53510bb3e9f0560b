//! Stop signals as an event source of a poll: no thread, no work in a handler but a flag and a
//! byte into a socket pair.

use mio::event::Source;
use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::low_level::{pipe, unregister};
use signal_hook::{SigId, flag};
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::engine::deadline::after;
use crate::error::{Error, ErrorKind};

/// A further stop signal counts only this long after the one before: Ctrl-C reaches a whole
/// process group, and a supervisor may add one of its own.
const DEBOUNCE: Duration = Duration::from_millis(500);
const STOP: [i32; 4] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT];
const OTHER: [i32; 2] = [SIGUSR1, SIGUSR2];

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// The first of INT, TERM or HUP.
    Shutdown(i32),
    /// QUIT, or a further one after the debounce time.
    Force(i32),
}

/// How far a stop by signals has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Running,
    Stopping { may_force_at: Option<Instant> },
    Forcing,
}

impl Stage {
    /// What a stop signal asks for now, if anything, and what that leads to.
    fn on_signal(self, signal: i32, now: Instant) -> (Self, Option<Wish>) {
        let stopping = Self::Stopping { may_force_at: after(now, Some(DEBOUNCE)) };
        match self {
            Self::Running | Self::Stopping { .. } if signal == SIGQUIT => {
                (Self::Forcing, Some(Wish::Force(signal)))
            }
            Self::Running => (stopping, Some(Wish::Shutdown(signal))),
            Self::Stopping { may_force_at } if may_force_at.is_some_and(|at| at <= now) => {
                (Self::Forcing, Some(Wish::Force(signal)))
            }
            Self::Stopping { .. } | Self::Forcing => (self, None),
        }
    }
}

#[derive(Debug)]
struct Watched {
    signal: i32,
    came: Arc<AtomicBool>,
}

/// The handlers of INT, TERM, HUP, QUIT (stop) and USR1, USR2 (for the host), installed.
///
/// Give it to [`EventLoop::watch_signals`](crate::EventLoop::watch_signals). INT, TERM and HUP
/// stop gracefully; a further one 500 ms or more later forces; QUIT forces at once. While a stop
/// goes on, a further signal that the loop has not come to see makes the next one end the process
/// from the handler, with 128 + its number, so that even a wedged loop dies.
///
/// Handlers are global to the process: one instance is enough. Dropping it takes its actions
/// away again; the signals then do nothing.
#[derive(Debug)]
pub struct Signals {
    pipe: UnixStream,
    watched: Vec<Watched>,
    ids: Vec<SigId>,
    /// Set by a handler, reset by the loop when it has seen the signal: if it is still set when
    /// the next signal comes, that one ends the process.
    unseen: Arc<AtomicBool>,
    /// The actions that set `unseen`.
    arming: Vec<SigId>,
    stage: Stage,
}

impl Signals {
    /// Installs the handlers: first thing in `main`, so that no signal can come too early. Until
    /// the loop watches them, a second stop signal ends the process.
    ///
    /// # Errors
    /// [`ErrorKind::Signal`] if the socket pair or a handler is refused.
    pub fn install() -> Result<Self, Error> {
        Self::try_install()
            .map_err(|error| Error::io(ErrorKind::Signal, "install the signal handlers", error))
    }

    fn try_install() -> io::Result<Self> {
        let (receiver, sender) = std::os::unix::net::UnixStream::pair()?;
        receiver.set_nonblocking(true)?;
        let mut signals = Self {
            pipe: UnixStream::from_std(receiver),
            watched: Vec::new(),
            ids: Vec::new(),
            unseen: Arc::new(AtomicBool::new(false)),
            arming: Vec::new(),
            stage: Stage::Running,
        };
        for signal in STOP {
            // Actions run in the order of their registration: to end the process is checked first.
            let status = signal.saturating_add(128);
            let unseen = Arc::clone(&signals.unseen);
            let id = flag::register_conditional_shutdown(signal, status, unseen)?;
            signals.ids.push(id);
        }
        signals.arm()?;
        for signal in STOP.into_iter().chain(OTHER) {
            let came = Arc::new(AtomicBool::new(false));
            signals.ids.push(flag::register(signal, Arc::clone(&came))?);
            signals.ids.push(pipe::register(signal, sender.try_clone()?)?);
            signals.watched.push(Watched { signal, came });
        }
        Ok(signals)
    }

    fn arm(&mut self) -> io::Result<()> {
        for signal in STOP {
            self.arming.push(flag::register(signal, Arc::clone(&self.unseen))?);
        }
        Ok(())
    }

    /// The loop runs: two signals within one turn of it are no reason to end the process.
    pub(crate) fn disarm(&mut self) {
        for id in self.arming.drain(..) {
            unregister(id);
        }
        self.unseen.store(false, Ordering::SeqCst);
    }

    fn take(&self, signal: i32) -> bool {
        let mut watched = self.watched.iter().filter(|watched| watched.signal == signal);
        watched.any(|watched| watched.came.swap(false, Ordering::SeqCst))
    }

    /// Whether `signal`, USR1 or USR2, came since the last call.
    pub(crate) fn take_other(&self, signal: i32) -> bool {
        OTHER.contains(&signal) && self.take(signal)
    }

    /// What the stop signals that came ask for. To be called when the source is readable.
    pub(crate) fn take_wish(&mut self, now: Instant) -> Option<Wish> {
        self.empty_pipe();
        let mut wish = None;
        for signal in STOP {
            if !self.take(signal) {
                continue;
            }
            let (stage, new) = self.stage.on_signal(signal, now);
            let begins = self.stage == Stage::Running;
            self.stage = stage;
            wish = new.or(wish);
            if begins && let Err(error) = self.arm() {
                log::warn!("arm the last resort of a third signal: {error}");
            }
            self.unseen.store(stage == Stage::Forcing, Ordering::SeqCst);
        }
        wish
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
        let run = |script: &[(i32, u64)]| -> Vec<Option<Wish>> {
            let mut stage = Stage::Running;
            let step = |&(signal, millis): &(i32, u64)| {
                let (next, wish) = stage.on_signal(signal, at(millis));
                stage = next;
                wish
            };
            script.iter().map(step).collect()
        };
        let (shutdown, force) = (|s| Some(Wish::Shutdown(s)), |s| Some(Wish::Force(s)));
        assert_eq!(
            run(&[(SIGTERM, 0), (SIGTERM, 100), (SIGINT, 499), (SIGTERM, 500), (SIGTERM, 2000)]),
            [shutdown(SIGTERM), None, None, force(SIGTERM), None]
        );
        assert_eq!(run(&[(SIGQUIT, 0), (SIGTERM, 900)]), [force(SIGQUIT), None]);
        assert_eq!(run(&[(SIGHUP, 0), (SIGQUIT, 1)]), [shutdown(SIGHUP), force(SIGQUIT)]);
    }
}
