//! Writing the results: every format to its place.

use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;

use super::outcome::{Context, Outcome};
use super::settings::BenchSettings;
use super::{json, svg, table, text, verdict};
use crate::cli::destination::Destination;
use crate::cli::failure::Failure;
use crate::cli::output::{self, Patience};

/// Finds out before the run whether its results can be written.
pub(crate) fn check(settings: &BenchSettings) -> Result<(), Failure> {
    for path in settings.files() {
        Destination::open(path).map_err(|error| {
            Failure::unable(format!("cannot write {}: {error}", path.display()))
        })?;
    }
    Ok(())
}

/// Prints the first object of the line format, where that is asked for.
pub(crate) fn start(context: &Context) -> Result<(), Failure> {
    if !context.settings.args.ndjson {
        return Ok(());
    }
    print_event(Value::Object(json::start(context)), "start")
}

/// Prints the objects of the time series, where the line format is asked for.
pub(crate) fn intervals(outcome: &Outcome) -> Result<(), Failure> {
    if outcome.context.settings.args.ndjson {
        for interval in &outcome.results.intervals {
            print_event(json::interval(interval, false), "interval")?;
        }
    }
    Ok(())
}

/// Prints an object of the line format.
pub(crate) fn print_event(mut object: Value, event: &str) -> Result<(), Failure> {
    if let Some(object) = object.as_object_mut() {
        object.insert("event".to_owned(), event.into());
    }
    print(&format!("{object}\n"))
}

/// Writes everything that was asked for; returns the exit code.
pub(crate) fn all(outcome: &Outcome) -> Result<ExitCode, Failure> {
    documents(outcome)?;
    let findings = outcome.findings();
    let settings = &outcome.context.settings;
    if !settings.args.quiet {
        let report = text::report(outcome, &findings);
        if settings.is_stdout_taken() {
            let printed = output::print_on_stderr(&report);
            printed.map_err(|error| Failure::unable(format!("cannot write to stderr: {error}")))?;
        } else {
            print(&report)?;
        }
    }
    Ok(ExitCode::from(verdict::exit_code(&findings)))
}

/// Writes the files and the JSON.
pub(crate) fn documents(outcome: &Outcome) -> Result<(), Failure> {
    let args = &outcome.context.settings.args;
    let document = json::document(outcome, &outcome.findings());
    let mut failures = Vec::new();
    let mut write_to = |path: Option<&Path>, text: String| {
        if let Some(path) = path
            && let Err(failure) = write(path, &text)
        {
            failures.push(failure);
        }
    };
    write_to(args.json.as_deref(), format!("{document}\n"));
    write_to(args.csv.as_deref(), table::csv(&outcome.results.intervals));
    write_to(args.hgrm.as_deref(), table::hgrm(&outcome.results.latency));
    if args.svg.is_some() {
        let failed = |error| Failure::unable(format!("cannot draw the picture: {error}"));
        write_to(args.svg.as_deref(), svg::picture(outcome).map_err(failed)?);
    }
    if args.ndjson {
        print_event(document, "end")?;
    }
    failures.into_iter().next().map_or(Ok(()), Err)
}

/// Prints on stdout.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    output::print(text).map_err(|error| Failure::unable(format!("cannot write to stdout: {error}")))
}

/// Writes to a file or descriptor, and waits for a reader as long as it takes.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let opened = Destination::open(path);
    let written = opened.and_then(|file| file.write(text.as_bytes(), Patience::Unlimited));
    written.map_err(|error| Failure::unable(format!("cannot write {}: {error}", path.display())))
}
