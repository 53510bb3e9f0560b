//! The open-file limit as far as a load needs it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::cli::failure::Failure;

/// Files that the program needs besides its connections.
const OWN_FILES: u64 = 64;

/// The open-file limit before and after it was raised; `None` is unlimited.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenFiles {
    pub(crate) before: Option<u64>,
    pub(crate) after: Option<u64>,
    pub(crate) hard: Option<u64>,
    pub(crate) needed: u64,
}

impl OpenFiles {
    /// What so many connections take, with the limit raised to the hard one if need be.
    pub(crate) fn plan(connections: usize) -> Self {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let connections = u64::try_from(connections).unwrap_or(u64::MAX);
        let needed = connections.saturating_add(OWN_FILES);
        let after = if allows(current, needed) { current } else { maximum };
        Self { before: current, after, hard: maximum, needed }
    }

    /// Raises the limit.
    ///
    /// # Errors
    ///
    /// When the hard limit is too low, with the three ways to raise it.
    pub(crate) fn apply(self) -> Result<(), Failure> {
        let set = self.before == self.after
            || setrlimit(Resource::Nofile, Rlimit { current: self.after, maximum: self.hard })
                .is_ok();
        Self { after: if set { self.after } else { self.before }, ..self }.check()
    }

    /// Whether the limit suffices.
    ///
    /// # Errors
    ///
    /// When it does not, with the three ways to raise it.
    pub(crate) fn check(self) -> Result<(), Failure> {
        let needed = self.needed;
        if allows(self.after, needed) {
            return Ok(());
        }
        let have = self.after.unwrap_or(u64::MAX);
        let (wanted, room) = (needed.saturating_sub(OWN_FILES), have.saturating_sub(OWN_FILES));
        Err(Failure::unable(format!(
            "{wanted} connections need {needed} open files; this process may have {have} (hard \
             limit)\n  raise: sudo prlimit --nofile={needed} --pid $$ | LimitNOFILE={needed} \
             (systemd) | --ulimit nofile={needed} (docker)\n  or ask for less: -c {room}"
        )))
    }
}

fn allows(limit: Option<u64>, needed: u64) -> bool {
    limit.is_none_or(|limit| limit >= needed)
}
