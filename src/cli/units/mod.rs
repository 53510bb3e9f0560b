//! The one grammar for values with units, for every flag of every subcommand.
//!
//! - Durations: a number and a unit, `us ms s m h`, combinable from large to small (`1m30s`),
//!   fractions allowed (`1.5s`). `off` is zero where a flag can be disabled.
//! - Sizes: `B`, `K` or `KiB`, `M`, `G`, `T` = powers of 1024; `kB MB GB TB` = powers of 1000; a
//!   bare number is bytes.
//! - Counts: `k` = 1 000, `M` = 1 000 000.
//!
//! Values are exact: a value that is not a whole number of nanoseconds, bytes or things is
//! refused instead of rounded. `format_*` write what the parsers read back unchanged.

use std::fmt;
use std::time::Duration;

/// Why a value is invalid: the predicate of a sentence whose subject is the value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct UnitError(String);

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UnitError {}

/// A time limit that may be absent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Timeout {
    /// Ends after this long.
    After(Duration),
    /// Never ends by itself.
    Never,
}

impl Timeout {
    /// Returns the limit, `None` for never.
    pub(crate) fn limit(self) -> Option<Duration> {
        match self {
            Self::After(limit) => Some(limit),
            Self::Never => None,
        }
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(limit) => f.write_str(&format_duration(*limit)),
            Self::Never => f.write_str("infinity"),
        }
    }
}

const NANOS_PER_SEC: u128 = 1_000_000_000;

/// Largest first, which is also the order in which they may be combined.
const DURATION_UNITS: [(&str, u128); 5] = [
    ("h", 3_600 * NANOS_PER_SEC),
    ("m", 60 * NANOS_PER_SEC),
    ("s", NANOS_PER_SEC),
    ("ms", 1_000_000),
    ("us", 1_000),
];

const SIZE_UNITS: [(&str, u128); 14] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
    ("", 1),
    ("K", 1 << 10),
    ("M", 1 << 20),
    ("G", 1 << 30),
    ("T", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

const COUNT_UNITS: [(&str, u128); 3] = [("M", 1_000_000), ("k", 1_000), ("", 1)];

/// Parses a duration; `off` is zero.
pub(crate) fn duration(text: &str) -> Result<Duration, UnitError> {
    if text == "off" {
        return Ok(Duration::ZERO);
    }
    let mut total: u128 = 0;
    let mut rest = text;
    let mut finest: Option<usize> = None;
    loop {
        let (number, unit, after) = split_term(rest)
            .ok_or_else(|| refuse("is not a duration such as 250ms, 10s or 1m30s"))?;
        let rank = DURATION_UNITS.iter().position(|(name, _)| *name == unit);
        let Some((rank, (_, scale))) =
            rank.and_then(|rank| Some((rank, DURATION_UNITS.get(rank)?)))
        else {
            return Err(unknown_duration_unit(text, number, unit));
        };
        if finest.is_some_and(|finest| finest >= rank) {
            return Err(refuse("combines units other than from large to small (1m30s)"));
        }
        finest = Some(rank);
        let nanos = scaled(number, *scale).ok_or_else(too_large)?;
        let nanos = nanos.ok_or_else(|| refuse("is finer than a nanosecond"))?;
        total = total.checked_add(nanos).ok_or_else(too_large)?;
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    let secs = u64::try_from(total / NANOS_PER_SEC).map_err(|_| too_large())?;
    // The remainder is below 10^9, so the fallback cannot be taken.
    let nanos = u32::try_from(total % NANOS_PER_SEC).unwrap_or(0);
    Ok(Duration::new(secs, nanos))
}

/// Parses a duration above zero: for flags which mean nothing at zero.
pub(crate) fn positive_duration(text: &str) -> Result<Duration, UnitError> {
    match duration(text)? {
        Duration::ZERO => Err(refuse("must be longer than zero")),
        longer => Ok(longer),
    }
}

/// Parses a budget: a duration, or `infinity`. `off` could be taken for either end, so it is
/// refused.
pub(crate) fn timeout(text: &str) -> Result<Timeout, UnitError> {
    match text {
        "infinity" => Ok(Timeout::Never),
        "off" => Err(refuse("is ambiguous here; say infinity for no limit, 0s for at once")),
        _ => duration(text).map(Timeout::After),
    }
}

/// Parses a limit which zero, `off` and `infinity` all disable.
pub(crate) fn optional_timeout(text: &str) -> Result<Timeout, UnitError> {
    match text {
        "infinity" => Ok(Timeout::Never),
        _ => match duration(text)? {
            Duration::ZERO => Ok(Timeout::Never),
            limit => Ok(Timeout::After(limit)),
        },
    }
}

/// Parses a size in bytes.
pub(crate) fn size(text: &str) -> Result<u64, UnitError> {
    let expected = "is not a size such as 512B, 64K, 16KiB or 1MB";
    let (number, unit, after) = split_term(text).ok_or_else(|| refuse(expected))?;
    if unit == "k" {
        let what = format!("is ambiguous; did you mean {number}K (of 1024) or {number}kB (1000)?");
        return Err(refuse(&what));
    }
    let Some((_, scale)) = SIZE_UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(refuse("has an unknown unit (B, K or KiB, M, G, T; kB, MB, GB, TB)"));
    };
    whole(number, *scale, after, expected, "is not a whole number of bytes")
}

/// Parses a number of things, or of things a second.
pub(crate) fn count(text: &str) -> Result<u64, UnitError> {
    let expected = "is not a count such as 500, 10k or 1.5M";
    let (number, unit, after) = split_term(text).ok_or_else(|| refuse(expected))?;
    if unit == "K" {
        return Err(refuse(&format!("has an unknown unit; did you mean {number}k?")));
    }
    let Some((_, scale)) = COUNT_UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(refuse("has an unknown unit (k = 1000, M = 1000000)"));
    };
    whole(number, *scale, after, expected, "is not a whole number")
}

