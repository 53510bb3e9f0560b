//! The process that replaces this one: started, awaited, and ended if it does not become ready.

use std::env;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::mem;
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
use crate::cli::serve::handover::{self, Label};
use crate::cli::serve::transfer::{Claim, Giver, GiverAction, GiverInput};

/// How long a successor may take until it serves.
const READY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a successor that failed may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(2);
/// The same when this process is about to end.
const LAST_GRACE: Duration = Duration::from_millis(500);
/// How often it is checked whether a successor that failed has ended.
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

/// What was done to end the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Process {
    /// Nothing.
    Runs,
    /// It was sent SIGTERM, and is sent SIGKILL then.
    Ending {
        until: Option<Instant>,
    },
    /// It was sent SIGKILL.
    Killed,
    Ended,
}

/// A successor that was started.
#[derive(Debug)]
pub(crate) struct Successor {
    child: Child,
    channel: UnixStream,
    giver: Giver,
    process: Process,
    /// The end of the channel was read.
    is_closed: bool,
    /// It has taken over, and this process has not acted on that yet.
    released: bool,
    /// When the step that is waited for has taken too long.
    due: Option<Instant>,
    /// How long it may take to end after SIGTERM.
    end_timeout: Duration,
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
        info!(target: TARGET, "started process {} to carry on", child.id());
        Ok(Self {
            child,
            channel: UnixStream::from_std(ours),
            giver: Giver::Starting,
            process: Process::Runs,
            is_closed: false,
            released: false,
            due: now.checked_add(READY_TIMEOUT),
            end_timeout: END_TIMEOUT,
        })
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

    /// Returns which process owns the queues of the sockets.
    pub(crate) fn claim(&self) -> Claim {
        self.giver.claim()
    }

    /// Returns whether this process is to stop because the successor has taken over, once.
    pub(crate) fn take_release(&mut self) -> bool {
        mem::take(&mut self.released) && self.giver == Giver::Given
    }

    /// Returns whether no more message is expected. `has_copies`: this process still has copies of
    /// the sockets.
    pub(crate) fn is_done(&self, has_copies: bool) -> bool {
        match self.giver {
            Giver::Given => !has_copies && !self.released,
            Giver::Alone => self.process == Process::Ended,
            Giver::Starting | Giver::Withdrawn { .. } | Giver::Offered => false,
        }
    }

