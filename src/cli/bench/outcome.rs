//! A run's results, and the server's side of them.

use std::time::Duration;

use netgrace::load::Results;
use serde_json::Value;

use super::host::Host;
use super::limit::OpenFiles;
use super::settings::BenchSettings;
use super::usage::{OwnUsage, Usage};

/// Everything known before a run.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) settings: BenchSettings,
    pub(crate) host: Host,
    pub(crate) files: OpenFiles,
    pub(crate) started_at: String,
}

impl Outcome {
    /// Of a run that could not be made.
    pub(crate) fn failed(context: Context, code: u8, why: String) -> Self {
        Self { failure: Some((code, why)), ..Self::empty(context) }
    }

    /// Nothing is known yet.
    pub(crate) fn empty(context: Context) -> Self {
        Self {
            context,
            results: Results::default(),
            usage: Usage::default(),
            own_usage: OwnUsage::default(),
            exit_code: None,
            is_watched: false,
            report: None,
            is_wrapped: false,
            stop_failure: None,
            failure: None,
            merged: None,
        }
    }
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
    /// The process that was told to stop is gone, and the target still accepts connections.
    pub(crate) is_wrapped: bool,
    /// How the command that was to stop the server failed.
    pub(crate) stop_failure: Option<String>,
    /// Why the run could not be made, if so, and the exit code for that.
    pub(crate) failure: Option<(u8, String)>,
    /// What the runs are that this outcome was merged from.
    pub(crate) merged: Option<MergedRuns>,
}

/// The runs that were merged.
#[derive(Clone, Debug, Default)]
pub(crate) struct MergedRuns {
    pub(crate) files: Vec<String>,
    /// How many workers there should be, and the numbers of those that are there.
    pub(crate) workers: Option<(u64, Vec<u64>)>,
    /// How far apart the first and the last worker began to measure, and took their marks.
    pub(crate) skew: Option<Duration>,
    pub(crate) mark_skew: Option<Duration>,
    /// Why the run is not complete.
    pub(crate) incomplete: Vec<String>,
    /// What the runs themselves found, by file.
    pub(crate) findings: Vec<(u8, String)>,
    /// Parts of the document that are copied as they are.
    pub(crate) copied: Vec<(&'static str, Value)>,
}

impl Outcome {
    /// The achieved part of the asked rate.
    pub(crate) fn rate_reached(&self) -> Option<f64> {
        let plan = &self.context.settings.plan;
        let load = &self.results.load;
        let active = |connections: u64| {
            let connections = usize::try_from(connections).unwrap_or(usize::MAX);
            plan.active_connections().min(connections)
        };
        let due = |connections: u64, elapsed: Duration| {
            Some(plan.rate_of(active(connections))? * elapsed.as_secs_f64())
        };
        let (due, done) = if self.results.steps.is_empty() {
            (due(u64::MAX, load.elapsed)?, load.messages)
        } else {
            let steps = &self.results.steps;
            let due =
                steps.iter().map(|step| due(step.requested, step.elapsed)).sum::<Option<f64>>();
            (due?, steps.iter().map(|step| step.messages).sum())
        };
        let spent = plan.messages.is_some_and(|most| load.messages >= most);
        // A schedule is made of whole messages: one more or less is as asked.
        let is_reached = (done as f64 - due).abs() < 1.0;
        let reached = if is_reached { 1.0 } else { done as f64 / due };
        (due > 0.0 && !spent).then_some(reached)
    }
}
