//! The values of flags that no other command has.

use std::fmt;
use std::str::FromStr;

use rustix::process::Signal;

use crate::cli::units;
use netgrace::audit::CLIENTS_MAX;
use netgrace::audit::Kind;

/// The default of `--clients`.
pub(crate) const CROWD: &str = "new=10,busy=10,idle=10,slow=4,half=4,queued=20";

/// How many clients there are of each kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Crowd(pub(crate) Vec<(Kind, usize)>);

/// A signal, and its name without `SIG`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StopSignal {
    pub(crate) signal: Signal,
    name: &'static str,
}

const SIGNALS: [(&str, Signal); 9] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("KILL", Signal::KILL),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("ALRM", Signal::ALARM),
    ("TERM", Signal::TERM),
    ("WINCH", Signal::WINCH),
];

impl StopSignal {
    /// SIGTERM.
    pub(crate) const TERM: Self = Self { signal: Signal::TERM, name: "TERM" };
}

impl fmt::Display for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
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

/// Reads `new=10,idle=0`.
pub(crate) fn crowd(text: &str) -> Result<Crowd, String> {
    let mut counts = if text == CROWD { Vec::new() } else { crowd(CROWD)?.0 };
    let mut named = Vec::new();
    for part in text.split(',') {
        let (name, count) =
            part.trim().split_once('=').ok_or_else(|| format!("'{part}' is not KIND=N"))?;
        let kind = Kind::named(name).ok_or_else(|| {
            let kinds = Kind::ALL.map(Kind::name).join(", ");
            format!("'{name}' is not a kind of client; kinds are {kinds}")
        })?;
        if named.contains(&kind) {
            return Err(format!("'{name}' is named twice"));
        }
        named.push(kind);
        let number = units::count(count).map_err(|error| format!("'{count}' {error}"))?;
        let number = usize::try_from(number).ok().filter(|number| *number <= CLIENTS_MAX);
        let number = number.ok_or_else(|| format!("'{count}' is more than {CLIENTS_MAX}"))?;
        counts.retain(|(other, _)| *other != kind);
        counts.push((kind, number));
    }
    counts.sort_by_key(|(kind, _)| *kind);
    if counts.iter().all(|(_, number)| *number == 0) {
        return Err("leaves no client at all".to_owned());
    }
    Ok(Crowd(counts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_that_are_not_named_keep_their_number() {
        let Crowd(all) = crowd(CROWD).unwrap();
        assert_eq!(
            all.iter().map(|(_, number)| *number).collect::<Vec<_>>(),
            [10, 10, 10, 4, 4, 20]
        );
        let Crowd(all) = crowd("idle=0,new=2k").unwrap();
        assert_eq!(all.iter().map(|(_, n)| *n).collect::<Vec<_>>(), [2000, 10, 0, 4, 4, 20]);
    }

    #[test]
    fn nonsense_is_refused() {
        let nobody = "new=0,busy=0,idle=0,slow=0,half=0,queued=0";
        for text in ["", "new", "old=1", "new=x", "new=1,new=2", "new=1M", nobody] {
            assert!(crowd(text).is_err(), "{text}");
        }
        assert!(signal("STOP").is_err() && signal("0").is_err());
        assert_eq!(signal("sigterm").unwrap().to_string(), "TERM");
        assert_eq!(signal("28").unwrap().to_string(), "WINCH");
    }
}
