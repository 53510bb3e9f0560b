//! `--merge`: the merged report of runs from several machines.

use std::path::{Path, PathBuf};

use netgrace::load::Latency;
use serde_json::{Value, json};

use super::figure;
use super::json::SCHEMA;
use super::text;
use super::value::Percentile;
use crate::cli::failure::Failure;

/// Counts that add up, by their place in the document.
const SUMS: [&str; 26] = [
    "/connect/requested",
    "/connect/established",
    "/connect/failed",
    "/connect/retried",
    "/connect/churned",
    "/load/messages",
    "/load/messages_per_s",
    "/load/message_bytes",
    "/load/bytes_per_s",
    "/load/unsent_messages",
    "/load/sent_bytes",
    "/load/returned_bytes",
    "/load/verified_bytes",
    "/load/wrong_bytes",
    "/load/missing_bytes",
    "/load/missing_in_audit_bytes",
    "/load/extra_bytes",
    "/load/foreign_bytes",
    "/errors/connect_refused",
    "/errors/connect_timeout",
    "/errors/reset",
    "/errors/eof_early",
    "/errors/timeout",
    "/errors/flood",
    "/errors/unended",
    "/config/rate_per_s",
];

/// The runs put together.
#[derive(Debug)]
pub(crate) struct Merged {
    runs: Vec<(PathBuf, Value)>,
    latency: Latency,
    service: Option<Latency>,
    /// Parts of the document that add up.
    sums: Vec<(&'static str, Option<f64>)>,
}

impl Merged {
    /// Reads the runs.
    pub(crate) fn read(paths: &[PathBuf]) -> Result<Self, Failure> {
        let mut runs = Vec::new();
        for path in paths {
            runs.push((path.clone(), read(path)?));
        }
        let from = |run: &Value| run.pointer("/latency_from").cloned();
        if let [(_, first), rest @ ..] = runs.as_slice()
            && let Some((path, _)) = rest.iter().find(|(_, run)| from(run) != from(first))
        {
            return Err(Failure::unable(format!(
                "cannot merge {}: its latencies do not count from the same moment as those of \
                 the first file (schedule or send)",
                path.display()
            )));
        }
        let mut latency = Latency::new();
        let mut service = None;
        for (path, run) in &runs {
            latency.merge(&distribution(run, "/latency_ns", path)?);
            if run.pointer("/service_ns").is_some_and(Value::is_object) {
                let part = distribution(run, "/service_ns", path)?;
                service.get_or_insert_with(Latency::new).merge(&part);
            }
        }
        let sum = |place: &'static str| {
            let parts = runs.iter().map(|(_, run)| run.pointer(place).and_then(Value::as_f64));
            (place, parts.sum::<Option<f64>>())
        };
        let sums = SUMS.into_iter().map(sum).collect();
        Ok(Self { runs, latency, service, sums })
    }

    fn sum(&self, place: &str) -> Option<f64> {
        self.sums.iter().find(|(name, _)| *name == place).and_then(|(_, sum)| *sum)
    }

    /// The exit codes of the runs: the smallest that is not 0.
    pub(crate) fn exit_code(&self) -> u8 {
        let code = |run: &Value| run.pointer("/outcome/exit_code").and_then(Value::as_u64);
        let codes = self.runs.iter().filter_map(|(_, run)| code(run)).filter(|code| *code > 0);
        codes.min().map_or(0, |code| u8::try_from(code).unwrap_or(1))
    }

    /// The longest measured time.
    fn elapsed(&self) -> u64 {
        let elapsed = |run: &Value| run.pointer("/load/elapsed_ns").and_then(Value::as_u64);
        self.runs.iter().filter_map(|(_, run)| elapsed(run)).max().unwrap_or(0)
    }

