//! What a connection is to do, said as plainly as possible.

use std::io;

use super::script::Script;
use crate::engine::dialogue::{Flow, LEAST_ROOM};
use crate::engine::report::{ByteCounts, CloseReason};
use crate::token::Readiness;

/// The read buffer of these tests.
pub(super) const BUFFER: usize = 8;
const INTERRUPTS: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Lingering,
    Closed,
}

/// A connection without bytes: numbers only.
#[derive(Clone, Debug)]
pub(super) struct Model {
    state: State,
    pub(super) owed: usize,
    pub(super) is_dry: bool,
    read: usize,
    late: usize,
}

enum Call {
    Took(usize),
    Block,
    Later,
    Broken(CloseReason),
}

fn call(mut once: impl FnMut() -> io::Result<usize>) -> Call {
    for _ in 0..INTERRUPTS {
        match once() {
            Ok(count) => return Call::Took(count),
            Err(error) => match error.raw_os_error() {
                Some(libc::EINTR) => {}
                Some(libc::EAGAIN) => return Call::Block,
                Some(libc::ENOBUFS) => return Call::Later,
                Some(libc::ECONNRESET) => return Call::Broken(CloseReason::ResetByPeer),
                _ => return Call::Broken(CloseReason::IoError),
            },
        }
    }
    Call::Later
}

impl Model {
    pub(super) fn new() -> Self {
        Self { state: State::Open, owed: 0, is_dry: true, read: 0, late: 0 }
    }

    pub(super) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    pub(super) fn pump(
        &mut self,
        said: Readiness,
        probe: bool,
        budget: usize,
        room: usize,
        script: &mut Script,
    ) -> Flow {
        match self.state {
            State::Closed => Flow::Wait,
            State::Lingering if said == Readiness::WRITABLE => Flow::Wait,
            State::Lingering => self.discard(budget, script),
            State::Open => self.echo(said, probe, budget, room, script),
        }
    }

    fn echo(
        &mut self,
        said: Readiness,
        probe: bool,
        mut budget: usize,
        room: usize,
        script: &mut Script,
    ) -> Flow {
        let special = Readiness::CLOSED | Readiness::ERROR | Readiness::PRIORITY;
        let broken = Readiness::CLOSED | Readiness::ERROR;
        let was_dry = self.is_dry;
        if probe || said.intersects(Readiness::READABLE | special) {
            self.is_dry = false;
        }
        let owed_before = self.owed > 0;
        if owed_before {
            if !probe && !said.intersects(Readiness::WRITABLE | broken) {
                return Flow::Wait;
            }
            if let Some(flow) = self.pay(script) {
                return flow;
            }
        }
        let last_read_is_last = was_dry && !owed_before && !probe && !said.intersects(special);
        while !self.is_dry {
            if budget == 0 {
                return Flow::Again;
            }
            if room < LEAST_ROOM {
                return Flow::Pause;
            }
            match call(|| script.read(BUFFER)) {
                Call::Took(0) => return Flow::Ended,
                Call::Took(count) => {
                    self.read += count;
                    self.owed = count;
                    budget = budget.saturating_sub(count);
                    self.is_dry = count < BUFFER && last_read_is_last;
                }
                Call::Block => self.is_dry = true,
                Call::Later => return Flow::Again,
                Call::Broken(reason) => return Flow::Close(reason),
            }
            if self.owed > 0
                && let Some(flow) = self.pay(script)
            {
                return flow;
            }
        }
        Flow::Wait
    }

    /// One write of what is owed; `None` if that was all of it.
    fn pay(&mut self, script: &mut Script) -> Option<Flow> {
        match call(|| script.write(self.owed)) {
            Call::Took(0) => Some(Flow::Close(CloseReason::IoError)),
            Call::Took(count) => {
                self.owed -= count;
                (self.owed > 0).then_some(Flow::Wait)
            }
            Call::Block => Some(Flow::Wait),
            Call::Later => Some(Flow::Again),
            Call::Broken(reason) => Some(Flow::Close(reason)),
        }
    }

    fn discard(&mut self, mut budget: usize, script: &mut Script) -> Flow {
        while budget > 0 {
            match call(|| script.read(BUFFER)) {
                Call::Took(0) => return Flow::Ended,
                Call::Took(count) => {
                    self.read += count;
                    self.late += count;
                    budget = budget.saturating_sub(count);
                }
                Call::Block => return Flow::Wait,
                Call::Later => return Flow::Again,
                Call::Broken(reason) => return Flow::Close(reason),
            }
        }
        Flow::Again
    }

    pub(super) fn finish(&mut self, budget: usize, script: &mut Script) -> Flow {
        if self.state != State::Open || self.owed > 0 {
            return Flow::Wait;
        }
        match call(|| script.shutdown.map_or(Ok(0), |answer| answer.of(0))) {
            Call::Took(_) => {
                self.state = State::Lingering;
                if self.is_dry { Flow::Wait } else { self.discard(budget, script) }
            }
            Call::Broken(reason) => Flow::Close(reason),
            Call::Block | Call::Later => Flow::Close(CloseReason::IoError),
        }
    }

    /// The account, and whether the end must be a reset. What a reset of ours destroys in the
    /// kernel is not known here: all that was written is taken for it.
    pub(super) fn close(&mut self, reason: CloseReason) -> (ByteCounts, bool) {
        self.state = State::Closed;
        let reset = reason == CloseReason::ForcedLossy;
        let aborted = matches!(reason, CloseReason::ResetByPeer | CloseReason::IoError);
        let owed = self.owed as u64;
        let written = (self.read - self.late - self.owed) as u64;
        let bytes = ByteCounts {
            read: self.read as u64,
            written: if reset { 0 } else { written },
            late: self.late as u64,
            unsent: if reset {
                owed + written
            } else if aborted {
                0
            } else {
                owed
            },
            peer_aborted: if aborted { owed } else { 0 },
            ..ByteCounts::default()
        };
        (bytes, owed > 0 || reset)
    }
}
