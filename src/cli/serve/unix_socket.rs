//! The file of a Unix socket: replaced only if no process listens on it, removed only if it is
//! the one that this process made.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use log::{debug, warn};
use rustix::fs::{FlockOperation, Mode, flock};
use rustix::process::umask;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::cli::advice::advice;
use crate::cli::failure::Failure;
use crate::cli::logger::TARGET;

/// Only the user who started the server may connect.
const MASK: Mode = Mode::RWXG.union(Mode::RWXO).union(Mode::XUSR);

/// How often, and how far apart, the lock on the directory is tried: an instance holds it for
/// microseconds, and one that is stopped meanwhile must not block all others for ever.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(2);

/// The identity of a file. The time is part of it because a file system may give the number of
/// a removed file to the next one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Identity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    /// Seconds and nanoseconds.
    pub(crate) modified: (i64, i64),
}

impl From<&Metadata> for Identity {
    fn from(found: &Metadata) -> Self {
        let modified = (found.mtime(), found.mtime_nsec());
        Self { device: found.dev(), inode: found.ino(), modified }
    }
}

/// A socket's file, removed when dropped if it is ours and still the same.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: Identity,
    ours: bool,
}

impl SocketFile {
    fn find(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), identity: Identity::from(&found), ours: true })
    }

    /// The file of a socket that another process still holds.
    pub(crate) fn of_another(path: &Path, identity: Identity) -> Self {
        Self { path: path.to_owned(), identity, ours: false }
    }

    /// Returns the identity of the file when the socket was bound.
    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// Sets whether the file is ours to remove.
    pub(crate) fn set_ours(&mut self, ours: bool) {
        self.ours = ours;
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !self.ours {
            return;
        }
        let lock = lock(&self.path);
        match fs::symlink_metadata(&self.path) {
            Ok(found) if Identity::from(&found) == self.identity => {
                if let Err(error) = fs::remove_file(&self.path) {
                    warn!(target: TARGET, "cannot remove {:?}: {error}", self.path);
                }
            }
            Ok(_) => debug!(target: TARGET, "{:?} belongs to another process by now", self.path),
            Err(error) => debug!(target: TARGET, "{:?} is gone: {error}", self.path),
        }
        drop(lock);
    }
}

/// What exists at the path before the socket is bound.
enum Found {
    Nothing,
    /// A socket that no process listens on any more.
    Stale(Identity),
}

/// Listens on a path. A socket that an ended process left there is replaced.
///
/// # Errors
///
/// If a process listens there, something other than a socket exists there, or the path cannot be
/// used.
pub(crate) fn listen(
    path: &Path,
    backlog: Option<u32>,
) -> Result<(UnixListener, SocketFile), Failure> {
    let fail = |error: io::Error| {
        let advice = match error.kind() {
            io::ErrorKind::NotFound => "; its directory must exist".to_owned(),
            io::ErrorKind::AddrInUse => "; another server has just taken it".to_owned(),
            io::ErrorKind::InvalidInput => "; choose a shorter path".to_owned(),
            io::ErrorKind::PermissionDenied => "; its directory must be writable".to_owned(),
            _ => advice(&error, None),
        };
        Failure::unable(format!("cannot listen on unix:{path:?}: {error}{advice}"))
    };
    let lock = lock(path);
    if let Found::Stale(identity) = find(path)? {
        clear(path, identity).map_err(fail)?;
    }
    let address = SockAddr::unix(path).map_err(fail)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(fail)?;
    let mask = umask(MASK);
    let bound = socket.bind(&address);
    umask(mask);
    bound.map_err(fail)?;
    let file = SocketFile::find(path).map_err(fail)?;
    listen_with(&socket, backlog).map_err(fail)?;
    drop(lock);
    Ok((socket.into(), file))
}

