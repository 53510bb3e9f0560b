//! Which log lines are wanted: `-v`, `-q` and `RUST_LOG`.

use std::ffi::OsStr;

use clap::{ArgAction, Args};
use log::LevelFilter;

/// All levels, from nothing to everything: `-q` steps to the left, `-v` to the right.
const SCALE: [LevelFilter; 6] = [
    LevelFilter::Off,
    LevelFilter::Error,
    LevelFilter::Warn,
    LevelFilter::Info,
    LevelFilter::Debug,
    LevelFilter::Trace,
];

const DEFAULT: LevelFilter = LevelFilter::Info;

/// How much is logged: `-v` and `-q` add up.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct Verbosity {
    /// Log more: -v every connection (debug), -vv every step (trace)
    #[arg(short, long = "verbose", action = ArgAction::Count, help_heading = "Output")]
    pub(crate) verbose: u8,

    /// Log less: -q warnings, -qq errors, -qqq nothing; -v and -q replace RUST_LOG
    #[arg(short, long = "quiet", action = ArgAction::Count, help_heading = "Output")]
    pub(crate) quiet: u8,
}

impl Verbosity {
    /// Returns the level that the flags ask for, `None` if there are none.
    fn level(self) -> Option<LevelFilter> {
        if self.verbose == 0 && self.quiet == 0 {
            return None;
        }
        let place = SCALE.iter().position(|level| *level == DEFAULT)?;
        let place = place.saturating_add(self.verbose.into()).saturating_sub(self.quiet.into());
        SCALE.get(place).or(SCALE.last()).copied()
    }
}

/// What is logged, by target; see [`Filter::new`].
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Filter {
    /// For targets not named below.
    pub(crate) level: LevelFilter,
    /// Prefixes of targets with a level of their own; no prefix twice.
    pub(crate) targets: Vec<(String, LevelFilter)>,
    /// Items of `RUST_LOG` that are invalid, each with the reason.
    pub(crate) invalid: Vec<String>,
}

impl Filter {
    /// Flags replace `RUST_LOG` altogether, so that `-qqq` logs nothing in any environment. mio
    /// logs nothing unless `RUST_LOG` names it.
    pub(crate) fn new(verbosity: Verbosity, rust_log: Option<&OsStr>) -> Self {
        let mut filter = Self {
            level: DEFAULT,
            targets: vec![("mio".to_owned(), LevelFilter::Off)],
            invalid: Vec::new(),
        };
        match (verbosity.level(), rust_log) {
            (Some(level), _) => filter.level = level,
            (None, Some(items)) => filter.read(&items.to_string_lossy()),
            (None, None) => {}
        }
        filter
    }

    /// Returns the most detailed level of any target.
    pub(crate) fn max_level(&self) -> LevelFilter {
        self.targets.iter().fold(self.level, |max, (_, level)| max.max(*level))
    }

    fn read(&mut self, items: &str) {
        for item in items.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let (target, level) = match item.split_once('=') {
                None => (None, item),
                Some((target, level)) => (Some(target.trim()), level.trim()),
            };
            match (target, level.parse::<LevelFilter>()) {
                (None, Ok(level)) => self.level = level,
                (Some(target), Ok(level)) if !target.is_empty() => {
                    self.targets.retain(|(known, _)| known != target);
                    self.targets.push((target.to_owned(), level));
                }
                _ => self.invalid.push(format!(
                    "RUST_LOG: {item:?} is neither a level (off, error, warn, info, debug, trace) \
                     nor target=level: ignored"
                )),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(verbose: u8, quiet: u8, rust_log: &str) -> Filter {
        Filter::new(Verbosity { verbose, quiet }, Some(OsStr::new(rust_log)))
    }

    #[test]
    fn flags_step_along_the_scale() {
        for (verbose, quiet, level) in [
            (0, 0, LevelFilter::Info),
            (1, 0, LevelFilter::Debug),
            (2, 0, LevelFilter::Trace),
            (9, 0, LevelFilter::Trace),
            (0, 1, LevelFilter::Warn),
            (0, 2, LevelFilter::Error),
            (0, 3, LevelFilter::Off),
            (0, 255, LevelFilter::Off),
            (1, 1, LevelFilter::Info),
        ] {
            assert_eq!(filter(verbose, quiet, "").level, level, "-v {verbose} -q {quiet}");
        }
    }

    #[test]
    fn the_environment_sets_levels_by_target() {
        let read = filter(0, 0, " warn , netgrace::engine = TRACE,mio=debug,");
        assert_eq!(read.level, LevelFilter::Warn);
        assert_eq!(read.max_level(), LevelFilter::Trace);
        let targets = [("netgrace::engine", LevelFilter::Trace), ("mio", LevelFilter::Debug)];
        assert_eq!(read.targets, targets.map(|(target, level)| (target.to_owned(), level)));
        assert_eq!(read.invalid, [""; 0]);
    }

    #[test]
    fn invalid_items_of_the_environment_are_named_and_escaped() {
        let read = filter(0, 0, "nfo,=debug,x=,\u{1b}[0m,debug");
        assert_eq!(read.level, LevelFilter::Debug);
        assert_eq!(read.invalid.len(), 4);
        assert!(read.invalid.iter().all(|line| !line.contains(char::is_control)));
    }

    #[test]
    fn flags_replace_the_environment() {
        let read = filter(0, 3, "trace,netgrace=trace,nonsense");
        assert_eq!(read.max_level(), LevelFilter::Off);
        assert!(read.invalid.is_empty());
    }
}
