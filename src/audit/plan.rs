//! What an audit is to do.

use std::time::Duration;

use super::kind::Kind;
use super::target::Protocol;
use super::target::Target;
use super::target::check_path;

/// The most clients of one kind.
pub const CLIENTS_MAX: usize = 100_000;

/// What an audit is to do.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Plan {
    /// Whom the clients talk to.
    pub target: Target,
    /// How many clients there are of each kind; no entry, or 0: none.
    pub clients: Vec<(Kind, usize)>,
    /// Time between two requests of an idle client.
    pub think: Duration,
    /// What slow clients ask for; `None`: the target's path.
    pub slow_path: Option<String>,
    /// Load before the stop.
    pub warmup: Duration,
    /// Patience without a byte.
    pub settle: Duration,
    /// How long the server may take to exit, or with `restart` to come back.
    pub exit_within: Duration,
    /// The server is expected to come back: refused clients try again.
    pub restart: bool,
    /// Seed of the requests of `line` and `echo`.
    pub seed: u64,
}

impl Plan {
    /// Returns a plan with the defaults of the command line.
    #[must_use]
    pub fn new(target: Target) -> Self {
        let clients = [10, 10, 10, 4, 4, 20];
        Self {
            target,
            clients: Kind::ALL.into_iter().zip(clients).collect(),
            think: Duration::from_millis(100),
            slow_path: None,
            warmup: Duration::from_secs(1),
            settle: Duration::from_secs(3),
            exit_within: Duration::from_secs(10),
            restart: false,
            seed: 1,
        }
    }

    /// Returns how many clients of a kind there are.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        let of_kind = self.clients.iter().filter(|(other, _)| *other == kind);
        of_kind.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Checks that the plan can be carried out.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong.
    pub fn check(&self) -> Result<(), String> {
        if Kind::ALL.into_iter().all(|kind| self.count(kind) == 0) {
            return Err("there are no clients: at least one kind needs one".to_owned());
        }
        if let Some(kind) = Kind::ALL.into_iter().find(|kind| self.count(*kind) > CLIENTS_MAX) {
            return Err(format!("there are more than {CLIENTS_MAX} clients of the kind {kind}"));
        }
        if let Some(path) = &self.slow_path {
            if self.target.protocol() != Protocol::Http {
                return Err("only http:// targets have a path for slow clients".to_owned());
            }
            check_path(path).map_err(|why| format!("the path for slow clients {why}"))?;
        }
        if self.settle.is_zero() {
            return Err("the settle time must be longer than zero".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_a_plan_and_nobody_is_none() {
        let mut plan = Plan::new(Target::parse("http://127.0.0.1:1/").unwrap());
        assert_eq!(plan.check(), Ok(()));
        assert_eq!(plan.count(Kind::Queued), 20);
        plan.slow_path = Some("no".to_owned());
        assert!(plan.check().is_err());
        plan.clients = vec![(Kind::New, 0)];
        assert!(plan.check().is_err());
    }
}
