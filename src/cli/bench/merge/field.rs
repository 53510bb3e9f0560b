//! Single values of a document.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

/// A count; 0 where it is not known.
pub(super) fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

pub(super) fn text(value: &Value) -> Option<String> {
    value.as_str().map(ToOwned::to_owned)
}

/// Nanoseconds; none where they are not known.
pub(super) fn nanos(value: &Value) -> Duration {
    duration(value).unwrap_or_default()
}

pub(super) fn duration(value: &Value) -> Option<Duration> {
    value.as_u64().map(Duration::from_nanos)
}

/// Nanoseconds since 1970.
pub(super) fn time(value: &Value) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(duration(value)?)
}

pub(super) fn size(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float cast saturates, and the values are not negative"
)]
pub(super) fn whole(value: f64) -> u64 {
    value as u64
}
