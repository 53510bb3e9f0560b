//! Writing to stdout, stderr and other descriptors, which may be closed, full, non-blocking, or
//! pipes that nobody reads: none of that is a reason to panic, and only a write that the user
//! waits for may block.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// The number of bytes that a pipe takes at once on every system after a poll reported it as
/// writable: the smallest `PIPE_BUF` that POSIX allows.
const CHUNK_BYTES: usize = 512;

/// How often a write may fail with EINTR or EAGAIN although a poll reported room.
const RETRIES_MAX: u32 = 100;

/// How long the end of a stop waits for a reader of stdout or stderr.
pub(crate) const BRIEFLY: Duration = Duration::from_millis(250);

/// How long a write waits for a reader that does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// As long as it takes.
    Unlimited,
    /// [`BRIEFLY`], each time that there is no room.
    Brief,
}

/// Prints on stdout what the user asked for, and waits for a reader as long as it takes.
///
/// # Errors
///
/// If stdout is full. A reader that has left needs no more of it: that is not an error.
pub(crate) fn print(text: &str) -> io::Result<()> {
    unless_reader_left(write_all(io::stdout(), text.as_bytes(), Patience::Unlimited))
}

/// Prints on stderr what the user asked for, as [`print()`] does on stdout.
///
/// # Errors
///
/// If stderr is full.
pub(crate) fn print_on_stderr(text: &str) -> io::Result<()> {
    unless_reader_left(write_all(io::stderr(), text.as_bytes(), Patience::Unlimited))
}

/// Prints a diagnostic message on stderr. If stderr is closed or has no reader, there is no other
/// place for the message, so a failure is ignored.
pub(crate) fn eprint(text: &str) {
    write_all(io::stderr(), text.as_bytes(), Patience::Brief).unwrap_or_default();
}

fn unless_reader_left(written: io::Result<()>) -> io::Result<()> {
    written.or_else(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    })
}

/// Whether a line can be written now, or within `timeout`, without waiting for a reader.
pub(crate) fn is_writable(fd: BorrowedFd<'_>, timeout: Duration) -> bool {
    Timespec::try_from(timeout).is_ok_and(|timeout| has_room(fd, Some(&timeout)))
}

fn has_room(fd: BorrowedFd<'_>, timeout: Option<&Timespec>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
    // A signal ends a poll early; a storm of signals must not hold up the caller.
    for _ in 0..3 {
        match poll(&mut fds, timeout) {
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

/// Writes all bytes to a descriptor, blocking or not.
///
/// # Errors
///
/// If the write fails, or there was no reader for as long as the patience lasts.
pub(crate) fn write_all(fd: impl AsFd, bytes: &[u8], patience: Patience) -> io::Result<()> {
    match patience {
        Patience::Unlimited => write_patiently(fd.as_fd(), bytes),
        Patience::Brief => write_briefly(fd.as_fd(), bytes),
    }
}

fn write_patiently(fd: BorrowedFd<'_>, mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        match rustix::io::write(fd, rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                // If the reader has left, the next write fails with the reason.
                has_room(fd, None);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn write_briefly(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    let mut retries: u32 = 0;
    for chunk in bytes.chunks(CHUNK_BYTES) {
        let mut rest = chunk;
        while !rest.is_empty() {
            if !is_writable(fd, BRIEFLY) || retries > RETRIES_MAX {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody reads it"));
            }
            match rustix::io::write(fd, rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(Errno::INTR | Errno::AGAIN) => retries = retries.saturating_add(1),
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::thread;

    #[test]
    fn a_slow_reader_of_a_nonblocking_pipe_gets_everything() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        rustix::io::ioctl_fionbio(&writer, true).expect("non-blocking");
        let bytes: Vec<u8> = (0..300_000_u32).map(|number| number.to_le_bytes()[1]).collect();
        let expected = bytes.clone();
        let reading = thread::spawn(move || {
            let mut found = Vec::new();
            // The pipe is full long before the first read.
            thread::sleep(Duration::from_millis(100));
            reader.read_to_end(&mut found).expect("readable");
            found
        });
        write_all(&writer, &bytes, Patience::Unlimited).expect("written");
        drop(writer);
        assert!(reading.join().expect("read") == expected);
    }

    #[test]
    fn brief_patience_ends() {
        let (reader, writer) = io::pipe().expect("a pipe");
        let error = write_all(&writer, &[0; 300_000], Patience::Brief).expect_err("full");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(reader);
    }
}
