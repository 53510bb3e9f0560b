//! The process that replaces this one: started, awaited, and ended if it does not become ready.

use std::env;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as Channel;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use rustix::process::{Pid, Signal, kill_process};

use crate::cli::logger::TARGET;
use crate::cli::serve::handover::{self, Label, READY};

/// How long a successor may take until it serves.
const READY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one that failed may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(2);
/// How long one that failed may still take when this process is about to end.
const LAST_GRACE: Duration = Duration::from_millis(500);
/// How often the end of one that failed is checked.
const END_CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// The program to start, determined when this process starts: its file may be replaced later.
#[derive(Debug)]
pub(crate) struct Program {
    /// The name that this process was started by: a link or a name in the search path.
    name: OsString,
    /// The file itself, used if that name does not exist.
    file: Option<PathBuf>,
    args: Vec<OsString>,
}

impl Program {
    pub(crate) fn current() -> Self {
        let mut args = env::args_os();
        let name = args.next().unwrap_or_default();
        Self { name, file: env::current_exe().ok(), args: args.collect() }
    }

    fn start(&self, channel: &OwnedFd) -> io::Result<Child> {
        let start = |program: &dyn AsRef<std::ffi::OsStr>| {
            Command::new(program)
                .args(&self.args)
                .env(handover::VARIABLE, "1")
                // These concern this process, or sockets that are handed over in another way.
                .env_remove("WATCHDOG_PID")
                .env_remove("LISTEN_PID")
                .env_remove("LISTEN_FDS")
                .env_remove("LISTEN_FDNAMES")
                .stdin(channel.try_clone()?)
                .spawn()
        };
        match (start(&self.name), &self.file) {
            (Err(error), Some(file)) if error.kind() == io::ErrorKind::NotFound => start(file),
            (started, _) => started,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It must serve until then.
    Starting { until: Instant },
    /// It serves, beside this process.
    Ready,
    /// It serves, and this process stops.
    InCharge,
    /// It failed and was sent SIGTERM; then it is sent SIGKILL.
    Ending { until: Instant },
    /// It has ended.
    Ended,
}

/// A successor that was started.
#[derive(Debug)]
pub(crate) struct Successor {
    child: Child,
    channel: UnixStream,
    state: State,
}

impl Successor {
    /// Starts it with these sockets.
    ///
    /// # Errors
    ///
    /// If the process cannot be started, or the sockets cannot be passed.
    pub(crate) fn start(
        program: &Program,
        sockets: &[(Label, BorrowedFd<'_>)],
        now: Instant,
    ) -> io::Result<Self> {
        if std::process::id() == 1 {
            return Err(io::Error::other(
                "this is process 1, whose end is the end of its successor too",
            ));
        }
        let (ours, theirs) = Channel::pair()?;
        ours.set_nonblocking(true)?;
        handover::send(&ours, sockets)?;
        let child = program.start(&OwnedFd::from(theirs))?;
        let until = now.checked_add(READY_TIMEOUT).unwrap_or(now);
        info!(target: TARGET, "started process {} to carry on", child.id());
        Ok(Self { child, channel: UnixStream::from_std(ours), state: State::Starting { until } })
    }

    /// Registers the channel, for its confirmation.
    ///
    /// # Errors
    ///
    /// If the poll refuses.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.channel, token, Interest::READABLE)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it serves.
    pub(crate) fn is_ready(&self) -> bool {
        self.state == State::Ready
    }

    /// Notes that this process stops in favour of it.
    pub(crate) fn put_in_charge(&mut self) {
        self.state = State::InCharge;
    }

    /// Whether this process stops in favour of it.
    pub(crate) fn is_in_charge(&self) -> bool {
        self.state == State::InCharge
    }

    /// Whether the process has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Handles an event of the channel.
    pub(crate) fn on_event(&mut self, now: Instant) {
        let mut byte = [0];
        let heard = match self.channel.read(&mut byte) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            heard => heard,
        };
        match (self.state, heard) {
            (State::Starting { .. }, Ok(1)) if byte == [READY] => self.state = State::Ready,
            (State::Starting { .. }, _) => self.abandon("it did not get ready; carrying on", now),
            // It keeps its end of the channel until this process has closed the sockets.
            (State::InCharge, _) => {
                warn!(target: TARGET, "the successor, process {}, has ended", self.pid());
                self.state = State::Ended;
            }
            (State::Ready | State::Ending { .. } | State::Ended, _) => {}
        }
    }

    /// Ends it, unless this process stops in favour of it.
    pub(crate) fn abandon(&mut self, why: &str, now: Instant) {
        if let State::Starting { .. } | State::Ready = self.state {
            warn!(target: TARGET, "ending the successor, process {}: {why}", self.pid());
            self.signal(Signal::TERM);
            self.state = State::Ending { until: now.checked_add(END_TIMEOUT).unwrap_or(now) };
        }
    }

    /// Handles what is due.
    pub(crate) fn end_turn(&mut self, now: Instant) {
        match self.state {
            State::Starting { until } if until <= now => {
                // The confirmation may have arrived already.
                self.on_event(now);
                self.abandon(
                    &format!("it was not ready after {READY_TIMEOUT:?}; carrying on"),
                    now,
                );
            }
            State::Ending { until } => match self.child.try_wait() {
                Ok(None) if until <= now => {
                    self.signal(Signal::KILL);
                    self.state =
                        State::Ending { until: now.checked_add(END_TIMEOUT).unwrap_or(now) };
                }
                Ok(None) => {}
                Ok(Some(status)) => self.note_end(status),
                Err(error) => {
                    debug!(target: TARGET, "wait for process {}: {error}", self.pid());
                    self.state = State::Ended;
                }
            },
            State::Starting { .. } | State::Ready | State::InCharge | State::Ended => {}
        }
    }

    /// Waits until a successor that failed has ended; it gets [`LAST_GRACE`] more. It still has
    /// copies of the listening sockets, whose queues would go on to accept connections that
    /// nobody serves.
    pub(crate) fn wait_for_end(&mut self) {
        let State::Ending { until } = self.state else { return };
        let now = Instant::now();
        let grace_end = now.checked_add(LAST_GRACE).map_or(until, |end| end.min(until));
        let give_up = now.checked_add(END_TIMEOUT).unwrap_or(now);
        self.state = State::Ending { until: grace_end };
        while !self.has_ended() && Instant::now() < give_up {
            self.end_turn(Instant::now());
            thread::sleep(END_CHECK_INTERVAL);
        }
    }

    /// Returns when [`end_turn`](Self::end_turn) is due without an event.
    pub(crate) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        match self.state {
            State::Starting { until } => Some(until),
            State::Ending { .. } => now.checked_add(END_CHECK_INTERVAL),
            State::Ready | State::InCharge | State::Ended => None,
        }
    }

    fn note_end(&mut self, status: ExitStatus) {
        info!(target: TARGET, "process {} ended: {status}", self.pid());
        self.state = State::Ended;
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid
            && let Err(error) = kill_process(pid, signal)
        {
            debug!(target: TARGET, "signal process {pid}: {error}");
        }
    }
}
