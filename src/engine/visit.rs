//! What a stop knows of each connection: measured at the first visit, 8 bytes for each.

use super::deadline::Tick;
use super::status::{Locality, Timing};

/// The shortest round of a connection that was silent before the request.
const SILENT_ROUND: u32 = 10;
/// The shortest round of another one: kernels of clients pace what they send, with gaps of 17 ms
/// and more.
const ROUND: u32 = 50;
/// The shortest round after a full segment or a closed window: the peer's kernel may have more to
/// send, and wait for a timer of at least 200 ms before it does.
const RECOVERY_ROUND: u32 = 250;
/// A connection that is silent for so long before the request has nothing more under way.
pub(super) const RECOVERY: u32 = RECOVERY_ROUND;
/// The least silence before the request that counts as such, whatever `idle_grace` says.
pub(super) const SILENCE: u32 = ROUND;
/// The unit in which bytes are counted here.
const READ_UNIT: u64 = 64 << 10;

/// Silent before the request, and whether the peer is on this host or behind a Unix socket.
const SILENT: u16 = 1 << 15;
const HOST: u16 = 1 << 14;
const UNIX: u16 = 1 << 13;
/// The connection was visited at all.
const VISITED: u16 = 1 << 12;
const ROUND_BITS: u16 = VISITED - 1;

/// One connection at its first visit. The default stands for one whose kernel says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Visit {
    /// Twice the round-trip time and four times its variation in milliseconds, and flags.
    round: u16,
    /// The size of a full segment; zero: unknown.
    segment: u16,
    /// The low bits of the tick at which reading was last held back, or of the visit.
    held_back: u16,
    /// Bytes read before, in units, modulo 2^16.
    read: u16,
}

impl Visit {
    pub(super) fn new(locality: Locality, timing: Option<Timing>, silent: bool, read: u64) -> Self {
        let place = match locality {
            Locality::Unix => UNIX,
            Locality::Host => HOST,
            Locality::Network => 0,
        };
        let travel = timing.map_or(0, |timing| {
            let time = timing.round_trip.saturating_add(timing.variation.saturating_mul(4));
            time.saturating_mul(2).as_nanos().div_ceil(1_000_000)
        });
        let travel = u16::try_from(travel).unwrap_or(ROUND_BITS).min(ROUND_BITS);
        let segment = timing.map_or(0, |timing| timing.segment);
        Self {
            round: travel | place | VISITED | if silent { SILENT } else { 0 },
            segment: u16::try_from(segment).unwrap_or(0),
            held_back: 0,
            read: units(read),
        }
    }

    pub(super) fn is_visited(self) -> bool {
        self.round & VISITED != 0
    }

    /// The size of a full segment of the peer's; zero: unknown.
    pub(super) fn segment(self) -> u16 {
        self.segment
    }

    /// Whether the bytes of the peer do not travel.
    pub(super) fn is_near(self) -> bool {
        self.round & (HOST | UNIX) != 0
    }

    pub(super) fn is_unix(self) -> bool {
        self.round & UNIX != 0
    }

    /// Whether the connection was silent for `idle_grace` before the request.
    pub(super) fn was_silent(self) -> bool {
        self.round & SILENT != 0
    }

    /// The round of the connection in milliseconds. `silent`: no byte moved since the request.
    /// `recovering`: what came last ended in a full segment, or reading was held back.
    pub(super) fn round(self, silent: bool, recovering: bool) -> u32 {
        if self.is_unix() {
            return 0;
        }
        let least = if recovering {
            RECOVERY_ROUND
        } else if silent && self.was_silent() {
            SILENT_ROUND
        } else {
            ROUND
        };
        self.travel().max(least)
    }

    /// The round without regard to what the connection did last.
    pub(super) fn plain_round(self) -> u32 {
        self.travel().max(ROUND)
    }

    fn travel(self) -> u32 {
        u32::from(self.round & ROUND_BITS)
    }

