//! Everything that the simulation looks at within the engine, beside what its users see.

use super::end::End;
use crate::engine::Engine;
use crate::engine::dialogue::{LEAST_ROOM, Speaks};
use crate::engine::lists::Place;
use crate::engine::phase::Phase;

/// With less room than this a server reads nothing.
pub(super) const ROOM: u64 = LEAST_ROOM as u64;

/// What of the engine's lists contradicts itself.
pub(super) fn audit<P: Speaks>(engine: &mut Engine<End, P>) -> Result<(), String> {
    engine.table.audit()?;
    if engine.phase() < Phase::Draining {
        engine.table.audit_age(engine.settings.span_bits)?;
    }
    Ok(())
}

/// Whether no share of an address is taken.
pub(super) fn is_quota_empty<P: Speaks>(engine: &Engine<End, P>) -> bool {
    engine.table.quota.is_empty()
}

pub(super) fn is_full<P: Speaks>(engine: &Engine<End, P>) -> bool {
    engine.vacant().is_none()
}

pub(super) fn is_paused<P: Speaks>(engine: &Engine<End, P>, slot: u32) -> bool {
    engine.table.get(slot).is_some_and(|connection| connection.is_paused())
}

/// What situations an engine is in.
pub(super) fn situations<P: Speaks>(engine: &Engine<End, P>) -> [(bool, &'static str); 5] {
    let lists = engine.table.lists();
    [
        (engine.table.vacant().is_none(), "full"),
        (lists.front(Place::LINGERING).is_some(), "lingering"),
        (engine.table.ready_len() > 0, "ready"),
        (engine.table.ready_len() > 2, "many ready"),
        (engine.table.has_paused(), "paused"),
    ]
}
