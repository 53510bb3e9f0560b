//! Kernel pipes through which the pages of a stream move without being copied: splice(2).

#[cfg(all(feature = "splice", any(target_os = "linux", target_os = "android")))]
mod kernel {
    use mio::net::TcpStream;
    use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
    use std::io;
    use std::os::fd::OwnedFd;

    use crate::engine::echo::PIPE_BYTES;

    /// Whether there are pipes.
    pub(crate) const AVAILABLE: bool = true;

    /// A pipe: its two ends.
    #[derive(Debug)]
    pub(crate) struct Pipe {
        out_of: OwnedFd,
        into: OwnedFd,
    }

    impl Pipe {
        pub(crate) fn open() -> io::Result<Self> {
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
}

#[cfg(not(all(feature = "splice", any(target_os = "linux", target_os = "android"))))]
mod kernel {
    use mio::net::TcpStream;
    use std::io;

    /// Whether there are pipes.
    pub(crate) const AVAILABLE: bool = false;

    /// There is none: streams are copied.
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
