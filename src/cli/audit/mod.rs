//! `netgrace audit`: what a stop of a server costs its clients.

mod advice;
mod args;
mod condition;
mod document;
mod family;
mod limit;
mod outcome;
mod picture;
mod process;
mod progress;
mod reach;
mod report;
mod server;
mod value;

use std::hash::BuildHasher;
use std::hash::Hasher;
use std::hash::RandomState;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use rustix::process::Pid;
use signal_hook::consts::SIGHUP;
use signal_hook::consts::SIGINT;
use signal_hook::consts::SIGTERM;

pub(crate) use self::args::AuditArgs;
use self::condition::Condition;
use self::outcome::Outcome;
use self::progress::Display;
use self::server::Interrupted;
use self::server::Server;
use self::server::Stop;
use self::value::StopSignal;
use crate::cli::atomic_file::AtomicFile;
use crate::cli::failure::Failure;
use crate::cli::output;
use netgrace::audit;
use netgrace::audit::ErrorKind;
use netgrace::audit::Plan;
use netgrace::audit::Protocol;
use netgrace::audit::Target;

/// Whom a COMMAND or `--pid` is taken to serve.
const TARGET: &str = "http://127.0.0.1:8080/";

/// What slow clients ask the own server for: three seconds' worth.
const OWN_SLOW_PATH: &str = "/bytes/196608";

/// What is audited.
enum Subject {
    /// This program's own server.
    Own,
    /// A server that is started and has this target.
    Command(Target),
    /// A server that runs already.
    Running(Target),
}

/// Runs an audit.
pub(crate) fn run(args: &AuditArgs) -> Result<ExitCode, Failure> {
    let subject = subject(args)?;
    let mut outcome = outcome(args, &subject);
    for path in [&args.json, &args.svg].into_iter().flatten().filter(|path| !is_stdout(path)) {
        let claimed = AtomicFile::claim(path);
        claimed.map_err(|error| cannot_write(path, &error.to_string()))?;
    }
    let clients = args.clients.0.iter().fold(0_usize, |sum, (_, n)| sum.saturating_add(*n));
    limit::allow(clients)?;
    let interrupted = interruption()?;
    while outcome.stops < args.repeat && outcome.error.is_none() && !outcome.is_interrupted {
        if let Err(failure) = stop_once(args, &subject, &interrupted, &mut outcome) {
            outcome.is_interrupted |= interrupted.load(Relaxed);
            if failure.exit() == 2 {
                return Err(failure);
            }
            outcome.error = Some(failure.to_string());
        }
    }
    publish(args, &outcome)?;
    Ok(ExitCode::from(outcome.exit_status()))
}

/// Finds out what is to be audited.
fn subject(args: &AuditArgs) -> Result<Subject, Failure> {
    let has_command = !args.command.is_empty();
    let is_known = args.pid.is_some() || args.stop_with.is_some();
    let target = || match &args.target {
        Some(target) => Ok(target.clone()),
        None => Target::parse(TARGET).map_err(Failure::usage),
    };
    let subject = match (&args.target, has_command) {
        (_, true) => Subject::Command(target()?),
        (_, false) if is_known => Subject::Running(target()?),
        (None, false) => Subject::Own,
        (Some(target), false) => {
            return Err(Failure::usage(format!(
                "nothing says how {target} is stopped; add '-- COMMAND', --pid or --stop-with"
            )));
        }
    };
    if args.repeat > 1 && matches!(subject, Subject::Running(_)) {
        return Err(Failure::usage(
            "--repeat starts the server anew for each stop and needs '-- COMMAND'",
        ));
    }
    if args.slow_path.as_ref().is_some_and(|path| !path.starts_with('/')) {
        return Err(Failure::usage("--slow-path is to begin with '/'"));
    }
    Ok(subject)
}

fn outcome(args: &AuditArgs, subject: &Subject) -> Outcome {
    let stop = match &args.stop_with {
        Some(command) => Stop::Command(command.clone()),
        None => Stop::Signal(args.signal.unwrap_or(StopSignal::TERM)),
    };
    let own = ["netgrace", "serve", "--protocol", "http"].map(str::to_owned).to_vec();
    let words = args.command.iter().map(|word| word.to_string_lossy().into_owned());
    let (target, command) = match subject {
        Subject::Own => ("the own server".to_owned(), Some(own)),
        Subject::Command(target) => (target.to_string(), Some(words.collect())),
        Subject::Running(target) => (target.to_string(), None),
    };
    let conditions =
        if args.fail_if.is_empty() { Condition::defaults() } else { args.fail_if.clone() };
    Outcome {
        target,
        command,
        stop,
        pid: args.pid,
        exit_code: None,
        is_watched: args.pid.is_some() || !matches!(subject, Subject::Running(_)),
        is_restart: args.restart,
        exit_within: args.exit_within,
        conditions,
        repeat: args.repeat,
        stops: 0,
        clean: 0,
        audit: None,
        last: None,
        failed_checks: Vec::new(),
        error: None,
        is_interrupted: false,
    }
}

