//! `netgrace bench`: the load generator's command line.

mod args;
mod chart;
mod check;
mod figure;
mod host;
mod json;
mod limit;
mod merge;
mod outcome;
mod progress;
mod server;
mod setting;
mod svg;
mod table;
mod text;
mod usage;
mod value;
mod watch;

use std::process::ExitCode;

use serde_json::Value;

pub(crate) use self::args::BenchArgs;
use self::{
    host::Host,
    limit::OpenFiles,
    merge::Joint,
    outcome::{Complaint, Outcome},
    progress::Display,
    server::Server,
    setting::{Setting, Subject},
    usage::{OwnUsage, Sample, Usage},
    watch::Watch,
};
use crate::cli::destination::{Destination, is_stdout};
use crate::cli::failure::Failure;
use crate::cli::output::{self, Patience};
use netgrace::load::{self, Results, Target};

/// Runs the load generator.
pub(crate) fn run(args: &BenchArgs) -> Result<ExitCode, Failure> {
    if !args.merge.is_empty() {
        return merge(args);
    }
    let mut setting = Setting::new(args)?;
    let files = OpenFiles::plan(setting.plan.connections);
    if args.dry_run {
        put(&setting.describe(&files, &Host::look()))?;
        return files.check().map(|()| ExitCode::SUCCESS);
    }
    claim(&setting)?;
    files.apply()?;
    let interrupted = watch::interruption()?;
    let mut server = start(&mut setting)?;
    let idle = server.pid().and_then(Sample::take);
    let mut outcome = Outcome {
        setting,
        results: Results::default(),
        usage: Usage::default(),
        own_usage: OwnUsage::default(),
        host: Host::look(),
        files,
        started_at: host::timestamp(),
        exit_code: None,
        is_watched: server.pid().is_some(),
        report: None,
    };
    if args.ndjson {
        let mut start = json::start(&outcome);
        start.insert("event".to_owned(), "start".into());
        put(&format!("{}\n", Value::Object(start)))?;
    }
    let mut watch = Watch {
        server: &mut server,
        display: Display::new(!args.quiet && !args.no_progress),
        signal: args.signal.signal,
        interrupted,
        ndjson: args.ndjson,
        begin: [None; 2],
        end: [None; 2],
    };
    let results = load::run(outcome.setting.plan.clone(), &mut watch);
    watch.display.finish();
    let ([begin, own_begin], [end, own_end]) = (watch.begin, watch.end);
    outcome.results = results.map_err(|error| Failure::unable(error.to_string()))?;
    outcome.usage = Usage::between(idle, begin, end, &outcome.results);
    outcome.own_usage = OwnUsage::between(own_begin, own_end, &outcome.results);
    server.end();
    outcome.exit_code = server.exit_code();
    outcome.report = server.report();
    let complaints = outcome.complaints();
    publish(&outcome, &complaints)?;
    Ok(ExitCode::from(Outcome::exit_code(&complaints)))
}

/// Prints the joint report of earlier runs.
fn merge(args: &BenchArgs) -> Result<ExitCode, Failure> {
    let joint = Joint::read(&args.merge)?;
    let taken = args.json.as_ref().is_some_and(|path| is_stdout(path));
    if let Some(path) = &args.json {
        write(path, &format!("{}\n", joint.document(&args.percentiles)))?;
    }
    let report = joint.report(&args.percentiles);
    match (args.quiet, taken) {
        (true, _) => {}
        (false, true) => put_on_stderr(&report)?,
        (false, false) => put(&report)?,
    }
    Ok(ExitCode::from(joint.exit_code()))
}

/// Finds out before the run whether its results can be written.
fn claim(setting: &Setting) -> Result<(), Failure> {
    for path in setting.files() {
        let claimed = Destination::open(path);
        claimed.map_err(|error| {
            Failure::unable(format!("cannot write {}: {error}", path.display()))
        })?;
    }
    Ok(())
}

/// Starts the server, where that is ours to do, and sets the target of our own.
fn start(setting: &mut Setting) -> Result<Server, Failure> {
    match &setting.subject {
        Subject::Own => {
            let (server, addr) = Server::start_own()?;
            setting.plan.targets = vec![Target::from(addr)];
            Ok(server)
        }
        Subject::Command(command) => match setting.plan.targets.first() {
            Some(target) => Server::start(command, target),
            None => Err(Failure::usage("no target")),
        },
        Subject::Process(pid) => Server::watch(*pid),
        Subject::Unknown => Ok(Server::unknown()),
    }
}

/// Writes everything that was asked for.
fn publish(outcome: &Outcome, complaints: &[Complaint]) -> Result<(), Failure> {
    let args = &outcome.setting.args;
    let document = json::document(outcome, complaints);
    if let Some(path) = &args.json {
        write(path, &format!("{document}\n"))?;
    }
    if let Some(path) = &args.csv {
        write(path, &table::csv(&outcome.results.intervals))?;
    }
    if let Some(path) = &args.hgrm {
        write(path, &table::hgrm(&outcome.results.latency))?;
    }
    if let Some(path) = &args.svg {
        let picture = svg::picture(outcome);
        let failed = |error| Failure::unable(format!("cannot draw the picture: {error}"));
        write(path, &picture.map_err(failed)?)?;
    }
    if args.ndjson {
        let mut end = document;
        if let Some(object) = end.as_object_mut() {
            object.insert("event".to_owned(), "end".into());
        }
        put(&format!("{end}\n"))?;
    }
    if args.quiet {
        return Ok(());
    }
    let report = text::report(outcome, complaints);
    if outcome.setting.is_stdout_taken() {
        return put_on_stderr(&report);
    }
    put(&report)
}

/// Prints on stdout.
fn put(text: &str) -> Result<(), Failure> {
    output::print(text).map_err(|error| Failure::unable(format!("cannot write to stdout: {error}")))
}

/// Prints on stderr what would be on stdout if that were not taken.
fn put_on_stderr(text: &str) -> Result<(), Failure> {
    let printed = output::print_on_stderr(text);
    printed.map_err(|error| Failure::unable(format!("cannot write to stderr: {error}")))
}

/// Writes a file, or to stdout for `-`, and waits for a reader as long as it takes.
fn write(path: &std::path::Path, text: &str) -> Result<(), Failure> {
    let opened = Destination::open(path);
    let written = opened.and_then(|file| file.write(text.as_bytes(), Patience::Unlimited));
    written.map_err(|error| Failure::unable(format!("cannot write {}: {error}", path.display())))
}
