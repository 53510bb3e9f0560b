//! The command line.

use std::env;
use std::time::Duration;

use super::case::{CASES, Case};
use super::server::Program;

pub const USAGE: &str = "\
cargo bench --bench peers -- [OPTION]...
  --rounds N      pairs of figures for each ratio (default 10, or NETGRACE_ROUNDS)
  --seconds S     the measured time of a figure (default 1)
  --case NAME     only this case; may be repeated
  --against NAME  only this peer; may be repeated
  --json FILE     the figures as JSON; '-': on stdout, and the table on stderr
NETGRACE_PEERS=DIR  further peers: every DIR/peer-NAME, started with a port";

/// What is to be done.
#[derive(Debug)]
pub enum Task {
    /// Be this peer.
    Serve(String),
    /// Name the tests: there are none by name.
    List,
    /// See that it all works, in about a second.
    Smoke,
    Compare(Comparison),
}

#[derive(Debug)]
pub struct Comparison {
    pub rounds: usize,
    pub time: Duration,
    pub cases: Vec<Case>,
    pub peers: Vec<Program>,
    pub json: Option<String>,
    pub command: String,
}

impl Task {
    pub fn read() -> Result<Self, String> {
        let args: Vec<_> = env::args().skip(1).collect();
        let has = |flag: &str| args.iter().any(|arg| arg == flag);
        if let [flag, name] = &args[..]
            && flag == "--peer"
        {
            return Ok(Self::Serve(name.clone()));
        }
        if has("--list") {
            return Ok(Self::List);
        }
        if !has("--bench") {
            // The flags are the test harness's.
            return Ok(Self::Smoke);
        }
        let args: Vec<_> = args.into_iter().filter(|arg| arg != "--bench").collect();
        Comparison::read(&args).map(Self::Compare)
    }
}

impl Comparison {
    fn read(args: &[String]) -> Result<Self, String> {
        let command = ["cargo bench --bench peers --".to_owned()].into_iter().chain(args.to_vec());
        let rounds =
            env::var("NETGRACE_ROUNDS").ok().map(|text| positive("NETGRACE_ROUNDS", &text));
        let mut comparison = Self {
            rounds: rounds.transpose()?.unwrap_or(10),
            time: Duration::from_secs(1),
            cases: Vec::new(),
            peers: Vec::new(),
            json: None,
            command: command.collect::<Vec<_>>().join(" "),
        };
        let known = Program::peers().map_err(|error| format!("NETGRACE_PEERS: {error}"))?;
        let mut args = args.iter();
        while let Some(flag) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{flag}: the value is missing"));
            match flag.as_str() {
                "--rounds" => comparison.rounds = positive(flag, value()?)?,
                "--seconds" => comparison.time = seconds(value()?)?,
                "--case" => comparison.cases.push(named(flag, value()?, &CASES, |case| case.name)?),
                "--against" => {
                    comparison.peers.push(named(flag, value()?, &known, Program::name)?);
                }
                "--json" => comparison.json = Some(value()?.clone()),
                _ => return Err(format!("'{flag}' is not known\n{USAGE}")),
            }
        }
        if comparison.cases.is_empty() {
            comparison.cases = CASES.to_vec();
        }
        if comparison.peers.is_empty() {
            comparison.peers = known;
        }
        Ok(comparison)
    }
}

fn positive(flag: &str, text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("{flag}: '{text}' is not a positive number"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.01..=60.0).contains(seconds));
    let seconds = seconds.ok_or_else(|| format!("--seconds: '{text}' is not within 0.01 to 60"))?;
    Ok(Duration::from_secs_f64(seconds))
}

fn named<T: Clone>(
    flag: &str,
    name: &str,
    all: &[T],
    name_of: impl Fn(&T) -> &str,
) -> Result<T, String> {
    let found = all.iter().find(|one| name_of(one) == name);
    let names: Vec<_> = all.iter().map(name_of).collect();
    found.cloned().ok_or_else(|| format!("{flag}: '{name}' is none of {}", names.join(", ")))
}
