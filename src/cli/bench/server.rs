//! The server under load: our own child, a command's, a process that runs, or one unknown.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use netgrace::load::Target;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::cli::failure::Failure;

/// A server is to listen within this.
const START_WITHIN: Duration = Duration::from_secs(10);

/// A child that ignores SIGTERM is killed after this.
const END_WITHIN: Duration = Duration::from_secs(2);

const LOOK_EVERY: Duration = Duration::from_millis(2);

/// The server under load. A child does not outlive this.
#[derive(Debug)]
pub(crate) struct Server {
    child: Option<Child>,
    pid: Option<Pid>,
    /// Turns readable when the process ends, even before it is reaped.
    pidfd: Option<OwnedFd>,
    /// Where the server writes its own report, and the directory that is ours.
    report: Option<PathBuf>,
    directory: Option<PathBuf>,
    status: Option<ExitStatus>,
}

impl Server {
    /// A server of which only the target is known.
    pub(crate) fn unknown() -> Self {
        Self { child: None, pid: None, pidfd: None, report: None, directory: None, status: None }
    }

    /// A process that is already running.
    pub(crate) fn watch(pid: Pid) -> Result<Self, Failure> {
        let number = pid.as_raw_nonzero();
        test_kill_process(pid).map_err(|error| {
            Failure::unable(format!(
                "cannot watch process {number}: {error}; is it running, and yours?"
            ))
        })?;
        let mut server = Self::unknown();
        (server.pid, server.pidfd) = (Some(pid), open_pidfd(pid));
        Ok(server)
    }

    /// Starts this program's own server on a free port; returns where it listens.
    pub(crate) fn start_own() -> Result<(Self, SocketAddr), Failure> {
        let failed = |what: &str, error: io::Error| {
            Failure::unable(format!("cannot start the own server: {what}: {error}"))
        };
        let program = std::env::current_exe().map_err(|error| failed("own path", error))?;
        let directory = private_directory().map_err(|error| failed("temporary files", error))?;
        let (ports, report) = (directory.join("port"), directory.join("report"));
        let mut command = Command::new(program);
        command.args(["serve", "--listen", "127.0.0.1:0", "-q", "--port-file"]).arg(&ports);
        command.arg("--report").arg(&report);
        let mut server = Self::unknown();
        server.directory = Some(directory);
        server.spawn(command).map_err(|error| failed("own program", error))?;
        let listening = || {
            let text = fs::read_to_string(&ports).ok()?;
            text.lines().next()?.parse::<SocketAddr>().ok()
        };
        let addr = server.wait_until_listening(listening, "the own server")?;
        server.report = Some(report);
        Ok((server, addr))
    }

    /// Starts a command; returns once the target answers.
    pub(crate) fn start(command: &[OsString], target: &Target) -> Result<Self, Failure> {
        let Some((program, args)) = command.split_first() else {
            return Err(Failure::usage("'--' is to be followed by a command"));
        };
        if answers(target) {
            return Err(Failure::unable(format!(
                "something listens on {target} already; the command's server would not be the \
                 one under load; stop it or name another target"
            )));
        }
        let name = Path::new(program).display().to_string();
        let mut server = Self::unknown();
        server.report = report_of(args);
        let mut command = Command::new(program);
        command.args(args);
        server
            .spawn(command)
            .map_err(|error| Failure::unable(format!("cannot start '{name}': {error}")))?;
        server.wait_until_listening(
            || answers(target).then_some(()),
            &format!("'{name}' on {target}"),
        )?;
        Ok(server)
    }

    /// Starts the child in a process group of its own, so that Ctrl-C reaches us alone.
    fn spawn(&mut self, mut command: Command) -> io::Result<()> {
        let stdout =
            io::stderr().as_fd().try_clone_to_owned().map_or_else(|_| Stdio::null(), Stdio::from);
        command.stdin(Stdio::null()).stdout(stdout).process_group(0);
        let child = command.spawn()?;
        self.pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        self.pidfd = self.pid.and_then(open_pidfd);
        self.child = Some(child);
        Ok(())
    }

    fn wait_until_listening<T>(
        &mut self,
        listening: impl Fn() -> Option<T>,
        what: &str,
    ) -> Result<T, Failure> {
        let began = Instant::now();
        loop {
            if let Some(found) = listening() {
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

    pub(crate) fn signal(&mut self, signal: Signal) -> io::Result<()> {
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

    /// The server's own report, if it writes one.
    pub(crate) fn report(&self) -> Option<serde_json::Value> {
        let text = fs::read_to_string(self.report.as_ref()?).ok()?;
        serde_json::from_str(text.trim()).ok()
    }

    /// Ends a child that still runs, and waits for it.
    pub(crate) fn end(&mut self) {
        if self.child.is_none() || self.is_gone() == Some(true) {
            return;
        }
        if let Err(error) = self.signal(Signal::TERM) {
            log::debug!("end the server: {error}");
        }
        let began = Instant::now();
        while self.is_gone() == Some(false) && began.elapsed() < END_WITHIN {
            thread::sleep(LOOK_EVERY);
        }
        if let Some(child) = &mut self.child
            && self.status.is_none()
        {
            if let Err(error) = child.kill() {
                log::debug!("kill the server: {error}");
            }
            if let Ok(status) = child.wait() {
                self.status = Some(status);
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
        if let Some(directory) = &self.directory
            && let Err(error) = fs::remove_dir_all(directory)
        {
            log::debug!("left behind {}: {error}", directory.display());
        }
    }
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

/// Whether somebody accepts connections there.
fn answers(target: &Target) -> bool {
    match target {
        Target::Tcp(addr) => TcpStream::connect_timeout(addr, Duration::from_secs(1))
            .is_ok_and(|stream| stream.local_addr().ok() != stream.peer_addr().ok()),
        Target::Unix(path) => UnixStream::connect(path).is_ok(),
        _ => false,
    }
}

/// The file of a command's `--report FILE`, if it is one of ours.
fn report_of(args: &[OsString]) -> Option<PathBuf> {
    let at = args.iter().position(|arg| arg == "--report")?;
    args.get(at.checked_add(1)?).filter(|path| *path != "-").map(PathBuf::from)
}

/// A new directory that only we may read.
fn private_directory() -> io::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let name = format!("netgrace-bench-{}-{}", std::process::id(), super::host::seed());
    let path = std::env::temp_dir().join(name);
    fs::DirBuilder::new().mode(0o700).create(&path)?;
    Ok(path)
}
