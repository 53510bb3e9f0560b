//! What a run is to do: the flags, checked and completed.

use std::error::Error as _;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use netgrace::load::{Close, Plan, Target};
use rustix::process::Pid;

use super::args::{BenchArgs, CloseHow};
use super::host::{self, Host};
use super::interface::sources;
use super::limit::OpenFiles;
use super::value::{Active, Ports, Ramp, Sizes, StopSignal, WorkerFlag};
use crate::cli::destination::is_stdout;
use crate::cli::failure::Failure;
use crate::cli::units::format_duration;

/// The target of a command or a process unless another is named.
const DEFAULT_TARGET: &str = "127.0.0.1:5388";

/// How long an own server is loaded before it is stopped.
const OWN_LOAD: Duration = Duration::from_secs(5);

/// The measured time of [`Plan::new`].
const DEFAULT_LOAD: Duration = Duration::from_secs(10);

/// What stops the server in an audit.
#[derive(Clone, Debug)]
pub(crate) enum Stop {
    Signal(StopSignal),
    /// A command for the shell.
    Command(String),
    /// Another worker stops it; this one marks what it has handed over by then.
    MarkOnly,
}

/// Which server is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Our own, started as a child on a free port.
    Own,
    /// This command, started as a child.
    Command(Vec<OsString>),
    /// A running process.
    Process(Pid),
    /// An unknown process that listens on the target.
    Unknown,
}

/// The worker that this process is, of one run on many machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WorkerId {
    pub(crate) index: u64,
    pub(crate) of: u64,
}

/// The flags, checked and completed.
#[derive(Clone, Debug)]
pub(crate) struct BenchSettings {
    /// This worker's share of the run.
    pub(crate) plan: Plan,
    /// The run of all workers.
    pub(crate) whole: Plan,
    pub(crate) subject: Subject,
    pub(crate) worker: Option<WorkerId>,
    /// What stops the server in an audit.
    pub(crate) stop: Stop,
    /// Why the target or a source does not exist here, if so.
    pub(crate) unresolved: Option<String>,
    pub(crate) args: BenchArgs,
}

impl BenchSettings {
    pub(crate) fn new(args: &BenchArgs) -> Result<Self, Failure> {
        let subject = subject(args)?;
        check_combinations(args, &subject)?;
        let worker = args.worker.map(worker_id).transpose()?;
        let mut unresolved = None;
        let mut targets = Vec::new();
        let default = [DEFAULT_TARGET.to_owned()];
        let named = if args.targets.is_empty() { &default[..] } else { &args.targets };
        for text in named {
            match Target::parse(text) {
                Ok(found) => targets.extend(found),
                Err(error) if error.source().is_some() => unresolved = Some(error.to_string()),
                Err(error) => return Err(Failure::usage(error.to_string())),
            }
        }
        let is_unix = targets.iter().all(|target| matches!(target, Target::Unix(_)));
        if is_unix && !targets.is_empty() && !args.source.is_empty() {
            return Err(Failure::usage("--source: a Unix socket is not reached from an address"));
        }
        let mut whole = plan(args, targets, &subject);
        match sources(&args.source) {
            Ok(sources) => whole.sources = sources,
            Err(error) => unresolved = Some(error),
        }
        let usage = |error: netgrace::Error| Failure::usage(error.to_string());
        if unresolved.is_none() {
            whole.check().map_err(usage)?;
        }
        let split = |id: WorkerId| {
            let number = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
            whole.clone().split(number(id.index), number(id.of)).map_err(usage)
        };
        let mut plan = worker.map_or_else(|| Ok(whole.clone()), split)?;
        plan.keep_histograms = worker.is_some();
        let stop = match (&args.stop_with, args.signal) {
            (Some(command), _) => Stop::Command(command.clone()),
            (None, _) if subject == Subject::Unknown => Stop::MarkOnly,
            (None, signal) => Stop::Signal(signal.unwrap_or(StopSignal::TERM)),
        };
        Ok(Self { plan, whole, subject, worker, stop, unresolved, args: args.clone() })
    }

    /// Whether the server is stopped and the stop audited.
    pub(crate) fn has_audit(&self) -> bool {
        self.plan.has_audit()
    }

