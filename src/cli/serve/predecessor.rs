//! The process that a successor takes over from: its sockets, and when it has let go of them.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as Channel;
use std::time::Duration;

use log::{debug, info};
use mio::net::UnixStream;
use mio::{Interest, Registry, Token};

use crate::cli::failure::Failure;
use crate::cli::logger::TARGET;
use crate::cli::serve::handover::{self, Handed, READY};

/// Everything was sent before we were started.
const PATIENCE: Duration = Duration::from_secs(2);

/// The channel to it.
#[derive(Debug)]
pub(crate) struct Predecessor {
    channel: UnixStream,
    gone: bool,
}

impl Predecessor {
    /// Takes over what the process that started this one hands over, if it does.
    ///
    /// # Errors
    ///
    /// When the environment announces a handover and there is none.
    pub(crate) fn find() -> Result<(Option<Self>, Vec<Handed>), Failure> {
        if std::env::var_os(handover::VARIABLE).is_none() {
            return Ok((None, Vec::new()));
        }
        let found = Self::try_find();
        let found = found.map_err(|error| {
            Failure::unable(format!(
                "cannot take over the sockets that {} announces: {error}; unset it",
                handover::VARIABLE
            ))
        });
        found.map(|(predecessor, handed)| (Some(predecessor), handed))
    }

    fn try_find() -> io::Result<(Self, Vec<Handed>)> {
        let stdin = io::stdin();
        let channel = Channel::from(stdin.as_fd().try_clone_to_owned()?);
        channel.set_read_timeout(Some(PATIENCE))?;
        let handed = handover::receive(&channel)?;
        // Now the channel is closed when the one that we keep is. A pipe without a writer is as
        // empty as /dev/null, which may not be there.
        let (nothing, _) = io::pipe()?;
        rustix::stdio::dup2_stdin(nothing)?;
        channel.set_nonblocking(true)?;
        Ok((Self { channel: UnixStream::from_std(channel), gone: false }, handed))
    }

    /// Watches for its end.
    ///
    /// # Errors
    ///
    /// When the poll refuses.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.channel, token, Interest::READABLE)
    }

    /// Tells it that clients are served here from now on.
    pub(crate) fn tell_ready(&mut self) {
        if let Err(error) = self.channel.write_all(&[READY]) {
            debug!(target: TARGET, "tell the predecessor: {error}");
        }
    }

    /// Something came from it. Nothing but its end ever does.
    pub(crate) fn on_event(&mut self) {
        match self.channel.read(&mut [0; 64]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(count) if count > 0 => {}
            _ => self.gone = true,
        }
    }

    /// Whether it has let go of the sockets, or is no more.
    pub(crate) fn is_gone(&self) -> bool {
        if self.gone {
            info!(target: TARGET, "the predecessor has let go of the sockets");
        }
        self.gone
    }
}
