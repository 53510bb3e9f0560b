//! Which connections stream, and their pipes: a bounded number, the idle ones kept for the next
//! stream.
//!
//! The copies in and out are about two fifths of what a stream costs, and a pipe saves both. What
//! is left is paid for each wake-up, and a server that keeps up is woken for each packet: by the
//! wait, a fill, a drain, and the peek that finds the queue dry. Smaller messages are copied: for
//! one of 40 000 bytes a pipe saves nothing that could be measured.

use super::stream::Stream;

/// Bytes that are moved into a pipe at a time.
pub(crate) const PIPE_BYTES: usize = 1024 << 10;
/// A read of so many bytes is one of a stream. It is less than the read buffer: the largest packet
/// on the loopback has 65 483 bytes, and one that a network card has put together has about as
/// many; a server that keeps up reads one at a time.
const LARGE: u64 = 60 << 10;
/// A call of a connection that moves less than this is a small one, as for the short packet that
/// ends a large write.
const SMALL: u64 = 16 << 10;
/// Large reads after which a connection streams.
const STREAMING: u8 = 2;
/// What a call earns that moves a large number of bytes through a pipe: more than a small call
/// costs, since in a steady stream the two come in turn.
const EARNED: u8 = 2;
/// Upper bound of the score; that many small calls bring it to zero.
const MOST: u8 = 8;

/// How much a connection streams.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Streak(u8);

impl Streak {
    /// Whether bytes are to go through a pipe.
    pub(crate) fn is_streaming(self) -> bool {
        self.0 >= STREAMING
    }

    /// Notes a read that copied so many bytes.
    pub(crate) fn on_copied(&mut self, count: usize) {
        if count as u64 >= LARGE {
            self.earn(1);
        }
    }

    /// Notes the end of a call that read so many bytes in all, `piped` of them through a pipe.
    pub(crate) fn on_call(&mut self, read: u64, piped: u64) {
        if piped >= LARGE {
            self.earn(EARNED);
        } else if read < SMALL {
            self.0 = self.0.saturating_sub(1);
        }
    }

    fn earn(&mut self, more: u8) {
        self.0 = self.0.saturating_add(more).min(MOST);
    }
}

/// Pipes kept though no connection uses them.
const IDLE: usize = 4;

/// All pipes of an engine.
#[derive(Debug)]
pub(crate) struct Pipes<P> {
    idle: Vec<P>,
    open: usize,
    most: usize,
}

impl<P> Pipes<P> {
    pub(crate) fn new() -> Self {
        Self { idle: Vec::new(), open: 0, most: 0 }
    }

    /// Sets how many there may be.
    pub(crate) fn limit(&mut self, most: usize) {
        self.most = most;
    }

    /// An empty pipe, unless there are enough already or the system has none to give.
    pub(crate) fn take<S: Stream<Pipe = P>>(&mut self) -> Option<P> {
        if let Some(pipe) = self.idle.pop() {
            return Some(pipe);
        }
        if self.open >= self.most {
            return None;
        }
        let pipe = S::open_pipe().ok()?;
        self.open = self.open.saturating_add(1);
        Some(pipe)
    }

    /// Takes a pipe back; only an empty one can serve again.
    pub(crate) fn give(&mut self, pipe: P, is_empty: bool) {
        if is_empty && self.idle.len() < IDLE {
            self.idle.push(pipe);
        } else {
            self.open = self.open.saturating_sub(1);
        }
    }
}
