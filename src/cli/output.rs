//! Writing to stdout and stderr, which may be closed, full, or pipes that nobody reads: none of
//! that is a reason to panic, and only what the user waits for may block.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// How much a pipe that polls as writable takes at once on every system: POSIX's smallest
/// `PIPE_BUF`.
const CHUNK_BYTES: usize = 512;

/// How often a write may fail for now, though a poll said that it would not.
const REFUSALS: u32 = 100;

/// How long the end of a stop waits for somebody to read from stdout or stderr.
pub(crate) const PATIENCE: Duration = Duration::from_millis(250);

/// Prints what the user asked for, waiting for a reader as long as it takes.
///
/// # Errors
///
/// When stdout is full or gone. A reader who left early has what he wanted: that is no error.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Prints what the user asked for, giving up when nobody reads for [`PATIENCE`].
///
/// # Errors
///
/// When stdout is full or gone, or nobody reads it.
pub(crate) fn print_or_give_up(text: &str) -> io::Result<()> {
    write_chunks(io::stdout().as_fd(), text.as_bytes())
}

/// Tells the user on stderr why nothing came of it. When stderr is gone or stuck there is nobody
/// to tell, so a failure is of no consequence.
pub(crate) fn complain(text: &str) {
    write_chunks(io::stderr().as_fd(), text.as_bytes()).unwrap_or_default();
}

/// Whether a line can be written now, or within `patience`, without waiting for a reader.
pub(crate) fn is_writable(fd: BorrowedFd<'_>, patience: Duration) -> bool {
    let Ok(timeout) = Timespec::try_from(patience) else {
        return false;
    };
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
    // A signal cuts a poll short; a storm of them must not hold up the caller.
    for _ in 0..3 {
        match poll(&mut fds, Some(&timeout)) {
            Err(Errno::INTR) => {}
            Err(_) => return false,
            Ok(_) => break,
        }
    }
    fds.iter().all(|fd| {
        let found = fd.revents();
        found.contains(PollFlags::OUT) && !found.intersects(PollFlags::ERR | PollFlags::NVAL)
    })
}

fn write_chunks(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    let mut refusals: u32 = 0;
    for chunk in bytes.chunks(CHUNK_BYTES) {
        let mut rest = chunk;
        while !rest.is_empty() {
            if !is_writable(fd, PATIENCE) || refusals > REFUSALS {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody reads it"));
            }
            match rustix::io::write(fd, rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(Errno::INTR | Errno::AGAIN) => refusals = refusals.saturating_add(1),
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}
