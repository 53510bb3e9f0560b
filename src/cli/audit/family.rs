//! The processes that an audit starts, as a family: what they share, and how all of them end.

use std::io;
use std::os::fd::AsFd;
use std::process::Child;
use std::process::Stdio;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::WaitOptions;
use rustix::process::getpid;
use rustix::process::kill_process;
use rustix::process::kill_process_group;
use rustix::process::wait;

use super::process::descendants;

const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Returns where the output of a child goes: never to our standard output.
pub(crate) fn to_stderr() -> Stdio {
    io::stderr().as_fd().try_clone_to_owned().map_or_else(|_| Stdio::null(), Stdio::from)
}

/// Signals the process group that a child leads.
pub(crate) fn kill_group(child: &Child, signal: Signal) {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(group) = group
        && let Err(error) = kill_process_group(group, signal)
    {
        log::debug!("signal the process group of the server: {error}");
    }
}

/// Has processes whose parent ends become children of this one, not of the system's first.
pub(crate) fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_child_subreaper(Some(getpid())) {
        log::debug!("adopt orphans: {error}");
    }
}

/// Kills what descends from this process, such as daemons that left their process group.
pub(crate) fn end_orphans(within: Duration) {
    let began = Instant::now();
    while began.elapsed() < within {
        let left = descendants(getpid());
        for pid in &left {
            if let Err(error) = kill_process(*pid, Signal::KILL) {
                log::debug!("kill process {}: {error}", pid.as_raw_nonzero());
            }
        }
        while matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {}
        if left.is_empty() {
            return;
        }
        thread::sleep(LOOK_EVERY);
    }
}
