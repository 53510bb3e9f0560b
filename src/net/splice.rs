//! Kernel pipes through which the pages of a stream move without being copied: splice(2).

#[cfg(all(feature = "splice", any(target_os = "linux", target_os = "android")))]
mod kernel {
    use mio::net::TcpStream;
    use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
    use std::fs;
    use std::io;
    use std::os::fd::OwnedFd;
    use std::sync::OnceLock;

    use crate::engine::pipe::PIPE_BYTES;

    /// Whether there are pipes.
    pub(crate) const AVAILABLE: bool = true;

    /// A pipe: its two ends.
    #[derive(Debug)]
    pub(crate) struct Pipe {
        out_of: OwnedFd,
        into: OwnedFd,
    }

    impl Pipe {
        /// Refused where SIGPIPE is not ignored: splice to a connection that its peer has reset
        /// raises it, and there is no flag against that.
        pub(crate) fn open() -> io::Result<Self> {
            if !ignores_sigpipe()? {
                return Err(io::ErrorKind::Unsupported.into());
            }
            let (out_of, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
            if let Err(error) = fcntl_setpipe_size(&into, PIPE_BYTES) {
                log::debug!("a pipe keeps its default size: {error}");
            }
            Ok(Self { out_of, into })
        }

        pub(crate) fn fill_from(&self, from: &TcpStream, most: usize) -> io::Result<usize> {
            Ok(splice(from, None, &self.into, None, most, SpliceFlags::NONBLOCK)?)
        }

        pub(crate) fn drain_to(&self, to: &TcpStream, most: usize) -> io::Result<usize> {
            Ok(splice(&self.out_of, None, to, None, most, SpliceFlags::NONBLOCK)?)
        }
    }

    /// Whether the process ignores SIGPIPE, as Rust programs do from their start; read once.
    fn ignores_sigpipe() -> io::Result<bool> {
        static KNOWN: OnceLock<bool> = OnceLock::new();
        if let Some(known) = KNOWN.get() {
            return Ok(*known);
        }
        let status = fs::read_to_string("/proc/self/status")?;
        Ok(*KNOWN.get_or_init(|| has_ignored(&status, libc::SIGPIPE)))
    }

    fn has_ignored(status: &str, signal: i32) -> bool {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        let bit = u32::try_from(signal).ok().and_then(|signal| signal.checked_sub(1));
        let bit = bit.and_then(|bit| 1_u64.checked_shl(bit));
        mask.zip(bit).is_some_and(|(mask, bit)| mask & bit != 0)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn an_ignored_signal_is_read_from_the_status() {
            let status = "Name:\tx\nSigIgn:\t0000000000001000\nSigCgt:\t0000000000000440\n";
            assert!(has_ignored(status, libc::SIGPIPE));
            assert!(!has_ignored(status, libc::SIGTERM));
            assert!(!has_ignored(status, 0));
            assert!(!has_ignored("SigCgt:\tffffffffffffffff\n", libc::SIGPIPE));
            assert!(ignores_sigpipe().unwrap(), "tests run as Rust programs do");
        }
    }
}

#[cfg(not(all(feature = "splice", any(target_os = "linux", target_os = "android"))))]
mod kernel {
    use mio::net::TcpStream;
    use std::io;

    /// Whether there are pipes.
    pub(crate) const AVAILABLE: bool = false;

    /// This system has none: streams are copied.
    #[derive(Debug)]
    pub(crate) enum Pipe {}

    impl Pipe {
        pub(crate) fn open() -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(crate) fn fill_from(&self, _: &TcpStream, _: usize) -> io::Result<usize> {
            match *self {}
        }

        pub(crate) fn drain_to(&self, _: &TcpStream, _: usize) -> io::Result<usize> {
            match *self {}
        }
    }
}

pub(crate) use kernel::{AVAILABLE, Pipe};
