//! What a run is to do: the flags, checked and completed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use netgrace::load::{Close, Plan, Target};
use rustix::process::Pid;

use super::args::{BenchArgs, CloseHow};
use super::host::{self, Host};
use super::limit::OpenFiles;
use super::value::{Active, Sizes};
use crate::cli::failure::Failure;
use crate::cli::units::format_duration;

/// The target of a command or a process unless another is named.
const DEFAULT_TARGET: &str = "127.0.0.1:5388";

/// How long an own server is loaded before it is stopped.
const OWN_LOAD: Duration = Duration::from_secs(5);

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

/// The flags, checked and completed.
#[derive(Clone, Debug)]
pub(crate) struct BenchSettings {
    pub(crate) plan: Plan,
    pub(crate) subject: Subject,
    pub(crate) args: BenchArgs,
}

impl BenchSettings {
    pub(crate) fn new(args: &BenchArgs) -> Result<Self, Failure> {
        let subject = match (args.command.as_slice(), args.pid, args.targets.as_slice()) {
            ([], None, []) => Subject::Own,
            ([], None, _) => Subject::Unknown,
            ([], Some(pid), _) => match Pid::from_raw(pid) {
                Some(pid) => Subject::Process(pid),
                None => return Err(Failure::usage("--pid: not a process number")),
            },
            (command, _, _) => Subject::Command(command.to_vec()),
        };
        if args.shutdown_after.is_some() && subject == Subject::Unknown {
            return Err(Failure::usage(
                "--shutdown-after: which process is the server? add --pid PID, or '-- COMMAND' to \
                 start it here",
            ));
        }
        let mut targets = Vec::new();
        let default = [DEFAULT_TARGET.to_owned()];
        let named = if args.targets.is_empty() { &default[..] } else { &args.targets };
        for text in named {
            let parsed = Target::parse(text);
            targets.extend(parsed.map_err(|error| Failure::usage(error.to_string()))?);
        }
        let plan = plan(args, targets, &subject);
        plan.check().map_err(|error| Failure::usage(error.to_string()))?;
        Ok(Self { plan, subject, args: args.clone() })
    }

    /// Whether the server is stopped and the stop audited.
    pub(crate) fn has_audit(&self) -> bool {
        self.plan.stop_after.is_some()
    }

    /// The files to write, among them perhaps `-`.
    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let args = &self.args;
        [&args.json, &args.csv, &args.hgrm, &args.svg].into_iter().flatten()
    }

    /// Whether stdout belongs to a machine, so that the report goes to stderr.
    pub(crate) fn is_stdout_taken(&self) -> bool {
        self.args.ndjson || self.files().any(|path| path.as_os_str() == "-")
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
        let lines = [
            ("server", server),
            ("target", target.to_owned()),
            ("connections", plan.connections.to_string()),
            ("active", plan.active_connections().to_string()),
            ("size", Sizes(args.size.0, args.size.1).to_string()),
            ("rate", or(args.rate, "closed loop")),
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

fn plan(args: &BenchArgs, targets: Vec<Target>, subject: &Subject) -> Plan {
    let number = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    let mut plan = Plan::new(targets);
    plan.connections = number(args.connections);
    plan.active = match args.active {
        Active::Count(count) => Some(number(count)),
        Active::Percent(percent) if percent >= 100.0 => None,
        Active::Percent(percent) => Some(share(args.connections, percent)),
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
    plan.sources = args.source.clone();
    plan.source_ports = (args.source_ports.0, args.source_ports.1);
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
        (None, Subject::Own) => Some(args.duration.unwrap_or(OWN_LOAD)),
        (after, _) => after,
    };
    plan.exit_within = args.exit_within;
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
fn share(connections: u64, percent: f64) -> usize {
    (connections as f64 * percent / 100.0).ceil() as usize
}
