//! The deadlines of protocols: one for each slot at most, the earliest first.

use std::time::Instant;

/// The slot has no deadline.
const NONE: u32 = u32::MAX;

/// A binary heap of deadlines in which each slot knows its place. Without any deadline it owns no
/// memory.
#[derive(Debug, Default)]
pub(super) struct Timers {
    /// No entry is earlier than the one at half its index.
    heap: Vec<(Instant, u32)>,
    /// The place in the heap by slot.
    places: Vec<u32>,
}

impl Timers {
    /// Whether no slot has a deadline.
    pub(super) fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.first().map(|(due, _)| *due)
    }

    /// A slot whose deadline has come, which is removed.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<u32> {
        let (due, at) = *self.heap.first()?;
        if due > now {
            return None;
        }
        self.set(at, None);
        Some(at)
    }

    /// Sets or removes the deadline of a slot. Without memory for it there is none.
    pub(super) fn set(&mut self, at: u32, due: Option<Instant>) {
        match (self.place(at), due) {
            (None, None) => {}
            (Some(place), Some(due)) => {
                if let Some(entry) = self.heap.get_mut(place) {
                    entry.0 = due;
                }
                self.restore(place);
            }
            (None, Some(due)) => self.insert(at, due),
            (Some(place), None) => {
                self.heap.swap_remove(place);
                self.note(at, NONE);
                self.restore(place);
            }
        }
    }

    fn insert(&mut self, at: u32, due: Instant) {
        let index = at as usize;
        if index >= self.places.len() {
            let more = index.saturating_sub(self.places.len()).saturating_add(1);
            if self.places.try_reserve(more).is_err() {
                return;
            }
            self.places.resize(index.saturating_add(1), NONE);
        }
        if self.heap.try_reserve(1).is_err() {
            return;
        }
        self.heap.push((due, at));
        self.restore(self.heap.len().saturating_sub(1));
    }

    fn place(&self, at: u32) -> Option<usize> {
        let place = self.places.get(at as usize).copied().filter(|place| *place != NONE)?;
        usize::try_from(place).ok()
    }

    fn note(&mut self, at: u32, place: u32) {
        if let Some(slot) = self.places.get_mut(at as usize) {
            *slot = place;
        }
    }

    /// Notes in its slot where an entry is.
    fn note_place(&mut self, place: usize) {
        if let Some((_, at)) = self.heap.get(place).copied() {
            self.note(at, u32::try_from(place).unwrap_or(NONE));
        }
    }

    fn is_earlier(&self, one: usize, other: usize) -> bool {
        let due = |place: usize| self.heap.get(place).map(|(due, _)| *due);
        match (due(one), due(other)) {
            (Some(one), Some(other)) => one < other,
            (one, _) => one.is_some(),
        }
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.heap.swap(one, other);
        self.note_place(one);
        self.note_place(other);
    }

    /// Moves an entry up or down to where it belongs.
    fn restore(&mut self, place: usize) {
        self.note_place(place);
        let mut place = place;
        while let Some(parent) = place.checked_sub(1).map(|before| before >> 1)
            && self.is_earlier(place, parent)
        {
            self.swap(place, parent);
            place = parent;
        }
        loop {
            let left = place.saturating_mul(2).saturating_add(1);
            let right = left.saturating_add(1);
            let least = if self.is_earlier(right, left) { right } else { left };
            if least >= self.heap.len() || !self.is_earlier(least, place) {
                return;
            }
            self.swap(place, least);
            place = least;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn slots_come_due_in_order() {
        let (mut timers, start) = (Timers::default(), Instant::now());
        let mut expected: Vec<Option<Instant>> = vec![None; 64];
        let mut seed: u64 = 7;
        for round in 0..4_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (seed >> 33) % 64;
            let due = start + Duration::from_millis((seed >> 40) % 100);
            let due = (seed >> 60 != 0).then_some(due);
            timers.set(u32::try_from(at).unwrap(), due);
            expected[usize::try_from(at).unwrap()] = due;
            assert_eq!(timers.next(), expected.iter().flatten().min().copied(), "{round}");
        }
        let mut last = start;
        let now = start + Duration::from_millis(50);
        while let Some(at) = timers.pop_due(now) {
            let due = expected[at as usize].take().unwrap();
            assert!(due >= last && due <= now);
            last = due;
        }
        assert!(expected.iter().flatten().all(|due| *due > now));
        assert_eq!(timers.next(), expected.iter().flatten().min().copied());
    }
}
