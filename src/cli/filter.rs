//! Which log lines are wanted: `-v`, `-q` and `RUST_LOG`.

use clap::{ArgAction, Args};

/// How much is logged: `-v` and `-q` add up.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct Verbosity {
    /// Log more: -v every connection (debug), -vv every step (trace)
    #[arg(short, long = "verbose", action = ArgAction::Count, help_heading = "Output")]
    pub(crate) verbose: u8,

    /// Log less: -q warnings, -qq errors, -qqq nothing; -v and -q overrule RUST_LOG
    #[arg(short, long = "quiet", action = ArgAction::Count, help_heading = "Output")]
    pub(crate) quiet: u8,
}
