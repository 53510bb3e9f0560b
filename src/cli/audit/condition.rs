//! `--fail-if`: conditions on an audit.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::cli::units;
use netgrace::audit::Audit;
use netgrace::audit::Class;

/// A condition such as `lost>0`.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    text: String,
    term: Term,
    is_above: bool,
    /// A count, or nanoseconds.
    bound: u128,
}

#[derive(Clone, Copy, Debug)]
enum Term {
    Class(Class),
    Announced,
    ClosedIdle,
    ResetIdle,
    Lost,
    Gap,
    Exit,
}

impl Condition {
    /// Returns the conditions that hold where none are asked for.
    pub(crate) fn defaults() -> Vec<Self> {
        let count =
            |text: &str, term| Self { text: text.to_owned(), term, is_above: true, bound: 0 };
        vec![count("lost>0", Term::Lost), count("raced>0", Term::Class(Class::Raced))]
    }

    /// Returns the failure if the condition is true of the audit.
    pub(crate) fn failure(&self, audit: &Audit) -> Option<String> {
        let count = |count: u64| Some(u128::from(count));
        let time = |time: Option<Duration>| time.map(|time| time.as_nanos());
        let value = match self.term {
            Term::Class(class) => count(audit.classes().get(class)),
            Term::Announced => count(audit.announced),
            Term::ClosedIdle => count(audit.closed_idle),
            Term::ResetIdle => count(audit.reset_idle),
            Term::Lost => count(audit.lost()),
            Term::Gap => Some(audit.times.gap.as_nanos()),
            Term::Exit => time(audit.times.exit),
        };
        let Some(value) = value else {
            return Some(format!("{}: it is not known", self.text));
        };
        let is_true = if self.is_above { value > self.bound } else { value < self.bound };
        let shown = match self.term {
            Term::Gap => units::approximate_duration(audit.times.gap),
            Term::Exit => units::approximate_duration(audit.times.exit.unwrap_or_default()),
            _ => value.to_string(),
        };
        is_true.then(|| format!("{}: {shown}", self.text))
    }
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let at = text.find(['<', '>']).ok_or("is not TERM<VALUE or TERM>VALUE")?;
        let (name, rest) = text.split_at_checked(at).unwrap_or((text, ""));
        let value = rest.get(1..).unwrap_or_default().trim();
        let (name, is_above) = (name.trim(), rest.starts_with('>'));
        let term = term(name)?;
        let wrong = |error: units::UnitError| format!("'{value}' {error} ({name} needs one)");
        let bound = match term {
            Term::Gap | Term::Exit => units::duration(value).map_err(wrong)?.as_nanos(),
            _ => u128::from(units::count(value).map_err(wrong)?),
        };
        Ok(Self { text: text.to_owned(), term, is_above, bound })
    }
}

fn term(name: &str) -> Result<Term, String> {
    match name {
        "announced" => Ok(Term::Announced),
        "closed_idle" => Ok(Term::ClosedIdle),
        "reset_idle" => Ok(Term::ResetIdle),
        "lost" => Ok(Term::Lost),
        "gap" => Ok(Term::Gap),
        "exit" => Ok(Term::Exit),
        _ => Class::named(name).map(Term::Class).ok_or_else(|| {
            let classes = Class::ALL.map(Class::name).join(", ");
            format!(
                "'{name}' is not known; terms are lost, gap, exit, announced, closed_idle, \
                 reset_idle, {classes}"
            )
        }),
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(text: &str, audit: &Audit) -> Option<String> {
        text.parse::<Condition>().unwrap().failure(audit)
    }

    #[test]
    fn conditions_compare_counts_and_times() {
        let mut audit = Audit::default();
        audit.times.gap = Duration::from_millis(120);
        audit.announced = 3;
        assert_eq!(failure("gap > 100ms", &audit).unwrap(), "gap > 100ms: 120 ms");
        assert_eq!(failure("gap>120ms", &audit), None);
        assert_eq!(failure("announced<4", &audit).unwrap(), "announced<4: 3");
        assert_eq!(failure("swallowed>0", &audit), None);
        assert_eq!(failure("exit>1h", &audit).unwrap(), "exit>1h: it is not known");
        assert!(Condition::defaults().iter().all(|condition| condition.failure(&audit).is_none()));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["lost", "lost=0", "lose>0", "gap>1", "lost>1ms", "lost>", "started>1"] {
            assert!(text.parse::<Condition>().is_err(), "{text}");
        }
    }
}
