//! A stream whose every answer is written down beforehand.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, Read, Write};

use crate::engine::status::{Locality, Status};
use crate::engine::stream::Stream;

thread_local! {
    /// Pipes that this thread's actors opened.
    pub(super) static OPENED: Cell<usize> = const { Cell::new(0) };
}

/// What one call comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// At most so many bytes.
    Some(usize),
    /// As many as are asked for.
    All,
    /// Zero.
    Zero,
    Block,
    Interrupt,
    NoBuffers,
    Reset,
    Lost,
}

impl Answer {
    pub(super) fn of(self, asked: usize) -> io::Result<usize> {
        let error = match self {
            Self::Some(count) => return Ok(count.min(asked)),
            Self::All => return Ok(asked),
            Self::Zero => return Ok(0),
            Self::Block => libc::EAGAIN,
            Self::Interrupt => libc::EINTR,
            Self::NoBuffers => libc::ENOBUFS,
            Self::Reset => libc::ECONNRESET,
            Self::Lost => libc::ETIMEDOUT,
        };
        Err(io::Error::from_raw_os_error(error))
    }
}

/// The answers to come. Without any, a read blocks and a write takes everything.
#[derive(Clone, Debug, Default)]
pub(super) struct Script {
    pub(super) reads: VecDeque<Answer>,
    pub(super) writes: VecDeque<Answer>,
    /// Of looks into the queue. Without any, the next read's answer.
    pub(super) peeks: VecDeque<Answer>,
    pub(super) shutdown: Option<Answer>,
}

impl Script {
    pub(super) fn read(&mut self, asked: usize) -> io::Result<usize> {
        self.reads.pop_front().unwrap_or(Answer::Block).of(asked)
    }

    fn peek(&mut self) -> io::Result<usize> {
        let next = self.reads.front().copied().unwrap_or(Answer::Block);
        self.peeks.pop_front().unwrap_or(next).of(1)
    }

    pub(super) fn write(&mut self, asked: usize) -> io::Result<usize> {
        self.writes.pop_front().unwrap_or(Answer::All).of(asked)
    }
}

/// A stream that plays a script, and keeps what it gave and took. With `PIPES` a read through a
/// pipe takes from the same answers.
#[derive(Debug, Default)]
pub(super) struct Actor<const PIPES: bool> {
    pub(super) script: Script,
    pub(super) given: usize,
    pub(super) taken: Vec<u8>,
    pub(super) is_shut: bool,
    pub(super) is_reset: bool,
    pub(super) calls: usize,
    /// Calls that took bytes into a pipe.
    pub(super) fills: usize,
    /// What the kernel says of it; by default, that it cannot be asked.
    pub(super) status: Option<Status>,
    /// Whether the peer is behind a network.
    pub(super) is_far: bool,
}

/// What stands at a place of the input.
fn byte(place: usize) -> u8 {
    u8::try_from(place % 251).unwrap()
}

impl<const PIPES: bool> Actor<PIPES> {
    pub(super) fn new(script: Script) -> Self {
        Self { script, ..Self::default() }
    }

    /// Whether what it took is what it gave, as far as it goes.
    pub(super) fn is_echo(&self) -> bool {
        self.taken.len() <= self.given
            && self.taken.iter().enumerate().all(|(place, taken)| *taken == byte(place))
    }

    fn give(&mut self, asked: usize) -> io::Result<Vec<u8>> {
        self.calls += 1;
        let count = self.script.read(asked)?;
        let bytes = (self.given..self.given + count).map(byte).collect();
        self.given += count;
        Ok(bytes)
    }
}

impl<const PIPES: bool> Read for Actor<PIPES> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.give(buffer.len())?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }
}

impl<const PIPES: bool> Write for Actor<PIPES> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        assert!(!self.is_shut, "a write after our FIN");
        self.calls += 1;
        let count = self.script.write(bytes.len())?;
        self.taken.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<const PIPES: bool> Stream for Actor<PIPES> {
    type Pipe = Vec<u8>;

    const HAS_PIPES: bool = PIPES;

    fn open_pipe() -> io::Result<Vec<u8>> {
        OPENED.set(OPENED.get() + 1);
        Ok(Vec::new())
    }

    fn fill(&mut self, pipe: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        assert!(pipe.is_empty());
        self.fills += 1;
        *pipe = self.give(most)?;
        Ok(pipe.len())
    }

    fn drain(&mut self, pipe: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        let count = self.write(&pipe.clone()[..most.min(pipe.len())])?;
        pipe.drain(..count);
        Ok(count)
    }

    fn peek(&mut self) -> io::Result<usize> {
        self.calls += 1;
        self.script.peek()
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.script.shutdown.unwrap_or(Answer::Zero).of(0)?;
        self.is_shut = true;
        Ok(())
    }

    fn reset_on_close(&mut self) {
        self.is_reset = true;
    }

    type Kernel = ();

    fn locality(&self) -> Locality {
        if self.is_far { Locality::Network } else { Locality::Host }
    }

    fn status(&mut self, (): &mut ()) -> Status {
        self.status.unwrap_or(Status::Unknown)
    }

    fn quick_ack(&mut self) {}

    fn receive_buffer(&self) -> usize {
        64 << 10
    }

    fn send_buffer(&self) -> usize {
        64 << 10
    }
}