    /// Handles an event of the channel.
    pub(crate) fn on_event(&mut self, now: Instant) {
        while !self.is_closed {
            let mut byte = [0];
            let input = match self.channel.read(&mut byte) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(1) if byte == [handover::READY] => GiverInput::Ready,
                Ok(1) if byte == [handover::ACCEPTED] => GiverInput::Accepted,
                _ => GiverInput::Closed,
            };
            self.is_closed = input == GiverInput::Closed;
            if self.is_closed {
                self.warn_of_end();
            }
            self.on(input, now);
        }
    }

    fn warn_of_end(&self) {
        let what = match self.giver {
            Giver::Starting => "ends: it did not get ready; carrying on",
            Giver::Offered => "ends before it has taken over",
            Giver::Given => "has ended",
            Giver::Withdrawn { .. } | Giver::Alone => return,
        };
        warn!(target: TARGET, "the successor, process {}, {what}", self.pid());
    }

    /// Notes that this process stops.
    pub(crate) fn on_stop(&mut self, now: Instant) {
        if self.giver == Giver::Starting {
            self.warn("this process is stopping");
        }
        self.end_timeout = LAST_GRACE;
        self.on(GiverInput::Stop, now);
    }

    fn warn(&self, why: &str) {
        warn!(target: TARGET, "the successor, process {}, is not to take over: {why}", self.pid());
    }

    fn on(&mut self, input: GiverInput, now: Instant) {
        let after = |time| now.checked_add(time);
        match self.giver.on(input) {
            None => {}
            Some(GiverAction::Offer) => {
                self.send(handover::OFFER);
                self.due = after(READY_TIMEOUT);
            }
            Some(GiverAction::Withdraw) => {
                self.send(handover::WITHDRAWAL);
                self.due = after(LAST_GRACE);
            }
            Some(GiverAction::Release) => {
                self.released = true;
                self.due = None;
            }
            Some(GiverAction::Terminate) => self.terminate(now),
            Some(GiverAction::Kill) => self.kill(),
        }
        if self.giver == Giver::Alone && self.process == Process::Runs {
            self.due = None;
        }
    }

    /// If the send fails, the next read returns the reason.
    fn send(&mut self, message: u8) {
        if let Err(error) = self.channel.write_all(&[message]) {
            debug!(target: TARGET, "write to process {}: {error}", self.pid());
        }
    }

    fn terminate(&mut self, now: Instant) {
        if self.process == Process::Runs {
            self.signal(Signal::TERM);
            self.process = Process::Ending { until: now.checked_add(self.end_timeout) };
        }
        self.due = None;
    }

    fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.process = Process::Killed;
        self.due = None;
    }

    /// Handles what is due.
    pub(crate) fn end_turn(&mut self, now: Instant) {
        if self.due.is_some_and(|due| due <= now) {
            self.due = None;
            // The answer may have arrived already.
            self.on_event(now);
            match self.giver {
                Giver::Starting => {
                    self.warn(&format!("it was not ready after {READY_TIMEOUT:?}; carrying on"));
                }
                Giver::Offered => {
                    self.warn(&format!("it did not answer for {READY_TIMEOUT:?}; carrying on"));
                }
                Giver::Withdrawn { .. } | Giver::Given | Giver::Alone => {}
            }
            self.on(GiverInput::Late, now);
        }
        if let Process::Ending { until } = self.process
            && until.is_some_and(|until| until <= now)
        {
            self.kill();
        }
        if self.process != Process::Ended && self.is_watched() {
            match self.child.try_wait() {
                Ok(None) => {}
                Ok(Some(status)) => self.note_end(status, now),
                Err(error) => {
                    debug!(target: TARGET, "wait for process {}: {error}", self.pid());
                    self.process = Process::Ended;
                }
            }
        }
    }

    /// Returns whether the end of the process is waited for.
    fn is_watched(&self) -> bool {
        self.process != Process::Runs || self.giver == Giver::Alone
    }

    /// Ends a successor that has never served, because this process is about to end: it still has
    /// copies of the listening sockets, and the kernel would go on to queue connections that no
    /// process accepts. A successor that has served ends by itself, or carries on.
    pub(crate) fn wait_for_end(&mut self) {
        let mut now = Instant::now();
        self.on_event(now);
        let has_served = match self.giver {
            Giver::Starting => false,
            Giver::Withdrawn { has_served } => has_served,
            Giver::Offered | Giver::Given => true,
            Giver::Alone => self.process == Process::Runs,
        };
        if has_served {
            return;
        }
        self.terminate(now);
        let grace_end = now.checked_add(LAST_GRACE);
        if let Process::Ending { until } = &mut self.process {
            *until = earlier(*until, grace_end);
        }
        let give_up = now.checked_add(END_TIMEOUT).unwrap_or(now);
        while self.process != Process::Ended && now < give_up {
            self.end_turn(now);
            thread::sleep(END_CHECK_INTERVAL);
            now = Instant::now();
        }
    }

    /// Returns when [`end_turn`](Self::end_turn) is due without an event.
    pub(crate) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let check = now.checked_add(END_CHECK_INTERVAL);
        let check = check.filter(|_| self.process != Process::Ended && self.is_watched());
        earlier(self.due, check)
    }

    fn note_end(&mut self, status: ExitStatus, now: Instant) {
        info!(target: TARGET, "process {} ended: {status}", self.pid());
        self.process = Process::Ended;
        // What the successor had sent is read first.
        self.on_event(now);
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

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}