    /// Reading is held back now.
    pub(super) fn hold_back(&mut self, now: Tick) {
        self.held_back = now.low_half();
    }

    /// Milliseconds since reading was held back, or since the visit; modulo 2^16.
    pub(super) fn since_held_back(self, now: Tick) -> u32 {
        u32::from(now.low_half().wrapping_sub(self.held_back))
    }

    /// Bytes read since the visit, to 64 KiB; `read` is the connection's number now.
    pub(super) fn read_since(self, read: u64) -> u64 {
        u64::from(units(read).wrapping_sub(self.read)).saturating_mul(READ_UNIT)
    }
}

fn units(bytes: u64) -> u16 {
    let units = bytes.checked_div(READ_UNIT).unwrap_or(0) & u64::from(u16::MAX);
    u16::try_from(units).unwrap_or(0)
}

/// The visits of a stop by slot.
#[derive(Debug, Default)]
pub(super) struct Visits(Vec<Visit>);

impl Visits {
    /// Makes room for so many slots at once, if there is memory for it.
    pub(super) fn reserve(&mut self, slots: usize) {
        if self.0.try_reserve_exact(slots).is_ok() {
            self.0.resize(slots, Visit::default());
        }
    }

    pub(super) fn get(&self, at: u32) -> Visit {
        self.0.get(at as usize).copied().unwrap_or_default()
    }

    pub(super) fn get_mut(&mut self, at: u32) -> Option<&mut Visit> {
        self.0.get_mut(at as usize)
    }

    pub(super) fn set(&mut self, at: u32, visit: Visit) {
        let at = at as usize;
        if at >= self.0.len() {
            let more = at.saturating_sub(self.0.len()).saturating_add(1);
            if self.0.try_reserve(more).is_err() {
                return;
            }
            self.0.resize(at.saturating_add(1), Visit::default());
        }
        if let Some(slot) = self.0.get_mut(at) {
            *slot = visit;
        }
    }

    /// Forgets the connection that was in a slot.
    pub(super) fn forget(&mut self, at: u32) {
        if let Some(visit) = self.get_mut(at) {
            *visit = Visit::default();
        }
    }

    /// Gives the memory back.
    pub(super) fn clear(&mut self) {
        self.0 = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn timing(round_trip: u64, variation: u64) -> Timing {
        Timing {
            round_trip: Duration::from_millis(round_trip),
            variation: Duration::from_millis(variation),
            segment: 1448,
            ..Timing::default()
        }
    }

    #[test]
    fn a_round_has_its_floors() {
        let far = Visit::new(Locality::Network, Some(timing(40, 5)), false, 0);
        assert_eq!((far.round(true, false), far.round(false, true)), (120, 250));
        assert_eq!(far.segment(), 1448);
        let near = Visit::new(Locality::Host, None, true, 0);
        assert_eq!(near.round(true, false), 10);
        assert_eq!((near.round(false, false), near.round(true, true)), (50, 250));
        let unix = Visit::new(Locality::Unix, None, false, 0);
        assert_eq!(unix.round(false, true), 0);
        let unknown = Visit::default();
        assert_eq!((unknown.round(true, false), unknown.segment()), (50, 0));
        let slow = Visit::new(Locality::Network, Some(timing(60_000, 0)), false, 0);
        assert_eq!(slow.round(false, false), u32::from(ROUND_BITS));
        assert!(!slow.is_near() && !slow.was_silent());
    }

    #[test]
    fn what_is_counted_wraps() {
        let mut visit = Visit::new(Locality::Host, None, false, (1 << 32) - (64 << 10));
        assert_eq!(visit.read_since((1 << 32) + (64 << 10)), 128 << 10);
        visit.hold_back(Tick::default().minus(3));
        assert_eq!(visit.since_held_back(Tick::default().plus(4)), 7);
        assert_eq!(size_of::<Visit>(), 8);
    }
}
