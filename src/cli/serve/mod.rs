//! `netgrace serve`: binds, runs the loop, and tells how it ended.

pub(crate) mod args;
pub(crate) mod handover;
#[cfg(feature = "systemd")]
mod inherited;
mod listening;
#[cfg(feature = "systemd")]
mod manager;
mod predecessor;
pub(crate) mod report;
mod service;
pub(crate) mod settings;
mod successor;
mod unix_socket;

use std::process::ExitCode;

use log::{info, warn};
use netgrace::{EventLoop, Report, Server, Signals};

use crate::cli::address::ListenAddress;
use crate::cli::admin::Admin;
use crate::cli::atomic_file::AtomicFile;
use crate::cli::failure::Failure;
use crate::cli::filter::Filter;
use crate::cli::limits::OpenFiles;
use crate::cli::logger::{self, TARGET};
use crate::cli::output;
use crate::cli::serve::args::ServeArgs;
use crate::cli::serve::listening::{Listening, explain};
use crate::cli::serve::predecessor::Predecessor;
use crate::cli::serve::service::Service;
use crate::cli::serve::settings::Settings;
use crate::cli::serve::successor::Program;

/// Serves until it is stopped, on the addresses given without a flag and those of the flags.
pub(crate) fn run(args: &ServeArgs, first: &[ListenAddress]) -> Result<ExitCode, Failure> {
    let rust_log = std::env::var_os("RUST_LOG");
    logger::install(&Filter::new(args.verbosity, rust_log.as_deref()));
    // Before everything that takes time: a stop signal that comes while binding is a request.
    let signals = Signals::install().map_err(explain)?;
    if args.dry_run {
        return dry_run(args, first);
    }
    let program = Program::current();
    let (predecessor, mut handed) = Predecessor::find()?;
    let open_files = OpenFiles::plan(args.nofile)?.apply()?;
    let settings = Settings::gather(args, first, open_files)?;
    let files = Files::claim(args)?;
    let (server, listening) = Listening::open(&settings, &mut handed)?;
    let admin = args.admin.as_ref().map(|wanted| Admin::open(wanted, &mut handed)).transpose()?;
    listening.announce(&settings);
    info!(target: TARGET, "open files: {}", settings.files);
    let mut event_loop = EventLoop::new(server).map_err(explain)?;
    event_loop.watch_signals(signals).map_err(explain)?;
    let mut service = Service::new(event_loop, listening, predecessor, program, args.stats);
    if let Some(admin) = admin {
        let answered = service.answer(admin);
        answered.map_err(|error| Failure::unable(format!("cannot serve --admin: {error}")))?;
    }
    files.write_ports(service.listening())?;
    info!(target: TARGET, "ready");
    service.run();
    Ok(conclude(service.report(), args, &files))
}

/// Checks all that can be checked without starting anything.
fn dry_run(args: &ServeArgs, first: &[ListenAddress]) -> Result<ExitCode, Failure> {
    let settings = Settings::gather(args, first, OpenFiles::plan(args.nofile)?)?;
    drop(Server::unbound(settings.config()).map_err(explain)?);
    listening::check(&settings)?;
    Files::claim(args)?;
    match output::print(&settings.to_string()) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(Failure::unable(format!("cannot write to stdout: {error}"))),
    }
}

/// The files that are written on the way, known to be writable.
struct Files {
    ports: Option<AtomicFile>,
    report: Option<AtomicFile>,
}

impl Files {
    fn claim(args: &ServeArgs) -> Result<Self, Failure> {
        let claim = |flag: &str, path: Option<&std::path::PathBuf>| {
            let claimed = path.map(|path| {
                AtomicFile::claim(path).map_err(|error| {
                    Failure::unable(format!("cannot write {flag} {path:?}: {error}"))
                })
            });
            claimed.transpose()
        };
        let report = args.report.as_ref().filter(|path| !is_stdout(path));
        Ok(Self {
            ports: claim("--port-file", args.port_file.as_ref())?,
            report: claim("--report", report)?,
        })
    }

    fn write_ports(&self, listening: &Listening) -> Result<(), Failure> {
        let Some(file) = &self.ports else {
            return Ok(());
        };
        let lines: String = listening.names().map(|name| format!("{name}\n")).collect();
        let written = file.write(lines.as_bytes());
        written.map_err(|error| Failure::unable(format!("cannot write the --port-file: {error}")))
    }
}

fn is_stdout(path: &std::path::Path) -> bool {
    path.as_os_str() == "-"
}

/// Tells how it ended. A report that cannot be written is a line in the log: the exit code speaks
/// of the stop alone.
fn conclude(report: &Report, args: &ServeArgs, files: &Files) -> ExitCode {
    logger::wait_for_room();
    let json = || report::to_json(report, args.strict);
    let written = match (&files.report, &args.report) {
        (Some(file), _) => file.write(json().as_bytes()),
        (None, Some(_)) => output::print_or_give_up(&json()),
        (None, None) => Ok(()),
    };
    if let Err(error) = written {
        warn!(target: TARGET, "cannot write the report: {error}");
    }
    for (level, line) in report::to_lines(report, args.strict) {
        log::log!(target: TARGET, level, "{line}");
    }
    ExitCode::from(report.exit_code(args.strict))
}
