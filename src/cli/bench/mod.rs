//! `netgrace bench`: the load generator's command line.

use std::process::ExitCode;

use crate::cli::failure::Failure;

/// The flags of `netgrace bench`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct BenchArgs {}

/// Runs the load generator.
pub(crate) fn run(_args: &BenchArgs) -> Result<ExitCode, Failure> {
    Err(Failure::unable("bench is not built in"))
}
