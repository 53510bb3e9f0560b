//! Writing to stdout and stderr without ever panicking over them.

use std::io::{self, Write};

/// Writes text that was asked for to stdout.
///
/// # Errors
///
/// When stdout is full or gone. A reader who left early has what he wanted: that is no error.
pub(crate) fn to_stdout(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Writes a message to stderr. When stderr is gone there is nobody left to tell, so a failure is
/// of no consequence.
pub(crate) fn to_stderr(text: &str) {
    let mut stderr = io::stderr().lock();
    if stderr.write_all(text.as_bytes()).is_err() {}
}
