//! What a run is to do: the flags, checked and completed.

use std::{ffi::OsString, time::Duration};

use rustix::process::Pid;

use super::{
    args::{BenchArgs, CloseHow},
    host,
    value::Active,
};
use crate::cli::failure::Failure;
use netgrace::load::{Close, Plan, Target};

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
    /// Whoever listens on the target.
    Unknown,
}

/// The flags, checked and completed.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) plan: Plan,
    pub(crate) subject: Subject,
    pub(crate) args: BenchArgs,
}

impl Setting {
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

    /// Whether stdout belongs to a machine, so that the report goes to stderr.
    pub(crate) fn is_stdout_taken(&self) -> bool {
        let stdout = |path: &std::path::Path| path.as_os_str() == "-";
        let files = [&self.args.json, &self.args.csv, &self.args.hgrm, &self.args.svg];
        self.args.ndjson || files.into_iter().flatten().any(|path| stdout(path))
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
