//! An engine on a stage: its connections play scripts, its time is told in milliseconds.

use std::time::{Duration, Instant};

use super::script::{Actor, Answer, Script};
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::phase::Cause;
use crate::engine::quota::UNCOUNTED;
use crate::token::Readiness;

pub(super) const READ_BUFFER: usize = 64 << 10;

pub(super) struct Stage<const PIPES: bool> {
    pub(super) engine: Engine<Actor<PIPES>>,
    start: Instant,
}

impl<const PIPES: bool> Stage<PIPES> {
    pub(super) fn new(config: &Config) -> Self {
        let mut engine = Engine::new(config);
        engine.reserve(2048);
        Self { engine, start: Instant::now() }
    }

    pub(super) fn at(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }

    pub(super) fn enter(&mut self, millis: u64) -> u32 {
        let slot = self.engine.vacant().unwrap();
        let actor = Actor::new(Script::default());
        self.engine.insert(actor, None, UNCOUNTED, self.at(millis)).unwrap();
        slot
    }

    pub(super) fn look<T>(&mut self, slot: u32, look: impl FnOnce(&mut Actor<PIPES>) -> T) -> T {
        look(self.engine.table.get_mut(slot).unwrap().stream_mut())
    }

    pub(super) fn play(&mut self, slot: u32, reads: &[Answer], writes: &[Answer]) {
        let reads = reads.iter().copied().collect();
        let writes = writes.iter().copied().collect();
        self.look(slot, |actor| actor.script = Script { reads, writes, ..Script::default() });
    }

    pub(super) fn event(&mut self, slot: u32, said: Readiness, millis: u64) {
        assert!(self.engine.handle_ready(slot, said, self.at(millis)));
    }

    pub(super) fn end_turn(&mut self, millis: u64) {
        let now = self.at(millis);
        self.engine.advance(now);
        self.engine.end_turn(now);
    }

    pub(super) fn stop(&mut self, millis: u64) {
        self.engine.request(Cause::Requested, self.at(millis));
    }

    pub(super) fn is_due(&self, millis: u64) -> bool {
        self.engine.next_deadline().is_some_and(|deadline| deadline <= self.at(millis))
    }

    pub(super) fn is_paused(&self, slot: u32) -> bool {
        self.engine.table.get(slot).unwrap().is_paused()
    }

    /// One whose peer takes nothing of a full buffer.
    pub(super) fn enter_stuck(&mut self) -> u32 {
        let slot = self.enter(0);
        self.play(slot, &[Answer::All], &[Answer::Block; 64]);
        self.event(slot, Readiness::READABLE, 0);
        slot
    }
}
