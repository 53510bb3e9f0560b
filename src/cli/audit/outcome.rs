//! All stops of one audit, and what failed of it.

use std::time::Duration;

use super::condition::Condition;
use super::server::Stop;
use crate::cli::units;
use netgrace::audit::Audit;
use netgrace::audit::Verdict;

/// Everything that is known after an audit.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) target: String,
    /// What was started, if anything was.
    pub(crate) command: Option<Vec<String>>,
    pub(crate) stop: Stop,
    pub(crate) pid: Option<i32>,
    /// The exit code of the last child that exited by itself with another code than 0, or 0.
    pub(crate) exit_code: Option<i32>,
    /// Whether the process that is stopped is known.
    pub(crate) is_watched: bool,
    pub(crate) is_restart: bool,
    pub(crate) exit_within: Duration,
    pub(crate) conditions: Vec<Condition>,
    /// How many stops were asked for.
    pub(crate) repeat: u64,
    /// How many stops there were.
    pub(crate) stops: u64,
    /// How many of them were clean.
    pub(crate) clean: u64,
    /// The sum of all stops; `None`: it did not come to one.
    pub(crate) audit: Option<Audit>,
    /// The last stop alone, for the picture.
    pub(crate) last: Option<Audit>,
    /// Checks that failed at some stop.
    pub(crate) failed_checks: Vec<String>,
    /// Why it could not be carried out.
    pub(crate) error: Option<String>,
    pub(crate) is_interrupted: bool,
}

impl Outcome {
    /// Adds a stop; `stop_failure`: what was wrong with the command that stopped the server.
    pub(crate) fn add(
        &mut self,
        audit: Audit,
        exit_code: Option<i32>,
        stop_failure: Option<String>,
    ) {
        let mut checks: Vec<String> = stop_failure.into_iter().collect();
        checks.extend(self.checks(&audit));
        if audit.is_interrupted {
            self.is_interrupted = true;
        } else {
            self.stops = self.stops.saturating_add(1);
            if checks.is_empty() && audit.verdict() == Verdict::Lossless {
                self.clean = self.clean.saturating_add(1);
            }
            for check in checks {
                if !self.failed_checks.contains(&check) {
                    self.failed_checks.push(check);
                }
            }
        }
        self.exit_code = match (self.exit_code, exit_code) {
            (Some(0) | None, Some(code)) => Some(code),
            (known, _) => known,
        };
        match &mut self.audit {
            Some(sum) => sum.merge(audit.clone()),
            None => self.audit = Some(audit.clone()),
        }
        self.last = Some(audit);
    }

    /// Returns the checks that a stop failed, beside the conditions.
    fn checks(&self, audit: &Audit) -> Vec<String> {
        let mut failed = Vec::new();
        let limit = units::format_duration(self.exit_within);
        let is_late = audit.times.exit.is_none_or(|exit| exit > self.exit_within);
        if self.is_watched && !self.is_restart && is_late {
            failed.push(format!("exit: the process did not exit within {limit}"));
        }
        if audit.came_back == Some(false) {
            failed.push(format!("restart: the server was not back within {limit}"));
        }
        if !audit.is_balanced() {
            failed.push("sums: some request is in no class, which is a bug of netgrace".to_owned());
        }
        failed
    }

    /// Returns everything that failed, checks before conditions.
    pub(crate) fn failures(&self) -> Vec<String> {
        let mut all = self.failed_checks.clone();
        if let Some(audit) = &self.audit {
            all.extend(self.conditions.iter().filter_map(|condition| condition.failure(audit)));
        }
        all
    }

    /// Returns the exit code of the program.
    pub(crate) fn exit_status(&self) -> u8 {
        if self.is_interrupted {
            130
        } else if self.error.is_some() {
            1
        } else if self.failures().is_empty() {
            0
        } else {
            4
        }
    }

    /// Returns the largest share of stops that may lose a request, at 95 % confidence, when none
    /// of so many did: the rule of three.
    pub(crate) fn bound(&self) -> Option<f64> {
        let is_clean = self.stops == self.repeat && self.clean == self.stops;
        let counts = self.repeat > 1 && is_clean && self.error.is_none() && !self.is_interrupted;
        counts.then(|| (3.0 / self.stops as f64).min(1.0))
    }
}
