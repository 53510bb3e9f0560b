//! The listening sockets that a service manager passes in, as sd_listen_fds(3) describes it.

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process;

use listenfd::ListenFd;

use crate::cli::failure::Failure;

/// More than any unit has, because the number in the environment may be wrong.
const SOCKETS_MAX: usize = 4096;

/// The number of the first descriptor that is passed in.
const FIRST_DESCRIPTOR: usize = 3;

/// A socket that was passed in; the server checks that it listens.
#[derive(Debug)]
pub(crate) enum Passed {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Checks that the announced descriptors are open. Called before this process opens any
/// descriptor: a new one would get the number of one that is closed.
///
/// # Errors
///
/// If one of them is closed.
pub(crate) fn check() -> Result<(), Failure> {
    let is_for_us = std::env::var("LISTEN_PID").is_ok_and(|pid| pid == process::id().to_string());
    if !is_for_us || !Path::new("/proc/self/fd").exists() {
        return Ok(());
    }
    let is_open = |number: &usize| fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok();
    let count = announced().min(SOCKETS_MAX);
    let announced = FIRST_DESCRIPTOR..FIRST_DESCRIPTOR.saturating_add(count);
    match announced.into_iter().find(|number| !is_open(number)) {
        None => Ok(()),
        Some(number) => Err(Failure::unable(format!(
            "cannot listen on systemd: LISTEN_FDS announces {count} sockets from descriptor \
             {FIRST_DESCRIPTOR} on, but descriptor {number} is closed"
        ))),
    }
}

fn announced() -> usize {
    std::env::var("LISTEN_FDS").unwrap_or_default().parse().unwrap_or(0)
}

/// Returns all of them, each with the name that its unit gives it. Further calls find none.
///
/// # Errors
///
/// If there are none, or one is not a stream socket.
pub(crate) fn take() -> Result<Vec<(Passed, String)>, Failure> {
    let count = announced();
    if count > SOCKETS_MAX {
        return Err(Failure::unable(format!(
            "cannot take {count} sockets from the service manager: LISTEN_FDS is at most \
             {SOCKETS_MAX}"
        )));
    }
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':').filter(|name| !name.is_empty());
    let mut passed = ListenFd::from_env();
    if passed.len() == 0 {
        return Err(Failure::unable(
            "cannot listen on systemd: no socket was passed in (LISTEN_FDS and LISTEN_PID); start \
             it by a .socket unit, or try it with systemd-socket-activate",
        ));
    }
    let mut found = Vec::with_capacity(count);
    for index in 0..passed.len() {
        let name = names.next().unwrap_or("unknown").to_owned();
        let listener = match passed.take_tcp_listener(index) {
            Ok(listener) => listener.map(Passed::Tcp),
            Err(_) => passed.take_unix_listener(index).ok().flatten().map(Passed::Unix),
        };
        match listener {
            Some(listener) => found.push((listener, name)),
            None => {
                return Err(Failure::unable(format!(
                    "cannot listen on socket {index} ({name:?}) of those passed in: it is no TCP \
                     or Unix stream socket; ListenStream= in the .socket unit gives one"
                )));
            }
        }
    }
    Ok(found)
}
