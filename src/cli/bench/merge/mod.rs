//! `--merge`: one outcome of the JSON files of several runs, or of the workers of one run.

mod field;
mod part;
mod worker;

use std::path::{Path, PathBuf};

use serde_json::Value;

use self::field::{nanos, number, text};
use super::args::BenchArgs;
use super::host::{self, Host};
use super::json::SCHEMA;
use super::limit::OpenFiles;
use super::outcome::{Context, MergedRuns, Outcome};
use super::settings::{BenchSettings, Stop, Subject};
use super::usage::Usage;
use super::value;
use crate::cli::failure::Failure;
use crate::cli::report;

/// A result of a run, and the file that it was read from.
#[derive(Debug)]
struct Run {
    path: PathBuf,
    document: Value,
}

impl Run {
    fn read(path: &Path) -> Result<Self, Failure> {
        let failed =
            |why: String| Failure::unable(format!("cannot merge {}: {why}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let document: Value =
            serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
        if document.pointer("/schema").and_then(Value::as_str) != Some(SCHEMA) {
            return Err(failed(format!("it is not a result of bench --json (schema {SCHEMA})")));
        }
        Ok(Self { path: path.to_owned(), document })
    }

    fn get(&self, place: &str) -> &Value {
        self.document.pointer(place).unwrap_or(&Value::Null)
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}

/// What the merged outcome begins with: the flags that say what to do with it.
pub(crate) fn context(args: &BenchArgs) -> Result<Context, Failure> {
    let settings = BenchSettings::new(args)?;
    let files = OpenFiles::plan(0);
    Ok(Context { settings, host: Host::look(), files, started_at: host::timestamp() })
}

/// Reads the runs and merges them.
pub(crate) fn outcome(context: &Context) -> Result<Outcome, Failure> {
    let mut context = context.clone();
    let paths = context.settings.args.merge.iter();
    let runs = paths.map(|path| Run::read(path)).collect::<Result<Vec<_>, _>>()?;
    let Some(first) = runs.first() else {
        return Err(Failure::usage("--merge: no file"));
    };
    let from = |run: &Run| run.get("/latency_from").clone();
    if let Some(other) = runs.iter().find(|run| from(run) != from(first)) {
        return Err(Failure::unable(format!(
            "cannot merge {}: its latencies do not count from the same moment as those of the \
             first file (schedule or send)",
            other.name()
        )));
    }
    let results = part::results(&runs)?;
    settings(&mut context.settings, &runs);
    context.started_at = text(first.get("/started_at")).unwrap_or(context.started_at);
    // The one that could watch the server, and stopped it.
    let watcher = runs.iter().find(|run| {
        run.get("/server/report").is_object() || run.get("/server/cpu_us_per_message").is_number()
    });
    let watcher = watcher.unwrap_or(first);
    let usage = Usage {
        cpu_us_per_message: watcher.get("/server/cpu_us_per_message").as_f64(),
        cpu_share: watcher.get("/server/cpu_share").as_f64(),
        rss_bytes_per_connection: watcher.get("/server/rss_bytes_per_connection").as_f64(),
        rss_bytes: watcher.get("/server/rss_bytes").as_u64(),
    };
    let exit_code = runs.iter().find_map(|run| run.get("/shutdown/exit_status").as_i64());
    let report = report_of(&runs);
    Ok(Outcome {
        results,
        usage,
        exit_code: exit_code.and_then(|code| i32::try_from(code).ok()),
        merged: Some(merged_runs(&runs, first, watcher, report.as_ref())),
        report,
        ..Outcome::empty(context)
    })
}

/// The sum of what the servers reported.
fn report_of(runs: &[Run]) -> Option<Value> {
    let reports = runs.iter().map(|run| run.get("/server/report"));
    let reports: Vec<Value> = reports.filter(|report| report.is_object()).cloned().collect();
    match reports.as_slice() {
        [] => None,
        [only] => Some(only.clone()),
        several => report::merge(several).ok(),
    }
}

fn merged_runs(runs: &[Run], first: &Run, watcher: &Run, report: Option<&Value>) -> MergedRuns {
    let mut server = watcher.get("/server").clone();
    if let (Some(slot), Some(report)) = (server.pointer_mut("/report"), report) {
        slot.clone_from(report);
    }
    let copied = ["/host", "/labels"].map(|place| first.get(place).clone());
    let [host, labels] = copied;
    let mut merged = MergedRuns {
        files: runs.iter().map(Run::name).collect(),
        copied: vec![("host", host), ("labels", labels), ("server", server)],
        ..MergedRuns::default()
    };
    for run in runs {
        let code = number(run.get("/outcome/exit_code"));
        let Some(code) = u8::try_from(code).ok().filter(|code| *code > 0) else { continue };
        let checks = run.get("/outcome/failed_checks").as_array();
        let said = checks.into_iter().flatten().filter_map(|check| text(check.get("text")?));
        let said: Vec<_> = said.collect();
        merged.findings.push((code, format!("{}: {}", run.name(), said.join("; "))));
    }
    worker::check(runs, &mut merged);
    merged
}

/// The plan of all runs together.
fn settings(settings: &mut BenchSettings, runs: &[Run]) {
    let Some(first) = runs.first() else { return };
    let config = |key: &str| first.get(&format!("/config/{key}"));
    let sum = |key: &str| {
        let place = format!("/config/{key}");
        runs.iter().map(|run| run.get(&place).as_f64()).sum::<Option<f64>>()
    };
    let count = |key: &str| field::whole(sum(key).unwrap_or(0.0));
    let plan = &mut settings.plan;
    plan.connections = field::size(count("connections"));
    plan.active = Some(field::size(count("active")));
    plan.threads = field::size(count("threads"));
    plan.messages = sum("messages").map(field::whole);
    (plan.rate, plan.connect_rate) = (sum("rate_per_s"), sum("connect_rate_per_s"));
    plan.churn = sum("churn_per_s").unwrap_or(0.0);
    let size = |at: &str| field::size(number(config(at)));
    plan.size = (size("size_bytes/0"), size("size_bytes/1"));
    plan.pipeline = field::size(number(config("pipeline")));
    plan.duration = nanos(config("duration_ns"));
    plan.warmup = nanos(config("warmup_ns"));
    plan.settle = nanos(config("settle_ns"));
    plan.timeout = nanos(config("timeout_ns"));
    plan.interval = nanos(config("interval_ns"));
    plan.exit_within = nanos(config("exit_within_ns"));
    plan.period = field::duration(config("period_ns"));
    plan.reconnect_after = field::duration(config("reconnect_at_ns"));
    plan.stop_after = field::duration(config("shutdown_after_ns"));
    plan.start_at = field::time(config("start_at_ns"));
    plan.stop_at = field::time(config("shutdown_at_ns"));
    plan.seed = number(config("seed"));
    plan.verify = runs.iter().all(|run| run.get("/config/verify").as_bool() != Some(false));
    plan.steps = part::ramp(runs);
    plan.keep_histograms = runs.iter().all(|run| !run.get("/worker").is_null());
    let targets = config("targets").as_array();
    let targets = targets.into_iter().flatten().filter_map(Value::as_str);
    plan.targets = targets.flat_map(part::target).collect();
    let subject = runs.iter().filter_map(|run| run.get("/config/subject").as_str());
    settings.subject = match subject.max_by_key(|subject| *subject != "unknown") {
        Some("own") => Subject::Own,
        Some("command") => Subject::Command(Vec::new()),
        _ => Subject::Unknown,
    };
    let signal = runs.iter().find_map(|run| run.get("/shutdown/signal").as_str());
    settings.stop = match signal.map(value::signal) {
        Some(Ok(signal)) => Stop::Signal(signal),
        _ => Stop::MarkOnly,
    };
}
