//! The command line: one definition for parsing, help, completions and the manual page.

use clap::{Parser, Subcommand, ValueEnum};

use crate::cli::audit::AuditArgs;
use crate::cli::bench::BenchArgs;
use crate::cli::report::ReportArgs;
use crate::cli::serve::args::{ServeArgs, ServeCommand};

const ABOUT: &str = "A TCP echo server that stops without losing a byte, and proves it";

const AFTER_HELP: &str = "\
Without a subcommand netgrace serves; `netgrace serve` also takes the addresses without a flag.

Units:
  DUR    250ms, 10s, 1m30s (us, ms, s, m, h; a bare number is an error; off or 0s disables)
  SIZE   64K = 64KiB = 65536, 64kB = 64000, 512B
  N      500, 10k, 1.5M

Signals:
  INT, TERM, HUP  stop gracefully; again, 500 ms or more later: reset what is left; a third: die
  QUIT            reset what is left at once
  USR1            log the counters
  USR2            start the program anew and hand the sockets over; stop when it serves

Exit codes:
  0      stopped on request, nothing lost
  1      could not start, the loop failed, or the report could not be written
  2      usage
  3      stopped on request, but bytes or queued clients were lost (--strict: not complete)
  128+n  ended by the third stop signal

Examples:
  netgrace                                      echo on 127.0.0.1:5388 until Ctrl-C
  netgrace -l 0.0.0.0:7000 -l '[::]:7000'       all networks, both families
  netgrace -l 127.0.0.1:0 --port-file port.txt  any free port, written for a script
  netgrace -l unix:/run/user/1000/echo.sock     a Unix socket, for its owner only
  netgrace --admin 9090                         health and metrics on 127.0.0.1:9090
  netgrace --drain peer --shutdown-timeout 30s  let every client finish, up to 30 s
  netgrace --report - --strict                  print the report of the stop as JSON";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "netgrace",
    version,
    propagate_version = true,
    about = ABOUT,
    after_help = "'--help' shows units, signals, exit codes and examples.",
    after_long_help = AFTER_HELP,
    args_conflicts_with_subcommands = true,
    args_override_self = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    /// What to do; without one, serve.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// The flags of the bare command.
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Echo what clients send (the default)
    #[command(after_long_help = AFTER_HELP)]
    Serve(Box<ServeCommand>),
    /// Load-test a TCP echo server: every byte checked, honest latency, shutdown audit
    Bench(Box<BenchArgs>),
    /// Merge the reports of several servers, and end with the exit code of the least
    Report(ReportArgs),
    /// Stop any HTTP, line or echo server under load: what its clients lose, and why
    Audit(Box<AuditArgs>),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Print the manual page (roff), of a subcommand if one is named
    Man {
        /// The subcommand
        #[arg(value_enum)]
        page: Option<Page>,
    },
}

/// The shells with a completion script.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Shell {
    /// GNU Bash
    Bash,
    /// Z shell
    Zsh,
    /// fish
    Fish,
}

/// The subcommands with a manual page of their own.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Page {
    /// netgrace-serve(1)
    Serve,
    /// netgrace-bench(1)
    Bench,
    /// netgrace-report(1)
    Report,
    /// netgrace-audit(1)
    Audit,
}
