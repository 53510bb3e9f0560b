//! The flags of `netgrace audit`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::condition::Condition;
use super::value;
use super::value::Crowd;
use super::value::StopSignal;
use crate::cli::units;
use netgrace::audit::Target;

/// Shown below the flags by `--help`.
pub(crate) const AFTER_HELP: &str = "\
Without arguments, audit starts netgrace's own HTTP server and audits that. With '-- COMMAND' it
starts that server, in a process group of its own that is gone afterwards; COMMAND's standard
output goes to stderr.

Clients:
  new     one connection per request, back to back
  busy    keep-alive, back to back
  idle    keep-alive, a request every --think
  slow    reads a long answer at 64 KiB a second
  half    has sent half a request when the stop comes, sends the rest 50 ms later
  queued  waits in the accept queue when the stop comes

Classes of requests (unfinished at the stop, or started after it):
  answered          a whole, correct answer
  declined          a whole 429 or 503
  refused           connection refused (counts into the gap)
  unreachable       no answer to the SYN (counts into the gap)
  raced             a reused connection ended before a byte of the answer, and it is not shown
                    that the server had the request
  swallowed         LOST: the same, but the server's kernel had acknowledged the request
  reset_unanswered  LOST: the first request of a connection, never answered a byte
  truncated         LOST: part of an answer, then FIN
  cut               LOST: part of an answer, then a reset
  wrong             LOST: an answer that is not the right one
  hung              LOST: no byte for --settle

Units:
  DUR    250ms, 10s, 1m30s (us, ms, s, m, h; a bare number is an error)
  COND   TERM, '<' or '>', VALUE; TERM: a class, announced, closed_idle, reset_idle, lost, raced,
         or one of the times gap, exit; a time that cannot be told counts as out of bounds

Exit codes:
  0    nothing failed
  1    could not run: the server did not start or ended by itself, a foreign server on the port,
       no right answer
  2    usage
  4    a condition or a check failed
  130  interrupted; report and JSON are still written

Examples:
  netgrace audit                                            # netgrace itself, in ten seconds
  netgrace audit -- nginx -g 'daemon off;'                  # http://127.0.0.1:8080/ by default
  netgrace audit http://127.0.0.1:3000/ -- node server.js
  netgrace audit --signal QUIT --repeat 20 -- nginx -g 'daemon off;'
  netgrace audit http://[::1]:80/ --stop-with 'systemctl restart app' --restart
  netgrace audit --fail-if 'lost>0' --fail-if 'gap>100ms' --json - -- ./server   # for CI";

/// The flags of `netgrace audit`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "'--help' explains clients, classes, conditions and exit codes.")]
#[command(after_long_help = AFTER_HELP, args_override_self = true)]
pub(crate) struct AuditArgs {
    /// Whom to audit: http://HOST:PORT/PATH, line://HOST:PORT, echo://HOST:PORT
    /// [default: http://127.0.0.1:8080/ with a command or --pid, else an own server]
    #[arg(value_name = "TARGET", value_parser = Target::parse)]
    pub(crate) target: Option<Target>,

    /// The server to start and to stop
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,

    /// The process to stop, if it is not the command's
    #[arg(long, value_name = "PID", conflicts_with = "command", help_heading = "Stop")]
    #[arg(value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) pid: Option<i32>,

    /// The signal that stops it: a name or a number [default: TERM]
    #[arg(long, value_name = "SIG", conflicts_with = "stop_with", help_heading = "Stop")]
    #[arg(value_parser = value::signal)]
    pub(crate) signal: Option<StopSignal>,

    /// Run this by the shell instead of sending a signal
    #[arg(long, value_name = "CMD", help_heading = "Stop")]
    pub(crate) stop_with: Option<String>,

    /// The server is expected to come back: refused clients try again, the gap is measured
    #[arg(long, help_heading = "Stop")]
    pub(crate) restart: bool,

    /// So many stops of the command, each of a fresh process
    #[arg(long, value_name = "N", default_value = "1", help_heading = "Stop")]
    #[arg(value_parser = units::positive_count)]
    pub(crate) repeat: u64,

    /// How many clients of each kind; kinds that are not named keep their number
    #[arg(long, value_name = "LIST", default_value = value::CROWD, help_heading = "Load")]
    #[arg(value_parser = value::crowd)]
    pub(crate) clients: Crowd,

    /// Time between two requests of an idle client
    #[arg(long, value_name = "DUR", default_value = "100ms", help_heading = "Load")]
    #[arg(value_parser = units::duration)]
    pub(crate) think: Duration,

    /// What slow clients ask for [default: the target's path; of the own server /bytes/196608]
    #[arg(long, value_name = "PATH", help_heading = "Load")]
    pub(crate) slow_path: Option<String>,

    /// Load before the stop
    #[arg(long, value_name = "DUR", default_value = "1s", help_heading = "Load")]
    #[arg(value_parser = units::duration)]
    pub(crate) warmup: Duration,

    /// Patience without a byte; more than 1s is advised, since a lost SYN is repeated after 1s
    #[arg(long, value_name = "DUR", default_value = "3s", help_heading = "Load")]
    #[arg(value_parser = units::positive_duration)]
    pub(crate) settle: Duration,

    /// The audit fails if the process takes longer to exit (--restart: the service to be back)
    #[arg(long, value_name = "DUR", default_value = "10s", help_heading = "Verdict")]
    #[arg(value_parser = units::positive_duration)]
    pub(crate) exit_within: Duration,

    /// The audit fails if this is true, repeatable [default: 'lost>0' and 'raced>0']
    #[arg(long, value_name = "COND", help_heading = "Verdict")]
    pub(crate) fail_if: Vec<Condition>,

    /// Write the results as JSON ('-': stdout, and the report to stderr)
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) json: Option<PathBuf>,

    /// Draw the stop: answers over time, and what was lost or raced
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) svg: Option<PathBuf>,

    /// No report and no progress
    #[arg(short, long, help_heading = "Output")]
    pub(crate) quiet: bool,
}
