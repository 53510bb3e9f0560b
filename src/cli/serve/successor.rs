//! The process that is to carry on in place of this one: started, waited for, given up.

use std::env;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as Channel;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use rustix::process::{Pid, Signal, kill_process};

use crate::cli::logger::TARGET;
use crate::cli::serve::handover::{self, Label, READY};

/// How long a successor may take to serve.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long one that was given up may take to end.
const LAST_PATIENCE: Duration = Duration::from_secs(2);
/// How often to look whether it has ended: only while one that was given up is ending.
const LOOK: Duration = Duration::from_millis(20);

/// What to start, found out when this process starts: the file may be replaced while it runs.
#[derive(Debug)]
pub(crate) struct Program {
    /// The name that this process was started by, through links and the search path.
    name: OsString,
    /// The file itself, for when that name leads nowhere.
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
                // These speak of this process, or of sockets that are handed over otherwise.
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
    /// It has until then to serve.
    Starting { until: Instant },
    /// It serves, beside this process.
    Ready,
    /// It serves in place of this process.
    InCharge,
    /// It was given up and asked to end; after that it is made to.
    Ending { until: Instant },
    /// It is no more.
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
    /// When there cannot be a process, or the sockets cannot be passed.
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
        let until = now.checked_add(PATIENCE).unwrap_or(now);
        info!(target: TARGET, "started process {} to carry on", child.id());
        Ok(Self { child, channel: UnixStream::from_std(ours), state: State::Starting { until } })
    }

    /// Watches for its answer.
    ///
    /// # Errors
    ///
    /// When the poll refuses.
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

    /// This process has begun to let go of what it handed over.
    pub(crate) fn put_in_charge(&mut self) {
        self.state = State::InCharge;
    }

    /// Whether it serves in place of this process.
    pub(crate) fn is_in_charge(&self) -> bool {
        self.state == State::InCharge
    }

    /// Whether nothing is left of it.
    pub(crate) fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Something came from it.
    pub(crate) fn on_event(&mut self, now: Instant) {
        let State::Starting { .. } = self.state else { return };
        let mut byte = [0];
        match self.channel.read(&mut byte) {
            Ok(1) if byte == [READY] => self.state = State::Ready,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            _ => self.give_up("it did not get ready; carrying on", now),
        }
    }

    /// Gives it up, unless it is in charge.
    pub(crate) fn give_up(&mut self, why: &str, now: Instant) {
        if let State::Starting { .. } | State::Ready = self.state {
            warn!(target: TARGET, "gave the successor, process {}, up: {why}", self.pid());
            self.signal(Signal::TERM);
            self.state = State::Ending { until: now.checked_add(LAST_PATIENCE).unwrap_or(now) };
        }
    }

    /// Does what is due.
    pub(crate) fn end_turn(&mut self, now: Instant) {
        match self.state {
            State::Starting { until } if until <= now => {
                // The answer may be there already.
                self.on_event(now);
                self.give_up(&format!("it was not ready after {PATIENCE:?}; carrying on"), now);
            }
            State::Ending { until } => match self.child.try_wait() {
                Ok(None) if until <= now => {
                    self.signal(Signal::KILL);
                    self.state =
                        State::Ending { until: now.checked_add(LAST_PATIENCE).unwrap_or(now) };
                }
                Ok(None) => {}
                Ok(Some(status)) => self.bury(status),
                Err(error) => {
                    debug!(target: TARGET, "wait for process {}: {error}", self.pid());
                    self.state = State::Ended;
                }
            },
            State::Starting { .. } | State::Ready | State::InCharge | State::Ended => {}
        }
    }

    /// When [`end_turn`](Self::end_turn) has something to do.
    pub(crate) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        match self.state {
            State::Starting { until } => Some(until),
            State::Ending { .. } => now.checked_add(LOOK),
            State::Ready | State::InCharge | State::Ended => None,
        }
    }

    fn bury(&mut self, status: ExitStatus) {
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