/// Audits one stop, of a fresh process where there is a command.
fn stop_once(
    args: &AuditArgs,
    subject: &Subject,
    interrupted: &Interrupted,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let display = Display::new(!args.quiet);
    let pid = args.pid.and_then(Pid::from_raw);
    let server = Server::running(pid, outcome.stop.clone(), Arc::clone(interrupted), display)?;
    let (mut server, address, target) = match subject {
        Subject::Own => {
            let (server, address) = server.start_own()?;
            let target = Target::parse(&format!("http://{address}/")).map_err(Failure::unable)?;
            outcome.target = target.to_string();
            (server, address, target)
        }
        Subject::Command(target) => {
            let (server, address) = server.start(&args.command, target)?;
            (server, address, target.clone())
        }
        Subject::Running(target) => (server, running(target)?, target.clone()),
    };
    outcome.pid = server.pid().map(|pid| pid.as_raw_nonzero().get());
    let mut plan = plan(args, target);
    if matches!(subject, Subject::Own) {
        plan.slow_path.get_or_insert_with(|| OWN_SLOW_PATH.to_owned());
    }
    let audit = audit::run(&plan, address, &mut server);
    let stop_failure = server.stop_failure();
    server.end();
    match audit {
        Ok(audit) => outcome.add(audit, server.exit_code(), stop_failure),
        Err(error) => {
            return Err(match error.kind() {
                ErrorKind::Plan => Failure::usage(error.to_string()),
                ErrorKind::Interrupted => Failure::interrupted(error.to_string()),
                _ => Failure::unable(error.to_string()),
            });
        }
    }
    Ok(())
}

/// Returns the address at which a server that runs already accepts connections.
fn running(target: &Target) -> Result<SocketAddr, Failure> {
    reach::accepting(&reach::resolve(target)?).ok_or_else(|| {
        let place = target.authority();
        Failure::unable(format!("nobody accepts connections on {place}; is the server running?"))
    })
}

fn plan(args: &AuditArgs, target: Target) -> Plan {
    let is_http = target.protocol() == Protocol::Http;
    let mut plan = Plan::new(target);
    plan.clients.clone_from(&args.clients.0);
    plan.think = args.think;
    plan.slow_path = args.slow_path.clone().filter(|_| is_http);
    plan.warmup = args.warmup;
    plan.settle = args.settle;
    plan.exit_within = args.exit_within;
    plan.restart = args.restart;
    plan.seed = RandomState::new().build_hasher().finish();
    plan
}

/// Returns a flag that Ctrl-C and a request to end set; the audit ends itself soon after.
fn interruption() -> Result<Interrupted, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&flag))
            .map_err(|error| Failure::unable(format!("cannot watch signal {signal}: {error}")))?;
    }
    Ok(flag)
}

/// Writes everything that was asked for.
fn publish(args: &AuditArgs, outcome: &Outcome) -> Result<(), Failure> {
    let is_stdout_taken = args.json.as_deref().is_some_and(is_stdout);
    if let Some(path) = &args.json {
        write(path, &format!("{}\n", document::document(outcome)))?;
    }
    if let (Some(path), Some(audit)) = (&args.svg, &outcome.last) {
        let picture = picture::picture(audit, &outcome.target);
        let failed = |error| Failure::unable(format!("cannot draw the picture: {error}"));
        write(path, &picture.map_err(failed)?)?;
    }
    let report = report::report(outcome);
    if args.quiet {
        if let Some(error) = &outcome.error {
            output::complain(&format!("error: {error}\n"));
        }
        return Ok(());
    }
    if is_stdout_taken || outcome.audit.is_none() {
        output::complain(&report);
        return Ok(());
    }
    put(&report)
}

fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Prints on stdout.
fn put(text: &str) -> Result<(), Failure> {
    output::print(text).map_err(|error| Failure::unable(format!("cannot write to stdout: {error}")))
}

/// Writes a file, or to stdout for `-`.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    if is_stdout(path) {
        return put(text);
    }
    let written = AtomicFile::claim(path).and_then(|file| file.write(text.as_bytes()));
    written.map_err(|error| cannot_write(path, &error.to_string()))
}

fn cannot_write(path: &Path, why: &str) -> Failure {
    Failure::unable(format!("cannot write {}: {why}", path.display()))
}
