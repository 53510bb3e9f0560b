//! A request on its way, with all that will decide its class.

use super::answer::Answer;
use super::class::Ending;
use super::class::Evidence;
use super::connection::Connection;
use super::kernel::Kernel;

/// When the kernel is asked about a request that is not known to be acknowledged, after it was
/// written.
const CHECKS: [u64; 3] = [1_000_000, 10_000_000, 100_000_000];

/// A request on its way; times are of the audit's clock.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) connection: Connection,
    pub(super) request: Vec<u8>,
    /// Bytes of the request that were handed to the kernel.
    pub(super) written: usize,
    pub(super) answer: Answer,
    /// A byte last moved, or may have.
    pub(super) moved_at: u64,
    /// The second half is held back until then.
    pub(super) held_until: Option<u64>,
    /// A slow client reads again then.
    pub(super) reads_at: Option<u64>,
    /// It started after the stop or was unfinished at it.
    pub(super) is_counted: bool,
    /// The audit stood still while it was the client's turn.
    pub(super) is_excused: bool,
    was_begun: bool,
    is_acknowledged: bool,
    was_closed_before: bool,
    written_at: Option<u64>,
    checks: usize,
}

impl Exchange {
    pub(super) fn new(connection: Connection, request: Vec<u8>, answer: Answer, now: u64) -> Self {
        Self {
            connection,
            request,
            written: 0,
            answer,
            moved_at: now,
            held_until: None,
            reads_at: None,
            is_counted: false,
            is_excused: false,
            was_begun: false,
            is_acknowledged: false,
            was_closed_before: false,
            written_at: None,
            checks: 0,
        }
    }

    /// Returns whether all of the request was handed to the kernel.
    pub(super) fn is_written(&self) -> bool {
        self.written >= self.request.len()
    }

    /// Returns whether a byte of the answer has arrived.
    pub(super) fn was_begun(&self) -> bool {
        self.was_begun
    }

    /// Hands over as much of the request as may be sent and as the kernel takes. That the
    /// connection is broken shows when it is read.
    pub(super) fn write(&mut self, kernel: &mut Kernel, now: u64) {
        let length = self.request.len();
        let half = length.checked_div(2).unwrap_or(0);
        let end = if self.held_until.is_some() { half } else { length };
        while let Some(rest) = self.request.get(self.written..end).filter(|rest| !rest.is_empty()) {
            match self.connection.write(rest) {
                Ok(0) | Err(_) => return,
                Ok(count) => {
                    self.written = self.written.saturating_add(count);
                    self.moved_at = now;
                }
            }
        }
        if self.is_written() && self.written_at.is_none() {
            self.written_at = Some(now);
            // The FIN may have arrived since the connection was last read.
            if self.is_counted && self.connection.requests > 0 {
                self.ask(kernel);
            }
        }
    }

    /// Notes that bytes of the answer arrived.
    pub(super) fn received(&mut self, now: u64) {
        self.was_begun = true;
        self.moved_at = now;
    }

    /// Asks the kernel whether the server's kernel has the request.
    fn ask(&mut self, kernel: &mut Kernel) {
        let ends = self.connection.ends();
        let Some(standing) = ends.and_then(|(local, peer)| kernel.ask(local, peer)) else { return };
        self.is_acknowledged |= self.is_written() && standing.is_acknowledged;
        let is_first_question = self.checks == 0;
        self.was_closed_before |= is_first_question && standing.is_closed;
    }

    /// Asks the kernel in the turn in which FIN or RST was read.
    pub(super) fn ask_at_the_end(&mut self, kernel: &mut Kernel) {
        self.checks = self.checks.max(1);
        if !self.was_begun && self.connection.requests > 0 {
            self.ask(kernel);
        }
    }

    /// Returns when the kernel is to be asked next.
    pub(super) fn check_at(&self) -> Option<u64> {
        let is_open = !self.was_begun && !self.is_acknowledged && self.connection.requests > 0;
        let after = CHECKS.get(self.checks).filter(|_| is_open)?;
        Some(self.written_at?.saturating_add(*after))
    }

    /// Asks the kernel if it is time to.
    pub(super) fn check(&mut self, kernel: &mut Kernel, now: u64) {
        while self.check_at().is_some_and(|at| at <= now) {
            self.checks = self.checks.saturating_add(1);
            self.ask(kernel);
        }
    }

    /// Returns all that is known of the request that ended like this.
    pub(super) fn evidence(&self, ending: Ending) -> Evidence {
        Evidence {
            ending,
            is_first: self.connection.requests == 0,
            was_begun: self.was_begun,
            is_acknowledged: self.is_acknowledged,
            was_closed_before: self.was_closed_before,
        }
    }
}
