//! The pipes of streaming connections: a bounded number, the idle ones kept for the next stream.

use super::stream::Stream;

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
