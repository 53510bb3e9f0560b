//! The flags of `netgrace bench`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Args, ValueEnum};

use super::condition::Condition;
use super::value;
use super::value::{
    Active, Label, Percentile, Ports, Ramp, Sizes, SourceFlag, StopSignal, Url, WorkerFlag,
};
use crate::cli::units;

/// The flags that say what a run does, and so mean nothing for runs that are over.
const NOT_MERGED: [&str; 39] = [
    "targets",
    "command",
    "connections",
    "duration",
    "messages",
    "size",
    "rate",
    "period",
    "ramp",
    "reconnect_at",
    "pipeline",
    "active",
    "churn",
    "threads",
    "connect_inflight",
    "connect_rate",
    "connect_timeout",
    "source",
    "source_ports",
    "warmup",
    "timeout",
    "settle",
    "no_verify",
    "seed",
    "close",
    "busy_poll",
    "shutdown_after",
    "pid",
    "signal",
    "stop_with",
    "exit_within",
    "leave_after",
    "worker",
    "start_at",
    "shutdown_at",
    "metrics",
    "interval",
    "no_progress",
    "dry_run",
];

/// Shown below the flags by `--help`.
pub(crate) const AFTER_HELP: &str = "\
Without a target and without a command, bench starts its own server, loads it, stops it under load
and audits the stop. With '-- COMMAND' it starts that server and loads the target; COMMAND's
standard output goes to stderr.

Units:
  DUR    250ms, 10s, 1m30s (us, ms, s, m, h; a bare number is an error)
  SIZE   64K = 64KiB = 65536, 64kB = 64000, 512B
  N      500, 10k, 1.5M
  TIME   2026-01-31T12:00:00Z, 2026-01-31T13:00:00.5+01:00, or Unix seconds such as 1769860800.5
  EXPR   METRIC, '<' or '>', VALUE; METRIC: min mean max p50 p99 p99.9 … (from the schedule with
         --rate, else from send), rtt.p99 (from send), connect.p99, rate, errors, retried, failed,
         wrong, missing, extra, cpu (server CPU time per message), rss (server memory per
         connection); a metric that is not known counts as out of bounds

Latency:
  With --rate messages are due on a constant schedule and latency counts from the scheduled time,
  so a stall of the server shows in full. Without it each answer releases the next message, and
  stalls are under-counted.

Exit codes (when several apply, the smallest that is not 0):
  0    everything asked for happened
  1    could not run: limits, refused by all, internal error
  2    usage
  3    data: a wrong, missing or extra byte, or a connection lost, outside the audit
  4    shutdown audit failed: bytes lost, resets, too slow, non-zero exit of the server
  5    load not reached: fewer connections than -c, or under 95% of --rate
  6    a --fail-if came true
  130  interrupted; report and JSON are still written

Examples:
  netgrace bench                                            # the whole story in 10 seconds
  netgrace bench -c 10k -r 200k 127.0.0.1:5388              # against a running server
  netgrace bench -c 1M --active 1% 127.0.0.1:7000-7099      # mostly idle, 100 ports
  netgrace bench -c 1k --shutdown-after 5s -- netgrace      # start, load, stop, audit
  netgrace bench -r 50k --fail-if 'p99>5ms' --json - :5388  # for CI
  srun -n 8 netgrace bench -c 1M --worker auto --start-at 2026-01-31T12:00:00Z \\
      --json result.$SLURM_PROCID.json server:5388          # on eight machines; then --merge";

