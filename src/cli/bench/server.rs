//! The server under load: our own child, a command's, a process that runs, or one unknown.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use netgrace::load::Target;
use rustix::process::{
    Pid, Signal, kill_process, kill_process_group, test_kill_process, test_kill_process_group,
};
use serde_json::Value;

use super::settings::Stop;
use super::stdout::ChildStdout;
use crate::cli::failure::Failure;
use crate::cli::report;

/// A server is to listen within this.
const START_WITHIN: Duration = Duration::from_secs(10);

/// A child that ignores SIGTERM is killed after this.
const END_WITHIN: Duration = Duration::from_secs(2);

const LOOK_EVERY: Duration = Duration::from_millis(2);

/// The server under load. A child does not outlive this, nor does what it has started.
#[derive(Debug, Default)]
pub(crate) struct Server {
    child: Option<Child>,
    pid: Option<Pid>,
    /// Turns readable when the process ends, even before it is reaped.
    pidfd: Option<OwnedFd>,
    /// Where a command writes its report.
    report: Option<PathBuf>,
    /// What our own server prints: its address, and at the end its report.
    stdout: Option<ChildStdout>,
    status: Option<ExitStatus>,
    /// The command that stops the server.
    stopper: Option<Child>,
}

impl Server {
    /// A server of which only the target is known.
    pub(crate) fn unknown() -> Self {
        Self::default()
    }

    /// A process that is already running.
    pub(crate) fn watch(pid: Pid) -> Result<Self, Failure> {
        let number = pid.as_raw_nonzero();
        test_kill_process(pid).map_err(|error| {
            Failure::unable(format!(
                "cannot watch process {number}: {error}; is it running, and yours?"
            ))
        })?;
        let mut server = Self::default();
        (server.pid, server.pidfd) = (Some(pid), open_pidfd(pid));
        Ok(server)
    }

    /// Starts this program's own server on a free port; returns where it listens.
    pub(crate) fn start_own() -> Result<(Self, SocketAddr), Failure> {
        let failed = |what: &str, error: io::Error| {
            Failure::unable(format!("cannot start the own server: {what}: {error}"))
        };
        let program = std::env::current_exe().map_err(|error| failed("own path", error))?;
        let mut command = Command::new(program);
        command.args(["serve", "--listen", "127.0.0.1:0", "-q"]);
        command.args(["--port-file", "-", "--report", "-"]).stdout(Stdio::piped());
        let mut server = Self::default();
        server.spawn(command).map_err(|error| failed("own program", error))?;
        let stdout = server.child.as_mut().and_then(|child| child.stdout.take());
        let stdout = stdout.map(ChildStdout::collect).transpose();
        server.stdout = stdout.map_err(|error| failed("its output", error))?;
        let listening = |server: &Self| server.stdout.as_ref().and_then(ChildStdout::address);
        let addr = server.wait_until_listening(listening, "the own server")?;
        Ok((server, addr))
    }

    /// Starts a command; returns once the target answers.
    pub(crate) fn start(command: &[OsString], target: &Target) -> Result<Self, Failure> {
        let Some((program, args)) = command.split_first() else {
            return Err(Failure::usage("'--' is to be followed by a command"));
        };
        if target.accepts() {
            return Err(Failure::unable(format!(
                "something listens on {target} already; the command's server would not be the \
                 one under load; stop it or name another target"
            )));
        }
        let name = Path::new(program).display().to_string();
        let mut server = Self::default();
        server.report = report_of(args);
        let mut command = Command::new(program);
        command.args(args).stdout(ours());
        server
            .spawn(command)
            .map_err(|error| Failure::unable(format!("cannot start '{name}': {error}")))?;
        server.wait_until_listening(
            |_| target.accepts().then_some(()),
            &format!("'{name}' on {target}"),
        )?;
        Ok(server)
    }

    /// Starts the child in a process group of its own: Ctrl-C reaches us alone, and what the child
    /// has started can be ended with it.
    fn spawn(&mut self, mut command: Command) -> io::Result<()> {
        let child = command.stdin(Stdio::null()).process_group(0).spawn()?;
        self.pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        self.pidfd = self.pid.and_then(open_pidfd);
        self.child = Some(child);
        Ok(())
    }

