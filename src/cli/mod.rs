//! The program: parses the command line, runs the subcommand, and returns its exit code.
//!
//! Everything here uses the public API of the library only.

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, Parser};

mod address;
mod admin;
mod advice;
mod args;
mod atomic_file;
mod audit;
mod bench;
mod destination;
mod failure;
mod filter;
mod limits;
mod logger;
mod output;
mod report;
mod serve;
mod signal;
mod units;

use args::{Cli, Command, Page, Shell};
use failure::Failure;

/// Runs the program with the arguments of the process.
pub(crate) fn run() -> ExitCode {
    signal::survive_file_size_limit();
    let cli = match Cli::try_parse_from(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return print_parser_message(error),
    };
    let outcome = match cli.command {
        None => serve::run(&cli.serve, &[]),
        Some(Command::Serve(serve)) => serve::run(&serve.flags, &serve.addresses),
        Some(Command::Bench(args)) => bench::run(&args),
        Some(Command::Report(args)) => report::run(&args),
        Some(Command::Audit(args)) => audit::run(&args),
        Some(Command::Completions { shell }) => completions(shell),
        Some(Command::Man { page }) => man(page),
    };
    finish(outcome)
}

/// Prints the reason of a failure, and returns the exit code.
fn finish(outcome: Result<ExitCode, Failure>) -> ExitCode {
    outcome.unwrap_or_else(|failure| {
        output::eprint(&format!("error: {failure}\n"));
        ExitCode::from(failure.exit())
    })
}

/// Prints the message of the parser: help and version on stdout, errors on stderr.
fn print_parser_message(mut error: clap::Error) -> ExitCode {
    if !error.use_stderr() {
        return finish(print(&error.render().to_string()));
    }
    // What the user typed is quoted in the message and must not reach the terminal as it is.
    let mut has_control = false;
    let quoted: Vec<(ContextKind, ContextValue)> =
        error.context().map(|(kind, value)| (kind, value.clone())).collect();
    for (kind, value) in quoted {
        if let ContextValue::String(text) = value
            && text.contains(char::is_control)
        {
            has_control = true;
            error.insert(kind, ContextValue::String(text.escape_debug().to_string()));
        }
    }
    if has_control {
        error.remove(ContextKind::Suggested);
    }
    let message = error.render().to_string();
    output::eprint(&message.replace(|c: char| c.is_control() && c != '\n', "?"));
    ExitCode::from(2)
}

fn completions(shell: Shell) -> Result<ExitCode, Failure> {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "netgrace", &mut script);
    print(&String::from_utf8_lossy(&script))
}

fn man(page: Option<Page>) -> Result<ExitCode, Failure> {
    let mut command = Cli::command();
    command.build();
    let name = match page {
        None => None,
        Some(Page::Serve) => Some("serve"),
        Some(Page::Bench) => Some("bench"),
        Some(Page::Report) => Some("report"),
        Some(Page::Audit) => Some("audit"),
    };
    let page = name.and_then(|name| command.find_subcommand(name).cloned()).unwrap_or(command);
    let mut roff = Vec::new();
    let rendered = clap_mangen::Man::new(page).render(&mut roff);
    rendered.map_err(|error| Failure::unable(format!("cannot render the page: {error}")))?;
    // The closing text is a table, whose lines must stay as they are.
    let roff = String::from_utf8_lossy(&roff);
    let roff =
        roff.replace(".SH EXTRA\n", ".SH NOTES\n.nf\n").replace(".SH VERSION", ".fi\n.SH VERSION");
    print(&roff)
}

/// Prints the output of a subcommand.
fn print(text: &str) -> Result<ExitCode, Failure> {
    match output::print(text) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(Failure::unable(format!("cannot write to stdout: {error}"))),
    }
}
