//! Why an audit could not be carried out.

use std::fmt;

/// What kept an audit from being carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The plan asks for something that cannot be.
    Plan,
    /// The target gave no right answer before the stop.
    NoAnswer,
    /// The server ended before it was stopped.
    Ended,
    /// The server could not be stopped as asked.
    Stop,
    /// The system refused a poll.
    System,
    /// The audit was ended from outside before there was anything to report.
    Interrupted,
}

/// An audit that could not be carried out.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

impl Error {
    pub(super) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// Returns what kept the audit from being carried out.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
