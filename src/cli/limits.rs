//! The open-file limit, and how many connections fit below it.

use std::fmt;
use std::fs;

use rustix::fs::{Dir, Mode, OFlags, open};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::cli::failure::Failure;
use crate::cli::units::{self, UnitError};

/// What the process opens for itself besides its listeners once the limit is read: the poll, the
/// waker, the report and the file that it replaces, a pipe to move pages.
const OWN_FILES: u64 = 6;

/// Kept free on top when the number of connections is ours to choose: 128 for the pipes of
/// streams, 64 for --admin, the rest for the resolver, a debugger, a descriptor that was inherited
/// by mistake. A small limit gives a quarter at most.
const MARGIN: u64 = 256;

/// What `--nofile` asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Nofile {
    /// Leave the limit alone.
    Keep,
    /// Raise the soft limit to the hard one.
    Max,
    /// Set the soft limit to this.
    Exactly(u64),
}

/// Parses a `--nofile` value.
pub(crate) fn nofile(text: &str) -> Result<Nofile, UnitError> {
    match text {
        "keep" => Ok(Nofile::Keep),
        "max" => Ok(Nofile::Max),
        _ => units::positive_count(text).map(Nofile::Exactly),
    }
}

/// The limit of open files of this process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct OpenFiles {
    /// The soft limit as it was found; `None` is unlimited, here and below.
    pub(crate) before: Option<u64>,
    /// The soft limit as it is to be.
    pub(crate) soft: Option<u64>,
    /// What the soft limit can be raised to.
    pub(crate) hard: Option<u64>,
    /// Whether a soft limit that the system refuses is an error.
    is_required: bool,
}

impl OpenFiles {
    /// Returns the limit that `--nofile` leads to, and changes nothing.
    ///
    /// # Errors
    ///
    /// If the number is above the hard limit.
    pub(crate) fn plan(nofile: Nofile) -> Result<Self, Failure> {
        let Rlimit { current: before, maximum: hard } = getrlimit(Resource::Nofile);
        let soft = match nofile {
            Nofile::Keep => before,
            Nofile::Max => hard,
            Nofile::Exactly(limit) => Some(limit),
        };
        if is_above(soft, hard) {
            return Err(Failure::unable(format!(
                "cannot set the open-file limit to {}: the hard limit is {}; raise that: {}; or \
                 use --nofile max",
                limit(soft),
                limit(hard),
                ways_to_raise(soft.unwrap_or(u64::MAX)),
            )));
        }
        let is_required = matches!(nofile, Nofile::Exactly(_));
        Ok(Self { before, soft, hard, is_required })
    }

    /// Returns the limit with the soft one raised to the hard one if `needed` is above it.
    pub(crate) fn plan_for(needed: u64) -> Self {
        let Rlimit { current: before, maximum: hard } = getrlimit(Resource::Nofile);
        let soft = if is_above(Some(needed), before) { hard } else { before };
        Self { before, soft, hard, is_required: false }
    }

    /// Sets the planned limit for this process, and returns the limit that is then in force.
    ///
    /// # Errors
    ///
    /// If the system refuses a limit that was given by number.
    pub(crate) fn apply(self) -> Result<Self, Failure> {
        if self.soft == self.before {
            return Ok(self);
        }
        match setrlimit(Resource::Nofile, Rlimit { current: self.soft, maximum: self.hard }) {
            Ok(()) => Ok(self),
            Err(error) if self.is_required => Err(Failure::unable(format!(
                "cannot set the open-file limit to {}: {error}; use --nofile keep",
                limit(self.soft)
            ))),
            // Some systems report no hard limit and still refuse to go above a limit of their own.
            Err(_) => Ok(Self { soft: self.before, ..self }),
        }
    }

    /// Whether this process may open `needed` files.
    pub(crate) fn allows(self, needed: u64) -> bool {
        !is_above(Some(needed), self.soft)
    }

    /// The hard limit, in words.
    pub(crate) fn hard(self) -> String {
        limit(self.hard)
    }

    /// Returns how many connections may be open at once: `wanted`, or as many as fit. `None`: no
    /// limit.
    ///
    /// # Errors
    ///
    /// If `wanted` does not fit below the limit, or not even one connection does.
    pub(crate) fn connections(
        self,
        wanted: Option<u64>,
        listeners: u64,
    ) -> Result<Option<u64>, Failure> {
        let own = open_now().saturating_add(listeners).saturating_add(OWN_FILES);
        self.fit(wanted, own)
    }

    fn fit(self, wanted: Option<u64>, own: u64) -> Result<Option<u64>, Failure> {
        let Some(soft) = self.soft else {
            return Ok(wanted);
        };
        let room = soft.saturating_sub(own);
        let margin = MARGIN.min(soft / 4);
        match wanted {
            Some(wanted) if wanted <= room => Ok(Some(wanted)),
            None if room > margin => Ok(Some(room.saturating_sub(margin))),
            _ => Err(self.too_small(wanted, own, room)),
        }
    }

