//! The errors that a caller can act on: everything that can fail before a server runs.
//!
//! After `register` a server has no error path. How a connection ended is data
//! ([`CloseReason`](crate::CloseReason)), never an [`Error`].

use std::error::Error as StdError;
use std::fmt;
use std::io;

/// What was attempted when an [`Error`] arose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Creating, binding, listening on or adopting a socket.
    Bind,
    /// A value of [`Config`](crate::Config) or of a load plan that is outside its range.
    Config,
    /// Creating a poll, its waker or the thread that is to run it.
    Poll,
    /// Registering with a poll, or a call that must come before or after it.
    Register,
    /// Installing the signal handlers.
    Signal,
    /// A [`TokenRange`](crate::TokenRange) that is too small.
    TokenRange,
}

/// An error of the set-up: what was attempted, on what, and why it failed.
///
/// Its `Display` form is one line. [`io_error`](Self::io_error) is the error of the operating
/// system where there is one.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    attempt: String,
    source: Option<io::Error>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, attempt: impl Into<String>) -> Self {
        Self { kind, attempt: attempt.into(), source: None }
    }

    pub(crate) fn io(kind: ErrorKind, attempt: impl Into<String>, source: io::Error) -> Self {
        Self { kind, attempt: attempt.into(), source: Some(source) }
    }

    /// Returns what was attempted.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns the error of the operating system; `None` if no system call failed.
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use netgrace::{Config, Server};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let error = Server::bind(taken.local_addr()?, Config::new()).unwrap_err();
    /// assert_eq!(error.io_error().map(|error| error.kind()), Some(ErrorKind::AddrInUse));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn io_error(&self) -> Option<&io::Error> {
        self.source.as_ref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => write!(f, "{}: {source}", self.attempt),
            None => f.write_str(&self.attempt),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|source| source as &(dyn StdError + 'static))
    }
}

impl From<Error> for io::Error {
    /// Keeps the kind of the system's error; without one the kind is `InvalidInput`.
    fn from(error: Error) -> Self {
        let kind = error.source.as_ref().map_or(io::ErrorKind::InvalidInput, Self::kind);
        Self::new(kind, error)
    }
}
