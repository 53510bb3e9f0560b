//! The open-file limit as far as a load needs it.

use crate::cli::failure::Failure;
use crate::cli::limits::{self, ways_to_raise};

/// Files that the program needs besides its connections.
const OWN_FILES: u64 = 64;

/// The open-file limit of this process, and what the load needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenFiles {
    pub(crate) limit: limits::OpenFiles,
    pub(crate) needed: u64,
}

impl OpenFiles {
    /// Returns what so many connections need, with the limit raised to the hard one if necessary.
    pub(crate) fn plan(connections: usize) -> Self {
        let connections = u64::try_from(connections).unwrap_or(u64::MAX);
        let needed = connections.saturating_add(OWN_FILES);
        Self { limit: limits::OpenFiles::plan_for(needed), needed }
    }

    /// Raises the limit.
    ///
    /// # Errors
    ///
    /// If the hard limit is too low, with the ways to raise it.
    pub(crate) fn apply(self) -> Result<(), Failure> {
        Self { limit: self.limit.apply()?, ..self }.check()
    }

    /// Checks that the limit suffices.
    ///
    /// # Errors
    ///
    /// If it does not, with the ways to raise it.
    pub(crate) fn check(self) -> Result<(), Failure> {
        let needed = self.needed;
        if self.limit.allows(needed) {
            return Ok(());
        }
        let have = self.limit.soft.unwrap_or(u64::MAX);
        let (wanted, room) = (needed.saturating_sub(OWN_FILES), have.saturating_sub(OWN_FILES));
        let ways = ways_to_raise(needed);
        Err(Failure::unable(format!(
            "{wanted} connections need {needed} open files; this process may have {have} (hard \
             limit)\n  raise it: {ways}\n  or ask for less: -c {room}"
        )))
    }
}
