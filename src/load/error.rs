//! Why a load run could not start.

use std::{error, fmt, io};

/// What kept a load run from starting; the end of one connection is data in [`Results`],
/// never an `Error`.
///
/// [`Results`]: super::Results
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    what: String,
    source: Option<io::Error>,
}

/// The kinds of [`Error`].
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// A value in the plan, a target or a source is out of range or cannot be read.
    Plan,
    /// The system refused a poll, a waker or a thread.
    System,
}

impl Error {
    pub(super) fn plan(what: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Plan, what: what.into(), source: None }
    }

    pub(super) fn system(what: impl Into<String>, source: io::Error) -> Self {
        Self { kind: ErrorKind::System, what: what.into(), source: Some(source) }
    }

    /// Which kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => write!(f, "{}: {source}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match (&error.source, error.kind) {
            (Some(source), _) => source.kind(),
            (None, _) => io::ErrorKind::InvalidInput,
        };
        Self::new(kind, error)
    }
}
