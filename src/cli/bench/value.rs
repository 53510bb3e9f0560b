//! The values of flags that no other command has.

use std::fmt;
use std::str::FromStr;

use rustix::process::Signal;

use crate::cli::units;

/// The seed must be exact in any JSON reader.
const SEED_END: u64 = 1 << 53;

/// The shortest and the longest message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes(pub(crate) u64, pub(crate) u64);

/// The first and the last port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ports(pub(crate) u16, pub(crate) u16);

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Active {
    Count(u64),
    /// Of all, 0 to 100.
    Percent(f64),
}

/// A name and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Label(pub(crate) String, pub(crate) String);

/// A percentile as a number and as it was written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Percentile {
    pub(crate) percent: f64,
    pub(crate) text: String,
}

/// A signal as a number and by its name without `SIG`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StopSignal {
    pub(crate) signal: Signal,
    pub(crate) name: &'static str,
}

const SIGNALS: [(&str, Signal); 7] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("KILL", Signal::KILL),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("TERM", Signal::TERM),
];

/// Reads `512B` or `64B..16K`.
pub(crate) fn sizes(text: &str) -> Result<Sizes, String> {
    let (low, high) = text.split_once("..").unwrap_or((text, text));
    let size = |part: &str| units::size(part).map_err(|error| format!("'{part}' {error}"));
    let (low, high) = (size(low)?, size(high)?);
    if low == 0 || low > high {
        return Err("must be 1 byte or more, the smaller one first".to_owned());
    }
    Ok(Sizes(low, high))
}

/// Reads `1024-65535`.
pub(crate) fn ports(text: &str) -> Result<Ports, String> {
    let parse = |part: &str| u16::from_str(part).ok().filter(|port| *port > 0);
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    match (parse(low), parse(high)) {
        (Some(low), Some(high)) if low <= high => Ok(Ports(low, high)),
        _ => Err("is not LO-HI with ports of 1 to 65535, the lower first".to_owned()),
    }
}

/// Reads `1%` or `100`.
pub(crate) fn active(text: &str) -> Result<Active, String> {
    let Some(percent) = text.strip_suffix('%') else {
        return units::count(text).map(Active::Count).map_err(|error| error.to_string());
    };
    match f64::from_str(percent) {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Active::Percent(percent)),
        _ => Err("is not a share of 0% to 100%".to_owned()),
    }
}

/// Reads `name=value`.
pub(crate) fn label(text: &str) -> Result<Label, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok(Label(name.to_owned(), value.to_owned())),
        _ => Err("is not NAME=VALUE".to_owned()),
    }
}

/// Reads a percentile.
pub(crate) fn percentile(text: &str) -> Result<Percentile, String> {
    let text = text.trim();
    match f64::from_str(text) {
        Ok(percent) if (0.0..=100.0).contains(&percent) => {
            Ok(Percentile { percent, text: text.to_owned() })
        }
        _ => Err("is not a percentile of 0 to 100".to_owned()),
    }
}

/// Reads a seed.
pub(crate) fn seed(text: &str) -> Result<u64, String> {
    let seed = u64::from_str(text).ok().filter(|seed| *seed < SEED_END);
    seed.ok_or_else(|| format!("is not a number below {SEED_END}"))
}

/// Reads a signal's name or number.
pub(crate) fn signal(text: &str) -> Result<StopSignal, String> {
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let number = i32::from_str(name);
    let found = SIGNALS
        .iter()
        .find(|(known, signal)| *known == name || number.as_ref() == Ok(&signal.as_raw()));
    match found {
        Some((name, signal)) => Ok(StopSignal { signal: *signal, name }),
        None => {
            let known: Vec<_> = SIGNALS.iter().map(|(name, _)| *name).collect();
            Err(format!("is not one of {}", known.join(", ")))
        }
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&spaced(self.0))?;
        if self.1 > self.0 {
            write!(f, " to {}", spaced(self.1))?;
        }
        Ok(())
    }
}

/// A size with a space before its unit.
fn spaced(bytes: u64) -> String {
    let text = units::format_size(bytes);
    let unit = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(unit).unwrap_or((&text, ""));
    format!("{number} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read() {
        assert_eq!(sizes("64B..16K"), Ok(Sizes(64, 16_384)));
        assert_eq!(sizes("512").map(|sizes| sizes.to_string()), Ok("512 B".to_owned()));
        assert_eq!(active("1%"), Ok(Active::Percent(1.0)));
        assert_eq!(active("10k"), Ok(Active::Count(10_000)));
        assert_eq!(ports("1024-2048"), Ok(Ports(1024, 2048)));
        assert_eq!(label("a=b=c"), Ok(Label("a".to_owned(), "b=c".to_owned())));
        assert_eq!(signal("sigint").unwrap().name, "INT");
        assert_eq!(signal("15").unwrap().name, "TERM");
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(sizes("0B").is_err() && sizes("2K..1K").is_err() && sizes("1..").is_err());
        assert!(active("101%").is_err() && active("-1%").is_err() && active("x%").is_err());
        assert!(ports("0-1").is_err() && ports("9-8").is_err());
        assert!(label("=b").is_err() && label("a").is_err());
        assert!(percentile("101").is_err() && percentile("p50").is_err());
        assert!(seed("9007199254740992").is_err() && signal("STOP").is_err());
    }
}
