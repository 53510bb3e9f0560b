//! The server under audit as a process: started, frozen, stopped, watched, and ended.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Child;
use std::process::ChildStdout;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::event::poll;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use rustix::process::test_kill_process;

use super::family::adopt_orphans;
use super::family::end_orphans;
use super::family::kill_group;
use super::family::to_stderr;
use super::process::descendants;
use super::process::is_over;
use super::process::is_still;
use super::progress::Display;
use super::reach::accepting;
use super::reach::resolve;
use super::value::StopSignal;
use crate::cli::failure::Failure;
use netgrace::audit::Flow;
use netgrace::audit::Progress;
use netgrace::audit::Subject;
use netgrace::audit::Target;

/// A server is to listen within this: some load a virtual machine first.
const START_WITHIN: Duration = Duration::from_secs(30);

/// A process that is asked to end is killed after this.
const END_WITHIN: Duration = Duration::from_millis(500);

/// A process that is to stand still does so within this.
const FREEZE_WITHIN: Duration = Duration::from_millis(200);

const LOOK_EVERY: Duration = Duration::from_millis(2);

/// How the server is stopped.
#[derive(Clone, Debug)]
pub(crate) enum Stop {
    Signal(StopSignal),
    Command(String),
}

/// Set by a signal that interrupts the audit.
pub(crate) type Interrupted = Arc<AtomicBool>;

/// The server under audit. What was started for it does not outlive this.
#[derive(Debug)]
pub(crate) struct Server {
    stop: Stop,
    interrupted: Interrupted,
    display: Display,
    pid: Option<Pid>,
    child: Option<Child>,
    status: Option<ExitStatus>,
    /// The own server's: closed, its next line would be an error.
    stdout: Option<ChildStdout>,
    /// The command that stops the server.
    stopper: Option<Child>,
    stopper_status: Option<ExitStatus>,
    /// What stands still, the signalled process first.
    frozen: Vec<Pid>,
}

impl Server {
    /// Takes a process that runs already, or nobody knows which.
    pub(crate) fn running(
        pid: Option<Pid>,
        stop: Stop,
        interrupted: Interrupted,
        display: Display,
    ) -> Result<Self, Failure> {
        if let Some(pid) = pid {
            let number = pid.as_raw_nonzero();
            test_kill_process(pid).map_err(|error| {
                Failure::unable(format!(
                    "cannot stop process {number}: {error}; is it running, and yours?"
                ))
            })?;
        }
        Ok(Self {
            stop,
            interrupted,
            display,
            pid,
            child: None,
            status: None,
            stdout: None,
            stopper: None,
            stopper_status: None,
            frozen: Vec::new(),
        })
    }

    /// Starts this program's own HTTP server on a free port; returns where it listens.
    pub(crate) fn start_own(mut self) -> Result<(Self, SocketAddr), Failure> {
        let failed = |what: &str, error: io::Error| {
            Failure::unable(format!("cannot start the own server: {what}: {error}"))
        };
        let program = std::env::current_exe().map_err(|error| failed("own path", error))?;
        let mut command = Command::new(program);
        command.args(["serve", "--protocol", "http", "--listen", "127.0.0.1:0", "-q"]);
        command.args(["--port-file", "/dev/stdout"]).stdout(Stdio::piped());
        command.env_remove("NETGRACE_LISTEN");
        self.spawn(command).map_err(|error| failed("own program", error))?;
        self.stdout = self.child.as_mut().and_then(|child| child.stdout.take());
        let mut line = String::new();
        let address = self.wait_until("the own server", |server| {
            server.read_line(&mut line);
            line.lines().next().filter(|_| line.ends_with('\n'))?.parse::<SocketAddr>().ok()
        })?;
        Ok((self, address))
    }

    /// Starts a command; returns the address of the target at which it accepts connections.
    pub(crate) fn start(
        mut self,
        command: &[OsString],
        target: &Target,
    ) -> Result<(Self, SocketAddr), Failure> {
        let Some((program, args)) = command.split_first() else {
            return Err(Failure::usage("'--' is to be followed by a command"));
        };
        let addresses = resolve(target)?;
        if accepting(&addresses).is_some() {
            let place = target.authority();
            return Err(Failure::unable(format!(
                "something listens on {place} already; the command's server would not be the one \
                 under audit; stop it or name another target"
            )));
        }
        let name = Path::new(program).display().to_string();
        let mut command = Command::new(program);
        command.args(args).stdout(to_stderr());
        self.spawn(command)
            .map_err(|error| Failure::unable(format!("cannot start '{name}': {error}")))?;
        let what = format!("'{name}' on {}", target.authority());
        let address = self.wait_until(&what, |_| accepting(&addresses))?;
        Ok((self, address))
    }

    /// Starts the child in a process group of its own. What leaves that group is inherited by
    /// this process, and found.
    fn spawn(&mut self, mut command: Command) -> io::Result<()> {
        adopt_orphans();
        command.stdin(Stdio::null()).process_group(0);
        let child = command.spawn()?;
        self.pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        self.child = Some(child);
        Ok(())
    }