    /// The merged report.
    pub(crate) fn report(&self, list: &[Percentile]) -> String {
        let count = |place: &str| {
            self.sum(place).map_or_else(|| "?".to_owned(), |count| format!("{count:.0}"))
        };
        let rate = |place: &str| figure::quantity(self.sum(place).unwrap_or(0.0).round());
        let mut lines = vec![
            format!("netgrace bench {}  {} runs", env!("CARGO_PKG_VERSION"), self.runs.len()),
            String::new(),
        ];
        lines.push(format!(
            "Connected  {} of {}   retried {}",
            count("/connect/established"),
            count("/connect/requested"),
            count("/connect/retried")
        ));
        let asked = match self.sum("/config/rate_per_s") {
            Some(asked) => format!(" of {}/s asked", figure::quantity(asked)),
            None => String::new(),
        };
        lines.push(format!(
            "Load       {} messages in {:.2} s: {}/s{asked}, {} each way",
            count("/load/messages"),
            self.elapsed() as f64 / 1e9,
            rate("/load/messages_per_s"),
            figure::mebibytes(self.sum("/load/bytes_per_s").unwrap_or(0.0)),
        ));
        text::latency_lines(&self.latency, self.service.as_ref(), list, &mut lines);
        lines.push(format!(
            "Echo       {} bytes sent = {} verified + {} missing   wrong {}  extra {}",
            count("/load/sent_bytes"),
            count("/load/verified_bytes"),
            count("/load/missing_bytes"),
            count("/load/wrong_bytes"),
            count("/load/extra_bytes"),
        ));
        lines.push(String::new());
        for (path, run) in &self.runs {
            let code = run.pointer("/outcome/exit_code").cloned().unwrap_or(Value::Null);
            let messages = run.pointer("/load/messages_per_s").and_then(Value::as_f64);
            let rate = figure::quantity(messages.unwrap_or(0.0).round());
            lines.push(format!("           {}: {rate}/s, exit {code}", path.display()));
        }
        let code = self.exit_code();
        let verdict = if code == 0 { "PASS".to_owned() } else { format!("FAIL (exit {code})") };
        lines.push(format!("Result     {verdict}"));
        lines.join("\n") + "\n"
    }

    /// The merged document: it can be merged again.
    pub(crate) fn document(&self, list: &[Percentile]) -> Value {
        let mut document = self.runs.first().map_or(Value::Null, |(_, run)| run.clone());
        for (place, sum) in &self.sums {
            if let Some(slot) = document.pointer_mut(place) {
                *slot = match sum {
                    Some(sum) if sum.fract() == 0.0 => json!(super::json::whole(*sum)),
                    other => json!(other),
                };
            }
        }
        let service = self.service.as_ref();
        let code = self.exit_code();
        let parts = [
            ("/load/elapsed_ns", json!(self.elapsed())),
            ("/latency_ns", super::json::latency(&self.latency, list)),
            ("/service_ns", service.map_or(Value::Null, |all| super::json::latency(all, list))),
            ("/outcome/exit_code", json!(code)),
            ("/outcome/pass", json!(code == 0)),
            ("/intervals", json!([])),
        ];
        for (place, value) in parts {
            if let Some(slot) = document.pointer_mut(place) {
                *slot = value;
            }
        }
        document
    }
}

fn read(path: &Path) -> Result<Value, Failure> {
    let failed = |why: String| Failure::unable(format!("cannot merge {}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let run: Value = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
    match run.pointer("/schema").and_then(Value::as_str) {
        Some(SCHEMA) => Ok(run),
        _ => Err(failed(format!("it is not a result of bench --json (schema {SCHEMA})"))),
    }
}

fn distribution(run: &Value, place: &str, path: &Path) -> Result<Latency, Failure> {
    let mut latency = Latency::new();
    let buckets = run.pointer(&format!("{place}/histogram")).and_then(Value::as_array);
    for bucket in buckets.into_iter().flatten() {
        let number = |at: usize| bucket.get(at).and_then(Value::as_u64);
        let (Some(nanos), Some(count)) = (number(0), number(1)) else {
            let why = format!("cannot merge {}: a bucket is not [ns, count]", path.display());
            return Err(Failure::unable(why));
        };
        latency.record_n(nanos, count);
    }
    Ok(latency)
}