    /// The name of the signal that stops the server, where one does.
    pub(crate) fn signal_name(&self) -> Option<&'static str> {
        match &self.stop {
            Stop::Signal(stop) => Some(stop.name),
            Stop::Command(_) | Stop::MarkOnly => None,
        }
    }

    /// Whether the signal has a server replace itself.
    pub(crate) fn is_replacement(&self) -> bool {
        self.signal_name() == Some("USR2")
    }

    /// Whether other workers load the server, too.
    pub(crate) fn is_part(&self) -> bool {
        self.worker.is_some_and(|worker| worker.of > 1)
    }

    /// The files to write, among them perhaps `-`.
    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let args = &self.args;
        [&args.json, &args.csv, &args.hgrm, &args.svg].into_iter().flatten()
    }

    /// Whether stdout belongs to a machine, so that the report goes to stderr.
    pub(crate) fn is_stdout_taken(&self) -> bool {
        self.args.ndjson || self.files().any(|path| is_stdout(path))
    }

    /// The effective settings and limits, one a line.
    pub(crate) fn describe(&self, files: &OpenFiles, host: &Host) -> String {
        let (plan, args) = (&self.plan, &self.args);
        let targets: Vec<_> = plan.targets.iter().map(ToString::to_string).collect();
        let server = match &self.subject {
            Subject::Own => "own, on a free port".to_owned(),
            Subject::Command(command) => format!("command {command:?}"),
            Subject::Process(pid) => format!("process {}", pid.as_raw_nonzero()),
            Subject::Unknown => "unknown, listens on the target".to_owned(),
        };
        let target = if self.subject == Subject::Own { "own" } else { &targets.join(" ") };
        let limit = |limit: Option<u64>| {
            limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string())
        };
        let or = |value: Option<u64>, other: &str| {
            value.map_or_else(|| other.to_owned(), |value| value.to_string())
        };
        let rate = match plan.rate_of(plan.active_connections()) {
            Some(rate) => format!("{rate}"),
            None => "closed loop".to_owned(),
        };
        let time =
            |time: Option<SystemTime>| time.map_or_else(|| "-".to_owned(), host::format_time);
        let part = match self.worker {
            Some(WorkerId { index, of }) => format!("{index} of {of}, from 0"),
            None => "-".to_owned(),
        };
        let steps: Vec<_> = plan.steps.iter().map(ToString::to_string).collect();
        let optional =
            |duration: Option<Duration>| duration.map_or_else(|| "-".to_owned(), format_duration);
        let lines = [
            ("server", server),
            ("target", target.to_owned()),
            ("connections", plan.connections.to_string()),
            ("active", plan.active_connections().to_string()),
            ("size", Sizes(args.size.0, args.size.1).to_string()),
            ("rate", rate),
            ("period", optional(plan.period)),
            ("ramp", if steps.is_empty() { "-".to_owned() } else { steps.join(",") }),
            ("reconnect-at", optional(plan.reconnect_after)),
            ("worker", part),
            ("start-at", time(plan.start_at)),
            ("shutdown-at", time(plan.stop_at)),
            ("pipeline", plan.pipeline.to_string()),
            ("churn", plan.churn.to_string()),
            ("threads", plan.threads.to_string()),
            ("connect-inflight", plan.connect_inflight.to_string()),
            ("warmup", format_duration(plan.warmup)),
            ("duration", format_duration(plan.stop_after.unwrap_or(plan.duration))),
            ("messages", or(plan.messages, "no limit")),
            ("settle", format_duration(plan.settle)),
            ("timeout", format_duration(plan.timeout)),
            ("audit", if self.has_audit() { "yes" } else { "no" }.to_owned()),
            ("verify", plan.verify.to_string()),
            ("seed", plan.seed.to_string()),
            ("open files needed", files.needed.to_string()),
            (
                "open files",
                format!(
                    "{} -> {}, hard {}",
                    limit(files.limit.before),
                    limit(files.limit.soft),
                    limit(files.limit.hard)
                ),
            ),
            ("cpus", host.cpus.to_string()),
            ("somaxconn", or(host.somaxconn.map(u64::from), "unknown")),
        ];
        lines.iter().map(|(name, value)| format!("{name:<18} {value}\n")).collect()
    }
}

/// Returns which server is loaded.
fn subject(args: &BenchArgs) -> Result<Subject, Failure> {
    match (args.command.as_slice(), args.pid, args.targets.as_slice()) {
        ([], None, []) => Ok(Subject::Own),
        ([], None, _) => Ok(Subject::Unknown),
        ([], Some(pid), _) => match Pid::from_raw(pid) {
            Some(pid) => Ok(Subject::Process(pid)),
            None => Err(Failure::usage("--pid: not a process number")),
        },
        (command, _, _) => Ok(Subject::Command(command.to_vec())),
    }
}