/// The flags of `netgrace bench`.
#[derive(Clone, Debug, Args)]
#[command(args_override_self = true)]
#[command(after_help = "'--help' has units, expressions, exit codes and examples.")]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct BenchArgs {
    /// Where to connect to, in turn: HOST:PORT, HOST:FIRST-LAST, unix:PATH, unix:@NAME
    /// [default: 127.0.0.1:5388 with a command or --pid, else an own server]
    #[arg(value_name = "TARGET")]
    pub(crate) targets: Vec<String>,

    /// The server to start, and to end afterwards
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,

    /// Connections to hold open
    #[arg(short, long, value_name = "N", default_value = "100", help_heading = "Load")]
    #[arg(value_parser = units::positive_count)]
    pub(crate) connections: u64,

    /// Measured time [default: 10s]
    #[arg(short, long, value_name = "DUR", help_heading = "Load")]
    #[arg(value_parser = units::positive_duration)]
    pub(crate) duration: Option<Duration>,

    /// Stop after so many messages, if that comes first
    #[arg(short = 'n', long, value_name = "N", help_heading = "Load")]
    #[arg(value_parser = units::positive_count)]
    pub(crate) messages: Option<u64>,

    /// Bytes per message, or MIN..MAX
    #[arg(short, long, value_name = "SIZE", default_value = "512B", help_heading = "Load")]
    #[arg(value_parser = value::sizes)]
    pub(crate) size: Sizes,

    /// Messages per second, all connections together [default: as fast as answers come]
    #[arg(short, long, value_name = "RATE", help_heading = "Load")]
    #[arg(value_parser = units::positive_count)]
    pub(crate) rate: Option<u64>,

    /// Each connection sends one message in this time, spread evenly
    #[arg(long, value_name = "DUR", conflicts_with = "rate", help_heading = "Load")]
    #[arg(value_parser = units::positive_duration)]
    pub(crate) period: Option<Duration>,

    /// Steps of connections, each loaded for -d: 10k,20k,50k; a row of figures per step
    #[arg(long, value_name = "N,N,...", value_parser = value::ramp, help_heading = "Load")]
    #[arg(conflicts_with_all = ["connections", "messages", "shutdown_after", "shutdown_at"])]
    pub(crate) ramp: Option<Ramp>,

    /// Close all connections after so much measured time, and open them anew
    #[arg(long, value_name = "DUR", help_heading = "Load")]
    #[arg(value_parser = units::duration)]
    pub(crate) reconnect_at: Option<Duration>,

    /// Messages in flight per connection
    #[arg(short, long, value_name = "N", default_value = "1", help_heading = "Load")]
    #[arg(value_parser = units::positive_count)]
    pub(crate) pipeline: u64,

    /// Who sends: a share or a number; the others stay open and watched
    #[arg(long, value_name = "PCT|N", default_value = "100%", help_heading = "Load")]
    #[arg(value_parser = value::active)]
    pub(crate) active: Active,

    /// Connections per second to close and open anew during the run
    #[arg(long, value_name = "RATE", default_value = "0", help_heading = "Load")]
    #[arg(value_parser = units::count)]
    pub(crate) churn: u64,

    /// Generator threads [default: CPUs less one, at least 1]
    #[arg(short, long, value_name = "N", help_heading = "Load")]
    #[arg(value_parser = units::positive_count)]
    pub(crate) threads: Option<u64>,

    /// Unfinished connects allowed at a time
    #[arg(long, value_name = "N", default_value = "100", help_heading = "Connecting")]
    #[arg(value_parser = units::positive_count)]
    pub(crate) connect_inflight: u64,

    /// Connects per second at most [default: no limit]
    #[arg(long, value_name = "RATE", help_heading = "Connecting")]
    #[arg(value_parser = units::positive_count)]
    pub(crate) connect_rate: Option<u64>,

    /// A connect unfinished for so long has failed; each is tried again 3 times
    #[arg(long, value_name = "DUR", default_value = "5s", help_heading = "Connecting")]
    #[arg(value_parser = units::positive_duration)]
    pub(crate) connect_timeout: Duration,

    /// Source address, block, or interface (all its addresses) to connect from, repeatable
    /// [default: the kernel's choice; beyond 28k connections to one loopback address a pool from
    /// 127.1.0.0/16]
    #[arg(long, value_name = "IP|CIDR|IFACE", help_heading = "Connecting")]
    #[arg(value_parser = value::source)]
    pub(crate) source: Vec<SourceFlag>,

    /// Source ports to use [default: the kernel's choice; with source addresses 1024-65535]
    #[arg(long, value_name = "LO-HI", help_heading = "Connecting")]
    #[arg(value_parser = value::ports)]
    pub(crate) source_ports: Option<Ports>,

    /// Time under load, after all are connected, that is not measured
    #[arg(long, value_name = "DUR", default_value = "1s", help_heading = "Measuring")]
    #[arg(value_parser = units::duration)]
    pub(crate) warmup: Duration,

    /// An echo later than this is an error and ends its connection
    #[arg(long, value_name = "DUR", default_value = "10s", help_heading = "Measuring")]
    #[arg(value_parser = units::positive_duration)]
    pub(crate) timeout: Duration,

    /// Time after the end, without new messages, for what is in flight
    #[arg(long, value_name = "DUR", default_value = "2s", help_heading = "Measuring")]
    #[arg(value_parser = units::duration)]
    pub(crate) settle: Duration,

    /// Do not compare the bytes that come back; the report says so
    #[arg(long, help_heading = "Measuring")]
    pub(crate) no_verify: bool,

    /// Seed of the payload, below 2^53, for a re-run [default: random, printed]
    #[arg(long, value_name = "N", help_heading = "Measuring")]
    #[arg(value_parser = value::seed)]
    pub(crate) seed: Option<u64>,

    /// How connections are closed: half-close and read to the end, or reset
    #[arg(long, value_name = "HOW", default_value = "fin", help_heading = "Measuring")]
    pub(crate) close: CloseHow,

    /// Spin so long after the last event before sleeping
    #[arg(long, value_name = "DUR", default_value = "off", help_heading = "Measuring")]
    #[arg(value_parser = units::duration)]
    pub(crate) busy_poll: Duration,

    /// Stop the server under load after this, and audit what was lost
    #[arg(long, value_name = "DUR", help_heading = "Shutdown audit")]
    #[arg(conflicts_with_all = ["duration", "shutdown_at"])]
    #[arg(value_parser = units::positive_duration)]
    pub(crate) shutdown_after: Option<Duration>,

    /// The server's process, to watch and to stop
    #[arg(long, value_name = "PID", conflicts_with = "command", help_heading = "Shutdown audit")]
    #[arg(value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) pid: Option<i32>,

    /// The signal that stops it: a name or a number [default: TERM]
    #[arg(long, value_name = "SIG", help_heading = "Shutdown audit")]
    #[arg(value_parser = value::signal)]
    pub(crate) signal: Option<StopSignal>,

    /// Have the shell run this instead of sending a signal
    #[arg(long, value_name = "CMD", conflicts_with = "signal", help_heading = "Shutdown audit")]
    pub(crate) stop_with: Option<String>,

    /// The audit fails if the server takes longer [default: 10s]
    #[arg(long, value_name = "DUR", help_heading = "Shutdown audit")]
    #[arg(value_parser = units::positive_duration)]
    pub(crate) exit_within: Option<Duration>,

    /// Have the clients leave by themselves so long after the signal, for servers that wait for
    /// them [default: they go on sending until the server ends them]
    #[arg(long, value_name = "DUR", help_heading = "Shutdown audit")]
    #[arg(value_parser = units::duration)]
    pub(crate) leave_after: Option<Duration>,

    /// This is worker I of N (from 0 on) of one run on many machines, and takes its share of -c,
    /// -r, -n, --churn, --connect-rate, the source addresses and the seed. auto/N: I from
    /// JOB_COMPLETION_INDEX or SLURM_PROCID; auto: N from SLURM_NTASKS, too
    #[arg(long, value_name = "I/N|auto/N|auto", help_heading = "Many machines")]
    #[arg(value_parser = value::worker)]
    pub(crate) worker: Option<WorkerFlag>,

    /// Connect at once, and begin to measure at this time
    #[arg(long, value_name = "TIME", value_parser = value::time, help_heading = "Many machines")]
    pub(crate) start_at: Option<SystemTime>,

    /// Audit a stop at this time: every worker marks then what it has handed over. 100 ms later
    /// the one with --pid, --stop-with or a command stops the server
    #[arg(long, value_name = "TIME", value_parser = value::time, help_heading = "Many machines")]
    #[arg(conflicts_with = "duration")]
    pub(crate) shutdown_at: Option<SystemTime>,

    /// The page of the server's --admin, or of another exporter, that has its CPU time and memory
    #[arg(long, value_name = "URL", value_parser = value::url, help_heading = "Many machines")]
    #[arg(conflicts_with_all = ["pid", "command"])]
    pub(crate) metrics: Option<Url>,

    /// Step of progress and time series
    #[arg(short, long, value_name = "DUR", default_value = "1s", help_heading = "Output")]
    #[arg(value_parser = units::positive_duration)]
    pub(crate) interval: Duration,

    /// Write the results as JSON; '-': to stdout, and the report to stderr
    #[arg(long, value_name = "FILE|-", help_heading = "Output")]
    pub(crate) json: Option<PathBuf>,

    /// Write start, interval and end objects to stdout, one a line, and the report to stderr
    #[arg(long, help_heading = "Output")]
    pub(crate) ndjson: bool,

    /// Write one row per interval
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) csv: Option<PathBuf>,

    /// Write the latency distribution as an HdrHistogram percentile file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) hgrm: Option<PathBuf>,

    /// Draw rate and latency over time, and the latency distribution
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) svg: Option<PathBuf>,

    /// Percentiles to report
    #[arg(long, value_name = "LIST", default_value = "50,90,99,99.9,99.99,100")]
    #[arg(value_delimiter = ',', value_parser = value::percentile, help_heading = "Output")]
    pub(crate) percentiles: Vec<Percentile>,

    /// Exit with 6 if this holds, such as 'p99>5ms' or 'rate<100k'; repeatable
    #[arg(long, value_name = "EXPR", help_heading = "Output")]
    pub(crate) fail_if: Vec<Condition>,

    /// Copied into the JSON; repeatable
    #[arg(long, value_name = "K=V", value_parser = value::label, help_heading = "Output")]
    pub(crate) label: Vec<Label>,

    /// Merge the JSON files of the workers of one run, or of several runs, and run nothing
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "Output")]
    #[arg(conflicts_with_all = NOT_MERGED)]
    pub(crate) merge: Vec<PathBuf>,

    /// No report and no progress, only what was asked for otherwise, and errors
    #[arg(short, long, help_heading = "Output")]
    pub(crate) quiet: bool,

    /// No progress
    #[arg(long, help_heading = "Output")]
    pub(crate) no_progress: bool,

    /// Print the effective settings and limits, and run nothing
    #[arg(long, help_heading = "Output")]
    #[arg(conflicts_with_all = ["json", "ndjson", "csv", "hgrm", "svg", "fail_if", "label"])]
    pub(crate) dry_run: bool,
}

/// How connections are closed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum CloseHow {
    /// Half-close, then read to the server's end of stream
    Fin,
    /// Reset
    Rst,
}
