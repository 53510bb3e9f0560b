//! The figures as a table and as JSON.

use std::fmt::Write;

use serde_json::{Value, json};

use super::args::Comparison;
use super::case::Case;
use super::machine::Machine;
use super::pair::{Pair, Spread};

/// One case and its pairs.
pub type Row = (Case, Vec<Pair>);

/// A Markdown table: netgrace's own figure, then its ratio to each peer's.
pub fn table(comparison: &Comparison, machine: &Machine, rows: &[Row]) -> String {
    let mut text = head(comparison, machine);
    // A peer that serves none of the cases has no column.
    let is_tried = |at: usize| rows.iter().any(|(_, pairs)| pairs[at].is_tried());
    let shown_at: Vec<_> = (0..comparison.peers.len()).filter(|at| is_tried(*at)).collect();
    let peers: Vec<_> = shown_at.iter().map(|at| comparison.peers[*at].name()).collect();
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut heads = vec!["case".to_owned(), "netgrace".to_owned()];
    heads.extend(peers.iter().map(|peer| format!("/ {peer}")));
    text += &line(&heads);
    text += &line(&vec!["---".to_owned(); heads.len()]);
    let mut notes = String::new();
    for (case, pairs) in rows {
        let all: Vec<_> = pairs.iter().flat_map(|pair| pair.ours.clone()).collect();
        let own = shown(&all, |own| number(own.median));
        let unit = case.figure.unit();
        let mut cells = vec![format!("{} ({})", case.what, case.name), format!("{own} {unit}")];
        for pair in shown_at.iter().map(|at| &pairs[*at]) {
            cells.push(shown(&pair.ratios(), ratio));
            for failure in &pair.failures {
                writeln!(notes, "{} against {}: {failure}", case.name, pair.peer).unwrap();
            }
        }
        text += &line(&cells);
    }
    text + "\nMedian of the paired ratios (lowest to highest). Lower is better, but for conns/s.\n"
        + &notes
}

fn head(comparison: &Comparison, machine: &Machine) -> String {
    let Machine { cpus, model, kernel, cores, commit, .. } = machine;
    let cores = match cores {
        Some((server, load)) => format!("server on CPU {server}, load on CPU {load}"),
        None => "server and load on the same CPU".to_owned(),
    };
    let commit = commit.as_deref().unwrap_or("of no known commit");
    let Comparison { rounds, time, command, .. } = comparison;
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "netgrace {version}, {commit}; Linux {kernel}, {cpus} x {model}; {cores}\n\
         {rounds} rounds of {time:?}: {command}\n\n"
    )
}

/// One line about a pair, as soon as it is measured.
pub fn progress(case: &Case, pair: &Pair) -> String {
    let figure = |figures: &[f64]| shown(figures, |spread| number(spread.median));
    let (ours, theirs, unit) = (figure(&pair.ours), figure(&pair.theirs), case.figure.unit());
    let ratio = shown(&pair.ratios(), ratio);
    format!("{}: netgrace {ours}, {} {theirs} {unit}: {ratio}", case.name, pair.peer)
}

fn shown(figures: &[f64], show: impl Fn(Spread) -> String) -> String {
    Spread::of(figures).map_or_else(|| "–".to_owned(), show)
}

fn ratio(ratio: Spread) -> String {
    let Spread { median, min, max } = ratio;
    format!("{median:.2} ({min:.2}–{max:.2})")
}

/// Three digits of it.
fn number(figure: f64) -> String {
    match figure.abs() {
        0.0..10.0 => format!("{figure:.2}"),
        10.0..100.0 => format!("{figure:.1}"),
        _ => format!("{figure:.0}"),
    }
}

pub fn json(comparison: &Comparison, machine: &Machine, rows: &[Row]) -> Value {
    let cases: Vec<_> = rows
        .iter()
        .map(|(case, pairs)| {
            json!({
                "case": case.name,
                "what": case.what,
                "unit": case.figure.unit(),
                "better": case.figure.better(),
                "pairs": pairs.iter().filter(|p| p.is_tried()).map(json_pair).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({
        "netgrace": { "version": env!("CARGO_PKG_VERSION"), "commit": machine.commit },
        "machine": {
            "cpus": machine.cpus,
            "model": machine.model,
            "kernel": machine.kernel,
            "server_cpu": machine.cores.map(|(server, _)| server),
            "load_cpu": machine.cores.map(|(_, load)| load),
            "connections_max": machine.connections,
        },
        "command": comparison.command,
        "rounds": comparison.rounds,
        "seconds": comparison.time.as_secs_f64(),
        "cases": cases,
    })
}

fn json_pair(pair: &Pair) -> Value {
    json!({
        "peer": pair.peer,
        "netgrace": json_spread(&pair.ours),
        "other": json_spread(&pair.theirs),
        "ratio": json_spread(&pair.ratios()),
        "failures": pair.failures,
    })
}

fn json_spread(figures: &[f64]) -> Value {
    Spread::of(figures).map_or(Value::Null, |Spread { median, min, max }| {
        json!({ "median": median, "min": min, "max": max, "all": figures })
    })
}
