//! The listening sockets that a service manager passes in, as sd_listen_fds(3) describes it.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;

use crate::cli::failure::Failure;

/// More than any unit has: the number in the environment is not to be trusted.
const SOCKETS_MAX: usize = 4096;

/// A socket that was passed in; the server checks that it listens.
#[derive(Debug)]
pub(crate) enum Passed {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Returns all of them, each with the name that its unit gives it. Further calls find none.
///
/// # Errors
///
/// If there are none, or one is not a stream socket.
pub(crate) fn take() -> Result<Vec<(Passed, String)>, Failure> {
    let count = std::env::var("LISTEN_FDS").unwrap_or_default().parse().unwrap_or(0_usize);
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
