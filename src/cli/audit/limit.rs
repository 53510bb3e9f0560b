//! The limit of open files, as far as the clients need it.

use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::getrlimit;
use rustix::process::setrlimit;

use crate::cli::failure::Failure;

/// Files that the program needs besides its connections.
const OWN_FILES: u64 = 64;

/// Raises the limit if so many clients need more than there is.
///
/// # Errors
///
/// When the hard limit does not allow it.
pub(crate) fn allow(clients: usize) -> Result<(), Failure> {
    let needed = u64::try_from(clients).unwrap_or(u64::MAX).saturating_add(OWN_FILES);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let allows = |limit: Option<u64>| limit.is_none_or(|limit| limit >= needed);
    if allows(current) {
        return Ok(());
    }
    let raised = Rlimit { current: Some(needed), maximum };
    if allows(maximum) && setrlimit(Resource::Nofile, raised).is_ok() {
        return Ok(());
    }
    Err(Failure::unable(format!(
        "{clients} clients need {needed} open files; the hard limit of this process is lower; \
         raise it (ulimit -Hn) or ask for fewer --clients"
    )))
}
