//! netgrace and a peer, in turn: the ratios of neighbours in time.

use super::case::{Case, Scale};
use super::figure::measure;
use super::machine::Machine;
use super::server::Program;

/// After so many failures of one pair the rest of its rounds is left out.
const FAILURES: usize = 2;

/// The figures of one case against one peer.
#[derive(Debug, Default)]
pub struct Pair {
    pub peer: String,
    pub ours: Vec<f64>,
    pub theirs: Vec<f64>,
    pub failures: Vec<String>,
}

impl Pair {
    /// Measures A B A B …, a fresh server for each.
    pub fn measure(
        case: &Case,
        peer: &Program,
        rounds: usize,
        scale: Scale,
        machine: &Machine,
    ) -> Self {
        let netgrace = Program::Netgrace { args: case.args };
        let mut pair = Self { peer: peer.name().to_owned(), ..Self::default() };
        if !peer.serves(case.service) {
            return pair;
        }
        for _ in 0..rounds {
            let one = |program: &Program| {
                measure(case, program, scale, machine.cores)
                    .and_then(|figure| {
                        let counted = figure.is_finite().then_some(figure);
                        counted.ok_or_else(|| "there was nothing to count".to_owned())
                    })
                    .map_err(|why| format!("{}: {why}", program.name()))
            };
            match (one(&netgrace), one(peer)) {
                (Ok(ours), Ok(theirs)) => {
                    pair.ours.push(ours);
                    pair.theirs.push(theirs);
                }
                (ours, theirs) => {
                    pair.failures.extend([ours, theirs].into_iter().filter_map(Result::err))
                }
            }
            if pair.failures.len() >= FAILURES {
                break;
            }
        }
        pair
    }

    /// Returns whether it was tried at all.
    pub fn is_tried(&self) -> bool {
        !self.ours.is_empty() || !self.failures.is_empty()
    }

    pub fn ratios(&self) -> Vec<f64> {
        self.ours.iter().zip(&self.theirs).map(|(ours, theirs)| ours / theirs).collect()
    }
}

/// The median of some figures and their spread.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// None without figures, or where one is no number: a ratio to nothing.
    pub fn of(figures: &[f64]) -> Option<Self> {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let median = (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0;
        Some(Self { median, min, max }).filter(|_| figures.iter().all(|figure| figure.is_finite()))
    }
}
