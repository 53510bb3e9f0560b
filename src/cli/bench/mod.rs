//! `netgrace bench`: the load generator's command line.

mod args;
mod chart;
mod condition;
mod figure;
mod host;
mod json;
mod limit;
mod merge;
mod outcome;
mod progress;
mod server;
mod settings;
mod svg;
mod table;
mod text;
mod usage;
mod value;
mod verdict;
mod watch;

use std::process::ExitCode;

use netgrace::load::{self, Target};
use serde_json::Value;

pub(crate) use self::args::BenchArgs;
use self::host::Host;
use self::limit::OpenFiles;
use self::merge::Merged;
use self::outcome::{Context, Outcome};
use self::progress::Display;
use self::server::Server;
use self::settings::{BenchSettings, Subject};
use self::usage::{OwnUsage, Sample, Usage};
use self::verdict::Finding;
use self::watch::Watch;
use crate::cli::atomic_file::AtomicFile;
use crate::cli::failure::Failure;
use crate::cli::output;

/// Runs the load generator.
pub(crate) fn run(args: &BenchArgs) -> Result<ExitCode, Failure> {
    if !args.merge.is_empty() {
        return merge(args);
    }
    let mut settings = BenchSettings::new(args)?;
    let files = OpenFiles::plan(settings.plan.connections);
    if args.dry_run {
        print_stdout(&settings.describe(&files, &Host::look()))?;
        return files.check().map(|()| ExitCode::SUCCESS);
    }
    claim(&settings)?;
    files.apply()?;
    let interrupted = watch::interruption()?;
    let mut server = start(&mut settings)?;
    let idle = server.pid().and_then(Sample::take);
    let context = Context { settings, host: Host::look(), files, started_at: host::timestamp() };
    if args.ndjson {
        let mut start = json::start(&context);
        start.insert("event".to_owned(), "start".into());
        print_stdout(&format!("{}\n", Value::Object(start)))?;
    }
    let is_watched = server.pid().is_some();
    let mut watch = Watch {
        server: &mut server,
        display: Display::new(!args.quiet && !args.no_progress),
        signal: args.signal.signal,
        interrupted,
        ndjson: args.ndjson,
        begin: [None; 2],
        end: [None; 2],
    };
    let results = load::run(context.settings.plan.clone(), &mut watch);
    watch.display.finish();
    let ([begin, own_begin], [end, own_end]) = (watch.begin, watch.end);
    let results = results.map_err(|error| Failure::unable(error.to_string()))?;
    server.end();
    let outcome = Outcome {
        context,
        usage: Usage::between(idle, begin, end, &results),
        own_usage: OwnUsage::between(own_begin, own_end, &results),
        results,
        exit_code: server.exit_code(),
        is_watched,
        report: server.report(),
    };
    let findings = outcome.findings();
    publish(&outcome, &findings)?;
    Ok(ExitCode::from(verdict::exit_code(&findings)))
}

/// Prints the merged report of earlier runs.
fn merge(args: &BenchArgs) -> Result<ExitCode, Failure> {
    let merged = Merged::read(&args.merge)?;
    let taken = args.json.as_ref().is_some_and(|path| path.as_os_str() == "-");
    if let Some(path) = &args.json {
        write(path, &format!("{}\n", merged.document(&args.percentiles)))?;
    }
    let report = merged.report(&args.percentiles);
    match (args.quiet, taken) {
        (true, _) => {}
        (false, true) => output::complain(&report),
        (false, false) => print_stdout(&report)?,
    }
    Ok(ExitCode::from(merged.exit_code()))
}

/// Finds out before the run whether its results can be written.
fn claim(settings: &BenchSettings) -> Result<(), Failure> {
    for path in settings.files().filter(|path| path.as_os_str() != "-") {
        let claimed = AtomicFile::claim(path);
        claimed.map_err(|error| {
            Failure::unable(format!("cannot write {}: {error}", path.display()))
        })?;
    }
    Ok(())
}

/// Starts the server, where that is ours to do, and sets the target of our own.
fn start(settings: &mut BenchSettings) -> Result<Server, Failure> {
    match &settings.subject {
        Subject::Own => {
            let (server, addr) = Server::start_own()?;
            settings.plan.targets = vec![Target::from(addr)];
            Ok(server)
        }
        Subject::Command(command) => match settings.plan.targets.first() {
            Some(target) => Server::start(command, target),
            None => Err(Failure::usage("no target")),
        },
        Subject::Process(pid) => Server::watch(*pid),
        Subject::Unknown => Ok(Server::unknown()),
    }
}

/// Writes everything that was asked for.
fn publish(outcome: &Outcome, findings: &[Finding]) -> Result<(), Failure> {
    let args = &outcome.context.settings.args;
    let document = json::document(outcome, findings);
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
        print_stdout(&format!("{end}\n"))?;
    }
    if args.quiet {
        return Ok(());
    }
    let report = text::report(outcome, findings);
    if outcome.context.settings.is_stdout_taken() {
        output::complain(&report);
        return Ok(());
    }
    print_stdout(&report)
}

/// Prints on stdout.
fn print_stdout(text: &str) -> Result<(), Failure> {
    output::print(text).map_err(|error| Failure::unable(format!("cannot write to stdout: {error}")))
}

/// Writes a file, or to stdout for `-`.
fn write(path: &std::path::Path, text: &str) -> Result<(), Failure> {
    if path.as_os_str() == "-" {
        return print_stdout(text);
    }
    let written = AtomicFile::claim(path).and_then(|file| file.write(text.as_bytes()));
    written.map_err(|error| Failure::unable(format!("cannot write {}: {error}", path.display())))
}
