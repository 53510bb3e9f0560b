//! The open-file limit, and how many connections fit below it.

use crate::cli::units::{self, UnitError};

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