    fn read_line(&mut self, line: &mut String) {
        let Some(stdout) = &self.stdout else { return };
        let mut fds = [PollFd::new(stdout, PollFlags::IN)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut buffer = [0; 256];
        if matches!(poll(&mut fds, Some(&at_once)), Ok(1..))
            && let Ok(count) = rustix::io::read(stdout, &mut buffer)
        {
            let bytes = buffer.get(..count).unwrap_or_default();
            line.push_str(&String::from_utf8_lossy(bytes));
        }
    }

    fn wait_until<T>(
        &mut self,
        what: &str,
        mut ready: impl FnMut(&mut Self) -> Option<T>,
    ) -> Result<T, Failure> {
        let began = Instant::now();
        loop {
            if let Some(found) = ready(self) {
                return Ok(found);
            }
            if self.is_gone() == Some(true) {
                let status = self.status.map_or_else(String::new, |status| format!(" ({status})"));
                let why = format!("{what} ended before it listened{status}; see its own messages");
                return Err(Failure::unable(why));
            }
            if began.elapsed() > START_WITHIN {
                let seconds = START_WITHIN.as_secs();
                let why = format!("{what} does not listen after {seconds} s; is the target right?");
                return Err(Failure::unable(why));
            }
            if self.interrupted.load(Relaxed) {
                return Err(Failure::interrupted(format!("interrupted before {what} listened")));
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    pub(crate) fn pid(&self) -> Option<Pid> {
        self.pid
    }

    /// Returns the exit code of a child that exited by itself.
    pub(crate) fn exit_code(&self) -> Option<i32> {
        self.status?.code()
    }

    /// Returns what was wrong with the command that stopped the server.
    pub(crate) fn stop_failure(&mut self) -> Option<String> {
        self.reap_stopper();
        let Stop::Command(command) = &self.stop else { return None };
        match self.stopper_status {
            Some(status) if !status.success() => Some(format!("'{command}' failed: {status}")),
            None if self.stopper.is_some() => Some(format!("'{command}' did not end in time")),
            _ => None,
        }
    }

    fn reap_stopper(&mut self) {
        if let Some(stopper) = &mut self.stopper
            && self.stopper_status.is_none()
            && let Ok(status) = stopper.try_wait()
        {
            self.stopper_status = status;
        }
    }

    /// Ends everything that was started and still runs.
    pub(crate) fn end(&mut self) {
        self.display.finish();
        self.thaw();
        self.reap_stopper();
        if let Some(stopper) = &mut self.stopper
            && self.stopper_status.is_none()
        {
            kill_group(stopper, Signal::KILL);
            if let Err(error) = stopper.wait() {
                log::debug!("end the command that stops the server: {error}");
            }
        }
        let Some(child) = &self.child else { return };
        if self.status.is_none() {
            kill_group(child, Signal::TERM);
            let began = Instant::now();
            while self.is_gone() == Some(false) && began.elapsed() < END_WITHIN {
                thread::sleep(LOOK_EVERY);
            }
        }
        let Some(child) = &mut self.child else { return };
        kill_group(child, Signal::KILL);
        if self.status.is_none()
            && let Ok(status) = child.wait()
        {
            self.status = Some(status);
        }
        self.child = None;
        end_orphans(END_WITHIN);
    }
}

impl Subject for Server {
    fn is_gone(&mut self) -> Option<bool> {
        let pid = self.pid?;
        if self.status.is_some() {
            return Some(true);
        }
        let Some(child) = &mut self.child else {
            return Some(is_over(pid));
        };
        match child.try_wait() {
            Ok(status) => {
                self.status = status;
                Some(status.is_some())
            }
            Err(_) => Some(true),
        }
    }

    fn freeze(&mut self) -> bool {
        let Some(pid) = self.pid.filter(|pid| kill_process(*pid, Signal::STOP).is_ok()) else {
            return false;
        };
        self.frozen.push(pid);
        let began = Instant::now();
        loop {
            // Nobody who stands still has further children.
            for child in descendants(pid) {
                if !self.frozen.contains(&child) && kill_process(child, Signal::STOP).is_ok() {
                    self.frozen.push(child);
                }
            }
            if self.frozen.iter().all(|pid| is_still(*pid)) {
                return true;
            }
            if began.elapsed() > FREEZE_WITHIN {
                self.thaw();
                return false;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn stop(&mut self) -> io::Result<()> {
        match &self.stop {
            Stop::Signal(stop) => {
                let Some(pid) = self.pid else {
                    return Err(io::ErrorKind::Unsupported.into());
                };
                kill_process(pid, stop.signal)?;
                // It comes first, so that it sees the signal before its children do anything.
                if self.frozen.contains(&pid) {
                    kill_process(pid, Signal::CONT)?;
                    self.frozen.retain(|other| *other != pid);
                }
                Ok(())
            }
            Stop::Command(command) => {
                let mut shell = Command::new("sh");
                shell.arg("-c").arg(command).stdin(Stdio::null()).stdout(to_stderr());
                shell.process_group(0);
                self.thaw();
                self.stopper = Some(shell.spawn()?);
                Ok(())
            }
        }
    }

    fn thaw(&mut self) {
        for pid in self.frozen.drain(..) {
            if let Err(error) = kill_process(pid, Signal::CONT) {
                log::debug!("continue process {}: {error}", pid.as_raw_nonzero());
            }
        }
    }

    fn tick(&mut self, progress: &Progress) -> Flow {
        self.display.tick(progress);
        self.reap_stopper();
        if self.interrupted.load(Relaxed) { Flow::Stop } else { Flow::Continue }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}
