//! The reason why the program ends without having done its work.

use std::fmt;

/// One line for stderr and the exit code that goes with it.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: u8,
    message: String,
}

impl Failure {
    /// The command line is wrong: exit code 2.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { exit: 2, message: message.into() }
    }

    /// The work could not be done: exit code 1.
    pub(crate) fn unable(message: impl Into<String>) -> Self {
        Self { exit: 1, message: message.into() }
    }

    /// A signal ended it before it was done: exit code 130.
    pub(crate) fn interrupted(message: impl Into<String>) -> Self {
        Self { exit: 130, message: message.into() }
    }

    /// Returns the exit code of the process.
    pub(crate) fn exit(&self) -> u8 {
        self.exit
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