/// Refuses flags that would do nothing beside the others.
fn check_combinations(args: &BenchArgs, subject: &Subject) -> Result<(), Failure> {
    let has_audit = args.shutdown_after.is_some()
        || args.shutdown_at.is_some()
        || (*subject == Subject::Own && args.ramp.is_none());
    let is_stopped = *subject != Subject::Unknown || args.stop_with.is_some();
    if args.shutdown_after.is_some() && !is_stopped {
        return Err(Failure::usage(
            "--shutdown-after: which process is the server? add --pid PID, --stop-with CMD, or \
             '-- COMMAND' to start it here",
        ));
    }
    let audit_flags = [
        ("--signal", args.signal.is_some()),
        ("--stop-with", args.stop_with.is_some()),
        ("--exit-within", args.exit_within.is_some()),
        ("--leave-after", args.leave_after.is_some()),
    ];
    if let Some((flag, _)) = audit_flags.iter().find(|(_, given)| *given && !has_audit) {
        return Err(Failure::usage(format!(
            "{flag}: nothing is stopped; add --shutdown-after DUR or --shutdown-at TIME"
        )));
    }
    if args.signal.is_some() && *subject == Subject::Unknown {
        return Err(Failure::usage("--signal: which process is the server? add --pid PID"));
    }
    if *subject == Subject::Own {
        let foreign = [("--worker", args.worker.is_some()), ("--metrics", args.metrics.is_some())];
        if let Some((flag, _)) = foreign.iter().find(|(_, given)| *given) {
            return Err(Failure::usage(format!("{flag}: name the target that is to be loaded")));
        }
    }
    let measured = args.shutdown_after.or(args.duration).unwrap_or(match subject {
        Subject::Own => OWN_LOAD,
        _ => DEFAULT_LOAD,
    });
    if args.reconnect_at.is_some_and(|at| at >= measured)
        && args.shutdown_at.is_none()
        && args.ramp.is_none()
    {
        return Err(Failure::usage("--reconnect-at: the measured time is over before"));
    }
    if let (Some(start), Some(stop)) = (args.start_at, args.shutdown_at)
        && stop <= start
    {
        return Err(Failure::usage("--shutdown-at: must be later than --start-at"));
    }
    Ok(())
}

/// Takes what is not named from the environment that an engine sets.
fn worker_id(flag: WorkerFlag) -> Result<WorkerId, Failure> {
    let variable = |names: &[&str]| {
        let set = names.iter().find_map(|name| Some((*name, std::env::var(name).ok()?)));
        let Some((name, text)) = set else {
            let names = names.join(" or ");
            return Err(Failure::usage(format!("--worker auto: {names} is not set; use I/N")));
        };
        text.trim().parse::<u64>().map_err(|_| {
            Failure::usage(format!("--worker auto: {name} is '{}', no number", text.escape_debug()))
        })
    };
    let index = match flag.index {
        Some(index) => index,
        None => variable(&["JOB_COMPLETION_INDEX", "SLURM_PROCID"])?,
    };
    let of = match flag.of {
        Some(of) => of,
        None => variable(&["SLURM_NTASKS"])?,
    };
    if index >= of {
        return Err(Failure::usage(format!("--worker: {index} is not one of 0 to {of} - 1")));
    }
    Ok(WorkerId { index, of })
}

fn plan(args: &BenchArgs, targets: Vec<Target>, subject: &Subject) -> Plan {
    let number = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    let mut plan = Plan::new(targets);
    if let Some(Ramp(steps)) = &args.ramp {
        plan.steps = steps.iter().copied().map(number).collect();
    }
    plan.connections = plan.steps.last().copied().unwrap_or_else(|| number(args.connections));
    plan.active = match args.active {
        Active::Count(count) => Some(number(count)),
        Active::Percent(percent) if percent >= 100.0 => None,
        Active::Percent(percent) => Some(share(plan.connections, percent)),
    };
    if let Some(duration) = args.duration {
        plan.duration = duration;
    }
    plan.messages = args.messages;
    plan.size = (number(args.size.0), number(args.size.1));
    plan.rate = args.rate.map(|rate| rate as f64);
    plan.pipeline = number(args.pipeline);
    plan.churn = args.churn as f64;
    plan.threads = args.threads.map_or_else(|| host::cpus().saturating_sub(1).max(1), number);
    plan.connect_inflight = number(args.connect_inflight);
    plan.connect_rate = args.connect_rate.map(|rate| rate as f64);
    plan.connect_timeout = args.connect_timeout;
    plan.period = args.period;
    plan.reconnect_after = args.reconnect_at;
    (plan.start_at, plan.stop_at) = (args.start_at, args.shutdown_at);
    plan.source_ports = args.source_ports.map(|Ports(low, high)| (low, high));
    plan.warmup = args.warmup;
    plan.timeout = args.timeout;
    plan.settle = args.settle;
    plan.verify = !args.no_verify;
    plan.seed = args.seed.unwrap_or_else(host::seed);
    plan.close = match args.close {
        CloseHow::Fin => Close::Fin,
        CloseHow::Rst => Close::Rst,
    };
    plan.stop_after = match (args.shutdown_after, subject) {
        (None, Subject::Own) if args.shutdown_at.is_none() && args.ramp.is_none() => {
            Some(args.duration.unwrap_or(OWN_LOAD))
        }
        (after, _) => after,
    };
    if let Some(limit) = args.exit_within {
        plan.exit_within = limit;
    }
    plan.leave_after = args.leave_after;
    plan.interval = args.interval;
    plan.busy_poll = args.busy_poll;
    plan
}

/// That share of all connections, rounded up so that a share above 0 is somebody.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float cast saturates, and the share is 0 to 100 percent of a count"
)]
fn share(connections: usize, percent: f64) -> usize {
    (connections as f64 * percent / 100.0).ceil() as usize
}
