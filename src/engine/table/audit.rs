//! Whether the lists and the slots of a table agree.

use super::Table;
use crate::engine::connection::Connection;
use crate::engine::dialogue::Speaks;
use crate::engine::lists::Place;
use crate::engine::stream::Stream;

impl<S: Stream, P: Speaks> Table<S, P> {
    /// What contradicts the order of the aging list: the silent longest come first, within a span
    /// of 2^`bits` milliseconds.
    pub(crate) fn audit_age(&mut self, bits: u32) -> Result<(), String> {
        let place = self.lists.aging();
        let lists = self.lists.audit(&mut self.slots)?;
        let aging = lists.into_iter().find(|(found, _)| *found == place);
        let aging = aging.map_or(Vec::new(), |(_, slots)| slots);
        let active = |at: &u32| self.get(*at).map(Connection::active);
        for (first, second) in aging.iter().zip(aging.iter().skip(1)) {
            let (Some(before), Some(after)) = (active(first), active(second)) else { continue };
            if after.age(before) >= 1 << bits {
                return Err(format!("slot {second} is older than {first} before it"));
            }
        }
        Ok(())
    }

    /// What of the lists contradicts the slots.
    pub(crate) fn audit(&mut self) -> Result<(), String> {
        let mut listed: usize = 0;
        for (place, slots) in self.lists.audit(&mut self.slots)? {
            for at in slots {
                let actual = self.get(at).map(Connection::place);
                if actual != Some(place) {
                    return Err(format!("slot {at}: on the list {place:?}, in truth {actual:?}"));
                }
                listed = listed.saturating_add(1);
            }
        }
        let ready = self.ready.audit(&mut self.slots)?;
        let paused = self.paused.audit(&mut self.slots)?;
        let mut waiting: usize = 0;
        for (at, slot) in &self.slots {
            let at = u32::try_from(at).unwrap();
            let (is_ready, is_paused) = (ready.contains(&at), paused.contains(&at));
            let closed = slot.connection.place() == Place::CLOSED;
            if slot.connection.is_paused() != is_paused || (closed && (is_ready || is_paused)) {
                return Err(format!("slot {at}: ready {is_ready}, paused {is_paused}"));
            }
            waiting = waiting.saturating_add(slot.waiting.is_linked().into());
        }
        if listed != self.slots.len() || waiting != ready.len().saturating_add(paused.len()) {
            return Err(format!("{listed} of {} slots are on lists", self.slots.len()));
        }
        Ok(())
    }
}
