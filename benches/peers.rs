//! netgrace beside the servers that a user would write instead, by CPU time, memory and speed:
//! the echo beside echo servers, `line` and `http` beside servers in C, `http` beside nginx.
//!
//! `cargo bench --bench peers -- --rounds 10` compares; under `cargo test` it is a smoke. The load
//! is `netgrace::load`, in this process; every server is a child, fresh for each figure, on a core
//! of its own.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    missing_docs,
    unreachable_pub
)]

mod support;

use std::fs;
use std::process::ExitCode;

use support::args::{Comparison, Task};
use support::case::{CROWD, Scale};
use support::machine::Machine;
use support::pair::Pair;
use support::{foreign, output, peer, smoke};

fn main() -> ExitCode {
    let done = match Task::read() {
        Ok(Task::Serve(name)) => peer::serve(&name).map_err(|error| format!("{name}: {error}")),
        Ok(Task::List) => Ok(()),
        Ok(Task::Smoke) => {
            let (passed, failures) = smoke::run();
            failures.iter().for_each(|failure| println!("{failure}"));
            println!("{passed} passed, {} failed", failures.len());
            return if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
        Ok(Task::Compare(comparison)) => compare(&comparison),
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn compare(comparison: &Comparison) -> Result<(), String> {
    let machine = Machine::look();
    let scale = Scale { connections: machine.connections, time: comparison.time, messages: None };
    if scale.connections < CROWD {
        let most = scale.connections;
        eprintln!("the limit of descriptors makes the largest cases {most} connections");
    }
    let mut rows = Vec::new();
    for case in &comparison.cases {
        let mut pairs = Vec::new();
        for peer in &comparison.peers {
            let pair = Pair::measure(case, peer, comparison.rounds, scale, &machine);
            if pair.is_tried() {
                eprintln!("{}", output::progress(case, &pair));
            }
            pairs.push(pair);
        }
        rows.push((*case, pairs));
    }
    foreign::clean();
    let table = output::table(comparison, &machine, &rows);
    let json = output::json(comparison, &machine, &rows);
    match comparison.json.as_deref() {
        Some("-") => {
            eprint!("{table}");
            println!("{json:#}");
        }
        Some(file) => {
            print!("{table}");
            fs::write(file, format!("{json:#}\n"))
                .map_err(|error| format!("{file} cannot be written: {error}"))?;
        }
        None => print!("{table}"),
    }
    Ok(())
}
