//! `netgrace bench`: the load generator's command line.

mod args;
mod chart;
mod condition;
mod figure;
mod host;
mod interface;
mod json;
mod limit;
mod merge;
mod metrics;
mod outcome;
mod progress;
mod publish;
mod server;
mod settings;
mod stdout;
mod svg;
mod table;
mod text;
mod usage;
mod value;
mod verdict;
mod watch;

use std::process::ExitCode;

use netgrace::load::{self, Results, Target};

pub(crate) use self::args::BenchArgs;
use self::host::Host;
use self::limit::OpenFiles;
use self::outcome::{Context, Outcome};
use self::progress::Display;
use self::server::Server;
use self::settings::{BenchSettings, Subject};
use self::usage::{OwnUsage, Sample, Usage};
use self::value::Url;
use self::watch::Watch;
use crate::cli::failure::Failure;

/// Runs the load generator.
pub(crate) fn run(args: &BenchArgs) -> Result<ExitCode, Failure> {
    if !args.merge.is_empty() {
        let context = merge::context(args)?;
        publish::check(&context.settings)?;
        let merged = merge::outcome(&context);
        return merged.and_then(|outcome| publish_merged(&outcome)).inspect_err(|failure| {
            publish_failure(context, false, failure);
        });
    }
    let settings = BenchSettings::new(args)?;
    let files = OpenFiles::plan(settings.plan.connections);
    if args.dry_run {
        if let Some(why) = settings.unresolved {
            return Err(Failure::unable(why));
        }
        publish::print(&settings.describe(&files, &Host::look()))?;
        return files.check().map(|()| ExitCode::SUCCESS);
    }
    let mut context =
        Context { settings, host: Host::look(), files, started_at: host::timestamp() };
    let mut has_started = false;
    match measure(&mut context, &mut has_started) {
        Ok(outcome) => publish::all(&Outcome { context, ..outcome }),
        Err(failure) => {
            publish_failure(context, has_started, &failure);
            Err(failure)
        }
    }
}

fn publish_merged(outcome: &Outcome) -> Result<ExitCode, Failure> {
    publish::start(&outcome.context)?;
    publish::intervals(outcome)?;
    publish::all(outcome)
}

/// A reader of the results learns of every failure, and never finds those of an earlier run.
fn publish_failure(context: Context, has_started: bool, failure: &Failure) {
    let outcome = Outcome::failed(context, failure.exit(), failure.to_string());
    let started = if has_started { Ok(()) } else { publish::start(&outcome.context) };
    if let Err(error) = started.and_then(|()| publish::documents(&outcome)) {
        log::debug!("results of a failed run: {error}");
    }
}

/// Starts the server where that is ours to do, and loads it.
fn measure(context: &mut Context, has_started: &mut bool) -> Result<Outcome, Failure> {
    let settings = &mut context.settings;
    if let Some(why) = &settings.unresolved {
        return Err(Failure::unable(why.clone()));
    }
    publish::check(settings)?;
    context.files.apply()?;
    let interrupted = watch::interruption()?;
    let mut server = start(settings)?;
    let metrics = settings.args.metrics.clone();
    let idle = first_sample(&server, metrics.as_ref())?;
    publish::start(context)?;
    *has_started = true;
    let (settings, args) = (&context.settings, &context.settings.args);
    let mut watch = Watch {
        server: &mut server,
        display: Display::new(!args.quiet && !args.no_progress),
        stop: settings.stop.clone(),
        metrics,
        interrupted,
        ndjson: args.ndjson,
        begin: [None; 2],
        end: [None; 2],
    };
    let results = load::run(settings.plan.clone(), &mut watch);
    watch.display.finish();
    let ([begin, own_begin], [end, own_end]) = (watch.begin, watch.end);
    let results = results.map_err(|error| Failure::unable(error.to_string()))?;
    let is_wrapped = is_wrapped(settings, &mut server, &results);
    let is_watched = server.pid().is_some();
    let stop_failure = server.stop_failure();
    server.end();
    context.host.time_wait = host::time_wait();
    Ok(Outcome {
        usage: Usage::between(idle, begin, end, &results),
        own_usage: OwnUsage::between(own_begin, own_end, &results),
        results,
        exit_code: server.exit_code(),
        is_watched,
        report: server.report(),
        is_wrapped,
        stop_failure,
        ..Outcome::empty(context.clone())
    })
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

/// What the server uses before the first connection.
fn first_sample(server: &Server, metrics: Option<&Url>) -> Result<Option<Sample>, Failure> {
    let Some(url) = metrics else {
        return Ok(server.pid().and_then(Sample::take));
    };
    let sample = metrics::sample(url);
    sample.map(Some).map_err(|error| Failure::unable(format!("--metrics {url}: {error}")))
}

/// Whether the process that was told to stop is gone and harm was done, but somebody still
/// serves: a shell, say, ends and leaves the server that it has started.
fn is_wrapped(settings: &BenchSettings, server: &mut Server, results: &Results) -> bool {
    let is_process = matches!(settings.subject, Subject::Command(_) | Subject::Process(_));
    let harmed = results.audit.as_ref().is_some_and(|audit| !audit.is_clean());
    is_process
        && harmed
        && !settings.is_replacement()
        && server.is_gone() == Some(true)
        && settings.plan.targets.first().is_some_and(Target::accepts)
}
