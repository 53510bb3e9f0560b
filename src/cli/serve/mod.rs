//! `netgrace serve`: binds, runs the loop, and reports how the stop ended.

pub(crate) mod args;
pub(crate) mod bind;
pub(crate) mod handover;
#[cfg(feature = "systemd")]
mod inherited;
mod listening;
#[cfg(feature = "systemd")]
mod manager;
mod predecessor;
mod progress;
pub(crate) mod report;
mod service;
pub(crate) mod settings;
mod successor;
mod transfer;
mod unix_socket;

use std::path::PathBuf;
use std::process::ExitCode;

use log::{error, info};
use netgrace::protocol::{Discard, Echo, Http, Line};
use netgrace::{EventLoop, Grade, Report, Server, Signals};

use crate::cli::address::ListenAddress;
use crate::cli::admin::Admin;
use crate::cli::destination::Destination;
use crate::cli::failure::Failure;
use crate::cli::filter::Filter;
use crate::cli::limits::OpenFiles;
use crate::cli::logger::{self, TARGET};
use crate::cli::output::{self, Patience};
use crate::cli::serve::args::{ProtocolName, ServeArgs};
use crate::cli::serve::bind::explain;
use crate::cli::serve::handover::Handed;
use crate::cli::serve::listening::Listening;
use crate::cli::serve::predecessor::Predecessor;
use crate::cli::serve::service::Service;
use crate::cli::serve::settings::Settings;
use crate::cli::serve::successor::Program;
use crate::cli::signal;

/// Serves until it is stopped, on the addresses given without a flag and those of the flags.
pub(crate) fn run(args: &ServeArgs, first: &[ListenAddress]) -> Result<ExitCode, Failure> {
    let rust_log = std::env::var_os("RUST_LOG");
    logger::install(&Filter::new(args.verbosity, rust_log.as_deref()));
    #[cfg(feature = "systemd")]
    if settings::wants_systemd(args, first) {
        inherited::check()?;
    }
    // Before everything that takes time: a stop signal that arrives during a bind is a request.
    signal::survive_terminal_stop();
    let wanted: Vec<i32> = Signals::STOP.into_iter().chain(service::SIGNALS).collect();
    let signals = Signals::install(signal::to_handle(&wanted)).map_err(explain)?;
    signal::unblock();
    if args.dry_run {
        return dry_run(args, first);
    }
    let program = Program::current();
    let (predecessor, handed) = Predecessor::find()?;
    let open_files = OpenFiles::plan(args.nofile)?.apply()?;
    let settings = Settings::gather(args, first, open_files)?;
    let start = Start { args, signals, program, predecessor, handed };
    let delay = args.delay.unwrap_or_default();
    match args.protocol {
        ProtocolName::Echo => serve(Echo, start, &settings),
        ProtocolName::Discard => serve(Discard, start, &settings),
        ProtocolName::Line => serve(Line::new().with_delay(delay), start, &settings),
        ProtocolName::Http => {
            let http = Http::new().with_delay(delay);
            let http = args.body.map_or(http, |body| http.with_body_len(body));
            serve(http, start, &settings)
        }
    }
}

/// What a service starts with.
struct Start<'a> {
    args: &'a ServeArgs,
    signals: Signals,
    program: Program,
    predecessor: Option<Predecessor>,
    handed: Vec<Handed>,
}

/// Serves a protocol until it is stopped.
fn serve<P: netgrace::Service>(
    protocol: P,
    start: Start<'_>,
    settings: &Settings<'_>,
) -> Result<ExitCode, Failure> {
    let Start { args, signals, program, predecessor, mut handed } = start;
    let mut outputs = Outputs::open(args)?;
    let (server, listening) = Listening::open(protocol, settings, &mut handed)?;
    let admin = args.admin.as_ref().map(|wanted| Admin::open(wanted, &mut handed)).transpose()?;
    listening.announce(settings);
    info!(target: TARGET, "open files: {}", settings.files);
    let event_loop =
        EventLoop::builder().busy_poll(args.busy_poll.limit()).measure_turns(admin.is_some());
    let mut event_loop = event_loop.build(server).map_err(explain)?;
    event_loop.watch_signals(signals).map_err(explain)?;
    let mut service = Service::new(event_loop, listening, predecessor, program, args.stats);
    if let Some(admin) = admin {
        let added = service.add_admin(admin);
        added.map_err(|error| Failure::unable(format!("cannot serve --admin: {error}")))?;
    }
    outputs.write_ports(service.listening())?;
    info!(target: TARGET, "ready");
    service.run();
    Ok(conclude(service.report(), args, &mut outputs))
}

/// Checks what can be checked without starting anything, and prints the settings.
fn dry_run(args: &ServeArgs, first: &[ListenAddress]) -> Result<ExitCode, Failure> {
    let settings = Settings::gather(args, first, OpenFiles::plan(args.nofile)?)?;
    drop(Server::new(settings.config()).map_err(explain)?);
    listening::check(&settings)?;
    Outputs::open(args)?;
    match output::print(&settings.to_string()) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(Failure::unable(format!("cannot write to stdout: {error}"))),
    }
}

/// The outputs that the flags name, open from the start.
struct Outputs {
    ports: Option<Destination>,
    report: Option<Destination>,
}

impl Outputs {
    fn open(args: &ServeArgs) -> Result<Self, Failure> {
        let open = |flag: &str, path: Option<&PathBuf>| {
            let opened = path.map(|path| {
                Destination::open(path).map_err(|error| {
                    Failure::unable(format!("cannot write {flag} {path:?}: {error}"))
                })
            });
            opened.transpose()
        };
        Ok(Self {
            ports: open("--port-file", args.port_file.as_ref())?,
            report: open("--report", args.report.as_ref())?,
        })
    }

    fn write_ports(&mut self, listening: &Listening) -> Result<(), Failure> {
        let Some(file) = self.ports.take() else {
            return Ok(());
        };
        let lines: String = listening.names().map(|name| format!("{name}\n")).collect();
        let written = file.write(lines.as_bytes(), Patience::Unlimited);
        written.map_err(|error| Failure::unable(format!("cannot write the --port-file: {error}")))
    }

    /// Whether the report, if one is wanted, has been written.
    fn write_report(&mut self, report: &Report, least: Grade) -> bool {
        let Some(file) = self.report.take() else {
            return true;
        };
        let json = format!("{}\n", report.to_json(least));
        let written = file.write(json.as_bytes(), Patience::Brief);
        if let Err(error) = &written {
            error!(target: TARGET, "cannot write the report: {error}");
        }
        written.is_ok()
    }
}

/// Reports how the stop ended, and returns its exit code; a report that is lost is a failure.
fn conclude(report: &Report, args: &ServeArgs, outputs: &mut Outputs) -> ExitCode {
    logger::wait_for_room();
    let least = if args.strict { Grade::Complete } else { Grade::Lossless };
    let is_written = outputs.write_report(report, least);
    for (level, line) in report::to_lines(report, least) {
        log::log!(target: TARGET, level, "{line}");
    }
    match report.exit_code(least) {
        0 if !is_written => ExitCode::FAILURE,
        code => ExitCode::from(code),
    }
}
