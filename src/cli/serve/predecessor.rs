//! The process that a successor takes over from: its sockets, and the moment when it has closed
//! its own copies of them.

use std::io::{self, Read, Write};
use std::mem;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as Channel;
use std::time::Duration;

use log::{debug, info};
use mio::net::UnixStream;
use mio::{Interest, Registry, Token};

use crate::cli::failure::Failure;
use crate::cli::logger::TARGET;
use crate::cli::serve::handover::{self, Handed, READY};
use crate::cli::serve::transfer::{Claim, Taker, TakerAction, TakerInput};

/// Long enough, because everything was sent before this process was started.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// The predecessor, at the other end of a channel.
#[derive(Debug)]
pub(crate) struct Predecessor {
    channel: UnixStream,
    taker: Taker,
    is_to_stop: bool,
}

impl Predecessor {
    /// Receives the sockets that the process which started this one hands over, if it does.
    ///
    /// # Errors
    ///
    /// If the environment announces a handover and there is none.
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
        channel.set_read_timeout(Some(RECEIVE_TIMEOUT))?;
        let handed = handover::receive(&channel)?;
        // Replaces the second descriptor of the channel. A pipe without a writer is as empty as
        // /dev/null, which may not exist.
        let (empty, _) = io::pipe()?;
        rustix::stdio::dup2_stdin(empty)?;
        channel.set_nonblocking(true)?;
        let channel = UnixStream::from_std(channel);
        Ok((Self { channel, taker: Taker::Waiting, is_to_stop: false }, handed))
    }

    /// Registers the channel, for its end.
    ///
    /// # Errors
    ///
    /// If the poll refuses.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.channel, token, Interest::READABLE)
    }

    /// Reports to the predecessor that this process serves clients from now on.
    pub(crate) fn confirm_ready(&mut self) {
        if let Err(error) = self.channel.write_all(&[READY]) {
            debug!(target: TARGET, "confirm to the predecessor: {error}");
        }
    }

    /// Handles an event of the channel.
    pub(crate) fn on_event(&mut self) {
        loop {
            let mut byte = [0];
            let input = match self.channel.read(&mut byte) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(1) if byte == [handover::OFFER] => TakerInput::Offer,
                Ok(1) if byte == [handover::WITHDRAWAL] => TakerInput::Withdrawal,
                Ok(1) => continue,
                _ => TakerInput::Closed,
            };
            self.on(input);
            if input == TakerInput::Closed {
                return;
            }
        }
    }

    /// Notes that this process stops; to be called before [`on_event`](Self::on_event).
    pub(crate) fn on_stop(&mut self) {
        self.on(TakerInput::Stop);
    }

    fn on(&mut self, input: TakerInput) {
        match self.taker.on(input) {
            None => {}
            Some(TakerAction::Accept) => {
                // If the send fails, the next read returns the reason.
                if let Err(error) = self.channel.write_all(&[handover::ACCEPTED]) {
                    debug!(target: TARGET, "accept the offer of the predecessor: {error}");
                }
            }
            Some(TakerAction::Stop) => {
                info!(target: TARGET, "the predecessor keeps the sockets: stopping");
                self.is_to_stop = true;
            }
        }
    }

    /// Returns whether this process is to stop, once.
    pub(crate) fn take_stop(&mut self) -> bool {
        mem::take(&mut self.is_to_stop)
    }

    /// Returns which process owns the queues of the sockets.
    pub(crate) fn claim(&self) -> Claim {
        self.taker.claim()
    }

    /// Returns whether no more message is expected. `has_copies`: this process still has copies of
    /// the sockets.
    pub(crate) fn is_gone(&self, has_copies: bool) -> bool {
        match self.taker {
            Taker::Alone => {
                info!(target: TARGET, "the predecessor has closed its copies of the sockets");
                true
            }
            Taker::Declined => !has_copies,
            Taker::Waiting | Taker::Taken => false,
        }
    }
}