    fn wait_until_listening<T>(
        &mut self,
        listening: impl Fn(&Self) -> Option<T>,
        what: &str,
    ) -> Result<T, Failure> {
        let began = Instant::now();
        loop {
            if let Some(found) = listening(self) {
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
            thread::sleep(LOOK_EVERY);
        }
    }

    pub(crate) fn pid(&self) -> Option<Pid> {
        self.pid
    }

    /// Whether the process is gone; `None` where none is known.
    pub(crate) fn is_gone(&mut self) -> Option<bool> {
        let pid = self.pid?;
        if self.status.is_some() {
            return Some(true);
        }
        if let Some(child) = &mut self.child {
            return match child.try_wait() {
                Ok(status) => {
                    self.status = status;
                    Some(status.is_some())
                }
                Err(_) => Some(true),
            };
        }
        Some(match &self.pidfd {
            Some(pidfd) => is_readable(pidfd),
            None => test_kill_process(pid).is_err(),
        })
    }

    /// Stops the server, and does not wait for it.
    ///
    /// # Errors
    ///
    /// If the signal cannot be sent or the command not be started.
    pub(crate) fn stop(&mut self, stop: &Stop) -> io::Result<()> {
        match stop {
            Stop::Signal(stop) => self.signal(stop.signal),
            Stop::Command(command) => {
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", command]).stdin(Stdio::null()).stdout(ours()).process_group(0);
                self.stopper = Some(shell.spawn()?);
                Ok(())
            }
            Stop::MarkOnly => Ok(()),
        }
    }

    fn signal(&mut self, signal: Signal) -> io::Result<()> {
        if self.is_gone() == Some(true) {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the server is gone already"));
        }
        let Some(pid) = self.pid else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        kill_process(pid, signal).map_err(io::Error::from)
    }

    /// The exit code of a child, as a shell shows it; `None` while it runs or if it is not ours.
    pub(crate) fn exit_code(&self) -> Option<i32> {
        let status = self.status?;
        status.code().or_else(|| Some(status.signal()?.saturating_add(128)))
    }

    /// What the servers reported of their stops; several reports, of a server and its successor,
    /// are added. Called after [`end`](Self::end).
    pub(crate) fn report(&mut self) -> Option<Value> {
        if let Some(stdout) = self.stdout.take() {
            let reports = stdout.finish(END_WITHIN);
            return if reports.len() > 1 {
                report::merge(&reports).ok()
            } else {
                reports.into_iter().next()
            };
        }
        let text = fs::read_to_string(self.report.as_ref()?).ok()?;
        serde_json::from_str(text.trim()).ok()
    }

    /// How the command that was to stop the server failed, if it did. Waits a little for its end.
    pub(crate) fn stop_failure(&mut self) -> Option<String> {
        let stopper = self.stopper.as_mut()?;
        let began = Instant::now();
        while matches!(stopper.try_wait(), Ok(None)) && began.elapsed() < END_WITHIN {
            thread::sleep(LOOK_EVERY);
        }
        match stopper.try_wait() {
            Ok(Some(status)) if status.success() => None,
            Ok(Some(status)) => Some(status.to_string()),
            Ok(None) => Some("it still runs".to_owned()),
            Err(error) => Some(error.to_string()),
        }
    }

    /// Ends a child that still runs and all that it has started, and waits for them.
    pub(crate) fn end(&mut self) {
        if let Some(stopper) = &mut self.stopper {
            let pid = i32::try_from(stopper.id()).ok().and_then(Pid::from_raw);
            end_group(pid, || {
                if let Err(error) = stopper.try_wait() {
                    log::debug!("wait for the command of --stop-with: {error}");
                }
            });
        }
        if self.child.is_none() {
            return;
        }
        let pid = self.pid;
        end_group(pid, || {
            self.is_gone();
        });
        if let Some(child) = &mut self.child
            && self.status.is_none()
            && let Ok(status) = child.wait()
        {
            self.status = Some(status);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// Asks the processes of a group to end, and kills those that do not. `reap` collects the one
/// that is our child.
fn end_group(pid: Option<Pid>, mut reap: impl FnMut()) {
    let Some(pid) = pid else { return };
    reap();
    for signal in [Signal::TERM, Signal::KILL] {
        if test_kill_process_group(pid).is_err() {
            return;
        }
        if let Err(error) = kill_process_group(pid, signal) {
            log::debug!("end the process group: {error}");
        }
        let began = Instant::now();
        while test_kill_process_group(pid).is_ok() && began.elapsed() < END_WITHIN {
            thread::sleep(LOOK_EVERY);
            reap();
        }
    }
}

/// Where a child's standard output goes, since ours may be a report.
fn ours() -> Stdio {
    io::stderr().as_fd().try_clone_to_owned().map_or_else(|_| Stdio::null(), Stdio::from)
}

#[cfg(target_os = "linux")]
fn open_pidfd(pid: Pid) -> Option<OwnedFd> {
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
}

#[cfg(not(target_os = "linux"))]
fn open_pidfd(_pid: Pid) -> Option<OwnedFd> {
    None
}

fn is_readable(fd: &OwnedFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut fds, Some(&at_once)), Ok(ready) if ready > 0)
}

/// The file of a command's `--report FILE`, if it is one of ours.
fn report_of(args: &[OsString]) -> Option<PathBuf> {
    let at = args.iter().position(|arg| arg == "--report")?;
    args.get(at.checked_add(1)?).filter(|path| *path != "-").map(PathBuf::from)
}