    fn too_small(self, wanted: Option<u64>, own: u64, room: u64) -> Failure {
        let needed = own.saturating_add(wanted.unwrap_or(1).max(1));
        let lower = if room > 0 && wanted.is_some() {
            format!("lower --max-conns to {room}, or ")
        } else {
            String::new()
        };
        let raise = if is_above(Some(needed), self.hard) {
            let ways = ways_to_raise(needed);
            format!("raise the hard limit ({}) to {needed} or more: {ways}", limit(self.hard))
        } else {
            format!("raise it with --nofile max or --nofile {needed}")
        };
        Failure::unable(format!(
            "cannot hold {} connections: the open-file limit is {} and the process itself needs \
             {own}; {lower}{raise}",
            wanted.map_or_else(|| "any".to_owned(), |wanted| wanted.to_string()),
            limit(self.soft),
        ))
    }
}

/// `1024 -> 20000`, or one number when nothing changes.
impl fmt::Display for OpenFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.before != self.soft {
            write!(f, "{} -> ", limit(self.before))?;
        }
        f.write_str(&limit(self.soft))
    }
}

/// Returns the ways to raise the hard limit, as a part of a sentence.
pub(crate) fn ways_to_raise(needed: u64) -> String {
    format!(
        "sudo prlimit --nofile={needed} --pid $$ in a shell, LimitNOFILE={needed} in a service \
         unit, --ulimit nofile={needed} for a container"
    )
}

fn limit(limit: Option<u64>) -> String {
    limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string())
}

fn is_above(a: Option<u64>, b: Option<u64>) -> bool {
    a.unwrap_or(u64::MAX) > b.unwrap_or(u64::MAX)
}

/// Returns the number of open descriptors; where it is unknown, a usual one.
pub(crate) fn open_now() -> u64 {
    // Not `fs::read_dir`, which panics if its close fails.
    let list =
        |path: &str| Dir::new(open(path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?);
    let Ok(listing) = list("/proc/self/fd").or_else(|_| list("/dev/fd")) else {
        return 8;
    };
    // Among them are the directory, its parent and the listing itself.
    u64::try_from(listing.count().saturating_sub(3)).unwrap_or(u64::MAX)
}

/// Returns the longest accept queue that the system allows, if it is known.
pub(crate) fn somaxconn() -> Option<u32> {
    fs::read_to_string("/proc/sys/net/core/somaxconn").ok()?.trim().parse().ok()
}

/// Returns the resident memory of this process, if it is known.
pub(crate) fn resident_bytes() -> Option<u64> {
    let pages = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = pages.split_ascii_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(u64::try_from(rustix::param::page_size()).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(soft: u64, hard: u64) -> OpenFiles {
        OpenFiles { before: Some(soft), soft: Some(soft), hard: Some(hard), is_required: false }
    }

    #[track_caller]
    fn refused(fit: Result<Option<u64>, Failure>, parts: &[&str]) {
        let failure = fit.expect_err("should not fit");
        assert_eq!(failure.exit(), 1);
        let message = failure.to_string();
        for part in parts {
            assert!(message.contains(part), "{message:?} does not say {part:?}");
        }
    }

    #[test]
    fn connections_leave_room_for_the_process() {
        assert_eq!(files(20_000, 20_000).fit(None, 12).unwrap(), Some(19_732));
        assert_eq!(files(64, 64).fit(None, 12).unwrap(), Some(36));
        assert_eq!(files(32, 32).fit(None, 12).unwrap(), Some(12));
        assert_eq!(files(64, 64).fit(Some(52), 12).unwrap(), Some(52));
        let unlimited = OpenFiles { before: None, soft: None, hard: None, is_required: false };
        assert_eq!(unlimited.fit(None, 12).unwrap(), None);
        assert_eq!(unlimited.fit(Some(7), 12).unwrap(), Some(7));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_way_out() {
        refused(files(64, 64).fit(Some(53), 12), &["hold 53", "limit is 64", "needs 12"]);
        refused(files(64, 64).fit(Some(53), 12), &["--max-conns to 52", "hard limit (64) to 65"]);
        refused(files(64, 4096).fit(Some(100), 12), &["--nofile max or --nofile 112"]);
        refused(files(12, 12).fit(None, 12), &["hold any connections", "to 13 or more"]);
        refused(files(20, 20).fit(Some(u64::MAX), u64::MAX), &["hold 18446744073709551615"]);
    }

    #[test]
    fn the_log_shows_the_change() {
        assert_eq!(files(64, 4096).to_string(), "64");
        let raised = OpenFiles { before: Some(1024), ..files(20_000, 20_000) };
        assert_eq!(raised.to_string(), "1024 -> 20000");
    }

    #[test]
    fn the_process_has_files_open() {
        let here = open_now();
        let file = fs::File::open("/proc/self/status");
        assert!(here >= 3 && (file.is_err() || open_now() > 3));
    }
}
