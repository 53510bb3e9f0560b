//! The values of flags that no other command has.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use netgrace::load::Source;
use rustix::process::Signal;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

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

/// Numbers of connections, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ramp(pub(crate) Vec<u64>);

/// What `--source` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SourceFlag {
    Addresses(Source),
    /// All addresses of this interface.
    Interface(String),
}

/// Which worker of how many; `None` is to be taken from the environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WorkerFlag {
    pub(crate) index: Option<u64>,
    pub(crate) of: Option<u64>,
}

/// An address such as `http://host:9090/metrics`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    /// With its port.
    pub(crate) host: String,
    pub(crate) path: String,
}

/// A signal as a number and by its name without `SIG`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StopSignal {
    pub(crate) signal: Signal,
    pub(crate) name: &'static str,
}

impl StopSignal {
    pub(crate) const TERM: Self = Self { signal: Signal::TERM, name: "TERM" };
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

/// Reads `10k,20k,50k`.
pub(crate) fn ramp(text: &str) -> Result<Ramp, String> {
    let step = |part: &str| {
        units::positive_count(part.trim()).map_err(|error| format!("'{part}' {error}"))
    };
    let steps = text.split(',').map(step).collect::<Result<Vec<_>, _>>()?;
    if steps.is_sorted_by(|one, next| one < next) {
        return Ok(Ramp(steps));
    }
    Err("must ascend, such as 10k,20k,50k".to_owned())
}

/// Reads an address, a block of addresses, or the name of an interface.
pub(crate) fn source(text: &str) -> Result<SourceFlag, String> {
    let is_name = !text.is_empty() && !text.contains(['/', ':', '%']);
    let is_v4 = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if is_name && !is_v4 {
        return Ok(SourceFlag::Interface(text.to_owned()));
    }
    Source::from_str(text).map(SourceFlag::Addresses).map_err(|error| error.to_string())
}

/// Reads `3/10`, `auto/10` or `auto`.
pub(crate) fn worker(text: &str) -> Result<WorkerFlag, String> {
    if text == "auto" {
        return Ok(WorkerFlag { index: None, of: None });
    }
    let (index, of) = text.split_once('/').ok_or("is not I/N, auto/N or auto")?;
    let of = u64::from_str(of).ok().filter(|of| (1..=1_000_000).contains(of));
    let of = of.ok_or("is not I/N with N of 1 or more")?;
    if index == "auto" {
        return Ok(WorkerFlag { index: None, of: Some(of) });
    }
    match u64::from_str(index) {
        Ok(index) if index < of => Ok(WorkerFlag { index: Some(index), of: Some(of) }),
        _ => Err(format!("names no worker of 0 to {}", of.saturating_sub(1))),
    }
}

/// Reads a time of day: RFC 3339, or Unix seconds with a fraction.
pub(crate) fn time(text: &str) -> Result<SystemTime, String> {
    if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
        return Ok(time.into());
    }
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let parsed = (is_digits(seconds) && is_digits(fraction) && fraction.len() <= 9)
        .then(|| {
            Some((u64::from_str(seconds).ok()?, u32::from_str(&format!("{fraction:0<9}")).ok()?))
        })
        .flatten();
    let since = parsed.map(|(seconds, nanos)| Duration::new(seconds, nanos));
    since.and_then(|since| UNIX_EPOCH.checked_add(since)).ok_or_else(|| {
        "is not a time such as 2026-01-31T12:00:00Z or 1769860800.5 (Unix seconds)".to_owned()
    })
}

/// Reads `http://HOST:PORT/PATH`.
pub(crate) fn url(text: &str) -> Result<Url, String> {
    let rest = text.strip_prefix("http://").ok_or("is not http://HOST:PORT/PATH")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, "metrics"));
    let bare = host.rsplit_once(']').map_or(host, |(_, port)| port);
    if host.is_empty() || host.contains(|c: char| c.is_control() || c == ' ' || c == '@') {
        return Err("is not http://HOST:PORT/PATH".to_owned());
    }
    let host = if bare.contains(':') { host.to_owned() } else { format!("{host}:80") };
    if path.contains(|c: char| c.is_control() || c == ' ') {
        return Err("has a path with a space or a control character".to_owned());
    }
    Ok(Url { host, path: format!("/{path}") })
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

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.host, self.path)
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
    fn workers_times_and_urls_are_read() {
        assert_eq!(worker("3/10"), Ok(WorkerFlag { index: Some(3), of: Some(10) }));
        assert_eq!(worker("auto/10"), Ok(WorkerFlag { index: None, of: Some(10) }));
        assert_eq!(worker("auto"), Ok(WorkerFlag { index: None, of: None }));
        for text in ["10/10", "1", "-1/2", "0/0", "/2", "auto/x", ""] {
            assert!(worker(text).is_err(), "{text}");
        }
        let half = UNIX_EPOCH + Duration::from_millis(1_769_860_800_500);
        for text in ["1769860800.5", "2026-01-31T12:00:00.5Z", "2026-01-31T13:00:00.5+01:00"] {
            assert_eq!(time(text), Ok(half), "{text}");
        }
        assert!(time("noon").is_err() && time("-1").is_err() && time("1.").is_err());
        assert_eq!(ramp("10,1k"), Ok(Ramp(vec![10, 1000])));
        assert!(ramp("10,10").is_err() && ramp("").is_err() && ramp("0,1").is_err());
        assert_eq!(url("http://h").map(|url| url.to_string()), Ok("http://h:80/metrics".into()));
        let v6 = url("http://[::1]:9/m").map(|url| (url.host, url.path));
        assert_eq!(v6, Ok(("[::1]:9".to_owned(), "/m".to_owned())));
        assert!(url("https://h").is_err() && url("http://h/a b").is_err() && url("h").is_err());
        assert_eq!(source("eth0"), Ok(SourceFlag::Interface("eth0".to_owned())));
        assert!(source("127.0.0.256").is_err() && source("").is_err());
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
