//! A run's results, and the server's side of them.

use netgrace::load::Results;
use serde_json::Value;

use super::host::Host;
use super::limit::OpenFiles;
use super::settings::BenchSettings;
use super::usage::{OwnUsage, Usage};

/// Everything known before a run.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) settings: BenchSettings,
    pub(crate) host: Host,
    pub(crate) files: OpenFiles,
    pub(crate) started_at: String,
}

impl Context {
    /// The targets, shortened where there are many.
    pub(crate) fn targets(&self) -> String {
        let targets = &self.settings.plan.targets;
        match (targets.first(), targets.len()) {
            (Some(first), 1) => first.to_string(),
            (Some(first), more) => format!("{first} and {} more", more.saturating_sub(1)),
            (None, _) => "nobody".to_owned(),
        }
    }
}

/// Everything known after a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) context: Context,
    pub(crate) results: Results,
    pub(crate) usage: Usage,
    pub(crate) own_usage: OwnUsage,
    /// The exit code of a server that is our child.
    pub(crate) exit_code: Option<i32>,
    /// Whether the server's process could be watched.
    pub(crate) is_watched: bool,
    /// The server's own report of its stop.
    pub(crate) report: Option<Value>,
}

impl Outcome {
    /// The achieved part of the asked rate.
    pub(crate) fn rate_reached(&self) -> Option<f64> {
        let asked = self.context.settings.plan.rate?;
        let load = &self.results.load;
        let spent = self.context.settings.plan.messages.is_some_and(|most| load.messages >= most);
        let measured = !load.elapsed.is_zero();
        (measured && !spent).then(|| load.messages_per_second() / asked)
    }
}