/// Parses a count of at least one.
pub(crate) fn positive_count(text: &str) -> Result<u64, UnitError> {
    match count(text)? {
        0 => Err(refuse("must be at least 1")),
        more => Ok(more),
    }
}

/// Writes a duration exactly, in the grammar that [`duration`] reads.
pub(crate) fn format_duration(duration: Duration) -> String {
    let secs = duration.as_secs();
    let nanos = duration.subsec_nanos();
    if secs == 0 {
        return match nanos {
            0 => "0s".to_owned(),
            1_000_000.. => format!("{}ms", decimal(nanos / 1_000_000, nanos % 1_000_000, 6)),
            _ => format!("{}us", decimal(nanos / 1_000, nanos % 1_000, 3)),
        };
    }
    let mut text = String::new();
    let (hours, minutes, seconds) = (secs / 3_600, secs / 60 % 60, secs % 60);
    if hours > 0 {
        text.push_str(&format!("{hours}h"));
    }
    if minutes > 0 {
        text.push_str(&format!("{minutes}m"));
    }
    if seconds > 0 || nanos > 0 {
        text.push_str(&format!("{}s", decimal(seconds, nanos, 9)));
    }
    text
}

/// Writes a duration for people: three digits, a space and a unit, such as `3.14 ms`.
pub(crate) fn approximate_duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    let (value, unit) = match seconds {
        0.0 => return "0 s".to_owned(),
        _ if seconds < 1e-6 => (seconds * 1e9, "ns"),
        _ if seconds < 1e-3 => (seconds * 1e6, "us"),
        _ if seconds < 1.0 => (seconds * 1e3, "ms"),
        _ if seconds < 600.0 => (seconds, "s"),
        _ => return format_duration(Duration::from_secs(duration.as_secs())),
    };
    match value {
        _ if value < 10.0 => format!("{value:.2} {unit}"),
        _ if value < 100.0 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

/// Writes a size exactly, in the largest binary unit that divides it.
pub(crate) fn format_size(bytes: u64) -> String {
    let units = [("TiB", 1_u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let found = units.iter().find_map(|(name, scale)| {
        let divides = bytes > 0 && bytes.checked_rem(*scale) == Some(0);
        let multiple = bytes.checked_div(*scale).filter(|_| divides)?;
        Some(format!("{multiple}{name}"))
    });
    found.unwrap_or_else(|| format!("{bytes}B"))
}

/// Returns `whole.fraction` with `digits` digits in the fraction, trailing zeros dropped.
fn decimal(whole: impl fmt::Display, fraction: u32, digits: usize) -> String {
    if fraction == 0 {
        return whole.to_string();
    }
    format!("{whole}.{fraction:0digits$}").trim_end_matches('0').to_owned()
}

/// Splits `text` into its first number, the unit of that, and what follows.
fn split_term(text: &str) -> Option<(&str, &str, &str)> {
    let end_of_number = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at_checked(end_of_number)?;
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let well_formed = match number.split_once('.') {
        None => digits(number),
        Some((whole, fraction)) => digits(whole) && digits(fraction),
    };
    let end_of_unit = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at_checked(end_of_unit)?;
    well_formed.then_some((number, unit, rest))
}

/// Returns `number` times `scale`: `None` if it overflows, `Some(None)` if it is not a whole
/// number.
fn scaled(number: &str, scale: u128) -> Option<Option<u128>> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let fraction = fraction.trim_end_matches('0');
    let whole = whole.parse::<u128>().ok()?.checked_mul(scale)?;
    if fraction.is_empty() {
        return Some(Some(whole));
    }
    // Nothing here has a unit above 10^13, so a longer fraction cannot come out whole.
    let Some(divisor) = u32::try_from(fraction.len()).ok().filter(|digits| *digits <= 18) else {
        return Some(None);
    };
    let divisor = 10_u128.checked_pow(divisor)?;
    let product = fraction.parse::<u128>().ok()?.checked_mul(scale)?;
    if product.checked_rem(divisor)? != 0 {
        return Some(None);
    }
    Some(Some(whole.checked_add(product.checked_div(divisor)?)?))
}

/// Returns the value of one number with one unit and nothing after it.
fn whole(
    number: &str,
    scale: u128,
    after: &str,
    expected: &str,
    fractional: &str,
) -> Result<u64, UnitError> {
    if !after.is_empty() {
        return Err(refuse(expected));
    }
    let value = scaled(number, scale).ok_or_else(too_large)?;
    let value = value.ok_or_else(|| refuse(fractional))?;
    u64::try_from(value).map_err(|_| too_large())
}

fn unknown_duration_unit(text: &str, number: &str, unit: &str) -> UnitError {
    if unit.is_empty() && number.len() == text.len() {
        return refuse(&format!("needs a unit; did you mean {number}s?"));
    }
    refuse("has an unknown unit (us, ms, s, m or h)")
}

/// Returns the error of a value that no machine integer holds.
pub(crate) fn too_large() -> UnitError {
    refuse("is too large")
}

fn refuse(why: &str) -> UnitError {
    UnitError(why.to_owned())
}

#[cfg(test)]
mod tests;
