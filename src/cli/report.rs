//! `netgrace report --merge`: the reports of several servers as one.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value};

use crate::cli::failure::Failure;
use crate::cli::output;

const SCHEMA: &str = "netgrace-report/1";

/// Grades, the least first.
const GRADES: [&str; 4] = ["lossy", "lossless", "confirmed", "complete"];

/// Times of servers that ran side by side: the longest counts.
const TIMES: [&str; 5] = ["uptime_ns", "stop_ns", "lame_duck_ns", "draining_ns", "forcing_ns"];

/// The flags of `netgrace report`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ReportArgs {
    /// The files of `serve --report`, each with one report or several; '-': stdin
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    pub(crate) merge: Vec<PathBuf>,
}

/// Prints the merged report; returns its exit code.
pub(crate) fn run(args: &ReportArgs) -> Result<ExitCode, Failure> {
    let mut reports = Vec::new();
    for path in &args.merge {
        let failed =
            |why: String| Failure::unable(format!("cannot merge {}: {why}", path.display()));
        let text = read(path).map_err(|error| failed(error.to_string()))?;
        let before = reports.len();
        for report in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
            let report = report.map_err(|error| failed(error.to_string()))?;
            check(&report).map_err(failed)?;
            reports.push(report);
        }
        if reports.len() == before {
            return Err(failed("it is empty".to_owned()));
        }
    }
    let merged = merge(&reports).map_err(Failure::unable)?;
    let printed = output::print(&format!("{merged}\n"));
    printed.map_err(|error| Failure::unable(format!("cannot write to stdout: {error}")))?;
    let code = merged.get("exit_code").and_then(Value::as_u64).unwrap_or(1);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

fn read(path: &Path) -> io::Result<String> {
    if path.as_os_str() != "-" {
        return std::fs::read_to_string(path);
    }
    let mut text = String::new();
    io::stdin().lock().read_to_string(&mut text)?;
    Ok(text)
}

/// Checks that it is the report of a server that has stopped.
fn check(report: &Value) -> Result<(), String> {
    if report.get("schema").and_then(Value::as_str) != Some(SCHEMA) {
        return Err(format!("it is not a report of netgrace serve (schema {SCHEMA})"));
    }
    match report.get("grade").and_then(Value::as_str) {
        Some(grade) if GRADES.contains(&grade) => Ok(()),
        _ => Err("it has no grade: the server had not stopped".to_owned()),
    }
}

/// Adds the reports of servers that have stopped.
///
/// # Errors
///
/// If one of them is no such report, or there is none.
pub(crate) fn merge(reports: &[Value]) -> Result<Value, String> {
    reports.iter().try_for_each(check)?;
    let [first, rest @ ..] = reports else {
        return Err("there is no report to merge".to_owned());
    };
    let mut merged = first.clone();
    for report in rest {
        add(&mut merged, report, "");
    }
    if let Some(object) = merged.as_object_mut() {
        object.insert("reports".to_owned(), reports.len().into());
    }
    Ok(merged)
}

/// Adds `other` to `sum`. A value that is unknown in one of them is unknown in the sum.
fn add(sum: &mut Value, other: &Value, name: &str) {
    match (&mut *sum, other) {
        (Value::Object(ours), Value::Object(theirs)) => add_members(ours, theirs),
        _ if name == "cause" => add_cause(sum, other),
        _ if name == "exit_code" => *sum = worse_code(sum, other),
        (Value::String(ours), Value::String(theirs)) if name == "grade" => {
            let rank = |grade: &str| GRADES.iter().position(|known| *known == grade);
            if rank(theirs) < rank(ours) {
                ours.clone_from(theirs);
            }
        }
        (Value::Number(ours), Value::Number(theirs)) => {
            let (ours, theirs) = (ours.as_u64(), theirs.as_u64());
            let both = ours.zip(theirs);
            let both = both.map(|(ours, theirs)| match TIMES.contains(&name) {
                true => ours.max(theirs),
                false => ours.saturating_add(theirs),
            });
            *sum = both.map_or(Value::Null, Value::from);
        }
        (Value::Bool(ours), Value::Bool(theirs)) => *ours &= *theirs,
        (ours, theirs) if ours == theirs => {}
        _ => *sum = Value::Null,
    }
}

fn add_members(ours: &mut Map<String, Value>, theirs: &Map<String, Value>) {
    for (name, value) in ours.iter_mut() {
        add(value, theirs.get(name).unwrap_or(&Value::Null), name);
    }
    for name in theirs.keys() {
        // A report of another version may have keys that this one lacks.
        if !ours.contains_key(name) {
            ours.insert(name.clone(), Value::Null);
        }
    }
}

/// Joins the causes, each named once.
fn add_cause(sum: &mut Value, other: &Value) {
    let Some(theirs) = other.as_str() else { return };
    let joined = match sum.as_str() {
        Some(ours) if ours.split(", ").any(|cause| cause == theirs) => return,
        Some(ours) => format!("{ours}, {theirs}"),
        None => theirs.to_owned(),
    };
    *sum = joined.into();
}

/// The smallest exit code that is not 0.
fn worse_code(ours: &Value, theirs: &Value) -> Value {
    let codes = [ours, theirs].into_iter().filter_map(Value::as_u64);
    codes.filter(|code| *code > 0).min().unwrap_or(0).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report(grade: &str, code: u64, read: u64, left: Value) -> Value {
        json!({
            "schema": SCHEMA, "grade": grade, "exit_code": code, "cause": "SIGTERM",
            "uptime_ns": read, "stop_ns": 5, "gated": true, "requests": null,
            "connections": {"accepted": 2, "backlog_left": left}, "bytes": {"read": read},
        })
    }

    #[test]
    fn counts_add_up_and_the_least_grade_counts() {
        let parts = [report("complete", 0, 10, json!(0)), report("lossy", 3, 32, json!(1))];
        let mut other = report("confirmed", 0, 0, Value::Null);
        other["cause"] = json!("SIGINT");
        other["gated"] = json!(false);
        let merged = merge(&parts).unwrap();
        assert_eq!(merged["bytes"]["read"], 42);
        assert_eq!(merged["connections"], json!({"accepted": 4, "backlog_left": 1}));
        assert_eq!((&merged["grade"], &merged["exit_code"]), (&json!("lossy"), &json!(3)));
        assert_eq!((&merged["uptime_ns"], &merged["reports"]), (&json!(32), &json!(2)));
        let merged = merge(&[parts[0].clone(), other]).unwrap();
        assert_eq!((&merged["grade"], &merged["exit_code"]), (&json!("confirmed"), &json!(0)));
        assert_eq!(merged["connections"]["backlog_left"], Value::Null, "unknown is null");
        assert_eq!(
            (&merged["cause"], &merged["gated"]),
            (&json!("SIGTERM, SIGINT"), &json!(false))
        );
        assert_eq!(merged["requests"], Value::Null);
    }

    #[test]
    fn what_is_no_report_of_a_stop_is_refused() {
        let mut live = report("lossless", 0, 1, json!(0));
        live["grade"] = Value::Null;
        assert!(merge(&[live]).unwrap_err().contains("had not stopped"));
        assert!(merge(&[json!({})]).is_err() && merge(&[]).is_err());
    }
}