/// Listens on an abstract name.
///
/// # Errors
///
/// If another process listens there, or the name is too long.
pub(crate) fn listen_abstract(name: &str, backlog: Option<u32>) -> Result<UnixListener, Failure> {
    let fail = |error: io::Error| {
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => "; a server listens there; choose another name".to_owned(),
            io::ErrorKind::InvalidInput => "; choose a shorter name".to_owned(),
            _ => advice(&error, None),
        };
        Failure::unable(format!("cannot listen on unix:@{}: {error}{advice}", name.escape_debug()))
    };
    let address = SockAddr::unix(format!("\0{name}")).map_err(fail)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(fail)?;
    socket.bind(&address).map_err(fail)?;
    listen_with(&socket, backlog).map_err(fail)?;
    Ok(socket.into())
}

fn listen_with(socket: &Socket, backlog: Option<u32>) -> io::Result<()> {
    let backlog = backlog.and_then(|backlog| i32::try_from(backlog).ok());
    socket.listen(backlog.unwrap_or(i32::MAX))
}

/// Returns the name of a socket that was passed in, as the port file shows it.
#[cfg(feature = "systemd")]
pub(crate) fn name(listener: &UnixListener) -> String {
    let Ok(bound) = listener.local_addr() else {
        return "unix:".to_owned();
    };
    match (bound.as_pathname(), abstract_name(&bound)) {
        (Some(path), _) => format!("unix:{}", path.display()),
        (None, Some(name)) => format!("unix:@{name}"),
        (None, None) => "unix:".to_owned(),
    }
}

#[cfg(all(feature = "systemd", any(target_os = "linux", target_os = "android")))]
fn abstract_name(bound: &std::os::unix::net::SocketAddr) -> Option<String> {
    use std::os::linux::net::SocketAddrExt;
    bound.as_abstract_name().map(|name| name.escape_ascii().to_string())
}

#[cfg(all(feature = "systemd", not(any(target_os = "linux", target_os = "android"))))]
fn abstract_name(_: &std::os::unix::net::SocketAddr) -> Option<String> {
    None
}

/// Returns what exists there. A refused connection means that no process listens any more.
fn find(path: &Path) -> Result<Found, Failure> {
    let refuse =
        |why: String| Err(Failure::unable(format!("cannot listen on unix:{path:?}: {why}")));
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return refuse(error.to_string()),
    };
    if !found.file_type().is_socket() {
        let what = match found.file_type() {
            kind if kind.is_symlink() => "a symbolic link",
            kind if kind.is_dir() => "a directory",
            _ => "a file that is no socket",
        };
        return refuse(format!("{what} is there; remove it or choose another path"));
    }
    match connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Ok(Found::Stale(Identity::from(&found)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
        // Its queue is full.
        Ok(()) => refuse("in use: a server answers there; choose another path".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            refuse("in use: a busy server is there; choose another path".to_owned())
        }
        Err(error) => refuse(format!("in use, it seems: connecting to it fails: {error}")),
    }
}

/// Connects without waiting for room in a queue.
fn connect(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)
}

/// Removes a stale file, after a rename that makes sure which file it is: if another process has
/// put a new one there meanwhile, that one is put back.
fn clear(path: &Path, stale: Identity) -> io::Result<()> {
    let aside = aside(path)?;
    fs::rename(path, &aside)?;
    if Identity::from(&fs::symlink_metadata(&aside)?) == stale {
        return fs::remove_file(&aside);
    }
    fs::hard_link(&aside, path)?;
    fs::remove_file(&aside)?;
    Err(io::ErrorKind::AddrInUse.into())
}

fn aside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}.stale", std::process::id()));
    Ok(path.with_file_name(hidden))
}

/// Locks the directory, for instances that start or end at the same time. `None` on a file system
/// without locks, where the other checks still hold.
fn lock(path: &Path) -> Option<File> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let directory = File::open(directory).ok()?;
    for _ in 0..LOCK_TRIES {
        match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Some(directory),
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {
                thread::sleep(LOCK_PAUSE);
            }
            Err(_) => return None,
        }
    }
    None
}
