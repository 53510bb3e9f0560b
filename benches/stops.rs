//! What a stop of other servers costs their clients, as `netgrace audit` finds it.
//!
//! `cargo bench --bench stops` audits every server of the table that is on this machine and
//! prints the findings as Markdown; what is missing is skipped and named, with the line that
//! installs it. Under `cargo test` it is a smoke: one stop of the first servers that are there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs,
    unreachable_pub
)]

#[path = "stops/finding.rs"]
mod finding;
#[path = "stops/place.rs"]
mod place;
#[path = "stops/rows.rs"]
mod rows;
#[path = "stops/sources.rs"]
mod sources;

use std::env;
use std::fs;
use std::process::ExitCode;

use finding::Finding;
use place::Place;
use rows::ROWS;
use rows::Row;

const USAGE: &str = "\
cargo bench --bench stops -- [OPTION]...
  --repeat N     stops of each server (default 20)
  --smoke        3 stops of each
  --only NAME    only the servers whose name begins so; may be repeated
  --json FILE    all findings as JSON
  --list         name the servers, how each is installed, and which manual recommends the stop
Programs are looked for in PATH.";

/// The servers of a smoke under `cargo test`.
const SMOKE_ROWS: usize = 2;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let is_bench = args.iter().any(|arg| arg == "--bench");
    let done = if !is_bench && args.iter().any(|arg| arg == "--list") {
        Ok(())
    } else if is_bench {
        Task::read(&args).and_then(|task| task.run())
    } else {
        smoke()
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// One stop of each of a few servers: that the audits run, and that their sums hold.
fn smoke() -> Result<(), String> {
    let mut passed = 0;
    for row in ROWS.iter().filter(|row| row.builds.is_none() && row.is_quick) {
        if passed == SMOKE_ROWS {
            break;
        }
        let Ok(place) = Place::prepare(row) else { continue };
        let finding = place.audit(row, 1, &["--warmup", "300ms", "--settle", "1500ms"])?;
        finding.check().map_err(|why| format!("{} {}: {why}", row.name, row.how))?;
        passed += 1;
    }
    println!("{passed} passed, 0 failed");
    Ok(())
}

struct Task {
    repeat: u64,
    only: Vec<String>,
    json: Option<String>,
    is_list: bool,
}

impl Task {
    fn read(args: &[String]) -> Result<Self, String> {
        let mut task = Self { repeat: 20, only: Vec::new(), json: None, is_list: false };
        let mut args = args.iter().filter(|arg| *arg != "--bench");
        while let Some(flag) = args.next() {
            let mut value = || args.next().cloned().ok_or_else(|| format!("{flag}: no value"));
            match flag.as_str() {
                "--repeat" => {
                    let text = value()?;
                    let number = text.parse().ok().filter(|number| *number > 0);
                    task.repeat =
                        number.ok_or_else(|| format!("--repeat: '{text}' is no number"))?;
                }
                "--smoke" => task.repeat = 3,
                "--only" => task.only.push(value()?),
                "--json" => task.json = Some(value()?),
                "--list" => task.is_list = true,
                _ => return Err(format!("'{flag}' is not known\n{USAGE}")),
            }
        }
        Ok(task)
    }

    fn run(&self) -> Result<(), String> {
        let is_wanted =
            |row: &&Row| self.only.is_empty() || self.only.iter().any(|n| row.name.starts_with(n));
        let rows: Vec<&Row> = ROWS.iter().filter(is_wanted).collect();
        if self.is_list {
            for row in rows {
                println!("{:28} {:40} {}", row.name, row.how, row.install);
                if let Some(manual) = row.manual {
                    println!("{:28} \u{2605} {manual}", "");
                }
            }
            return Ok(());
        }
        let (mut findings, mut missing) = (Vec::new(), Vec::new());
        for row in rows {
            let found = Place::prepare(row).and_then(|place| place.audit(row, self.repeat, &[]));
            match found {
                Ok(finding) => {
                    eprintln!("{}", finding.line());
                    findings.push(finding);
                }
                Err(why) => {
                    eprintln!("{} ({}): skipped: {why}", row.name, row.how);
                    missing.push(format!("{} ({}): {why}", row.name, row.how));
                }
            }
        }
        print!("{}", table(&findings, &missing, self.repeat));
        if let Some(path) = &self.json {
            let all: Vec<_> = findings.iter().map(Finding::document).collect();
            fs::write(path, format!("{:#}\n", serde_json::Value::from(all)))
                .map_err(|error| format!("{path} cannot be written: {error}"))?;
        }
        Ok(())
    }
}

fn table(findings: &[Finding], missing: &[String], repeat: u64) -> String {
    let mut text = format!(
        "{repeat} stops of each server under load; \u{2605}: as its own manual recommends for \
         graceful stops. Gap and exit are the longest of all stops.\n\n\
         | server | stopped by | requests | lost | raced | gap | exit | verdict |\n\
         |---|---|--:|---|--:|--:|--:|---|\n"
    );
    for finding in findings {
        text.push_str(&finding.line());
        text.push('\n');
    }
    for line in missing {
        text.push_str(&format!("\nNot audited: {line}"));
    }
    text.push('\n');
    text
}
