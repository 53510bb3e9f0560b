//! What a host does to its server beside running it.

use super::host::Host;
use super::network::Network;
use super::plan::Act;
use super::random::Random;
use super::shared::Shared;
use crate::accept::queue::Ownership;
use crate::engine::dialogue::Speaks;
use crate::engine::phase::{Cause, Phase};
use crate::protocol::ConnectionId;
use crate::token::TokenRange;

impl<P: Speaks> Host<P> {
    /// Does what the plan has for now.
    pub(super) fn act(&mut self, first: &mut bool) {
        while let Some((_, act)) = self.plan.acts.front().copied().filter(|(at, _)| *at <= self.now)
        {
            self.plan.acts.pop_front();
            let now = if *first { self.instant() } else { self.told() };
            *first &= !matches!(act, Act::Shutdown | Act::Force | Act::Drop);
            self.network.lock().tell(|| format!("host: {act:?}"));
            self.network.lock().epoch += 1;
            let Some(core) = &mut self.core else { return };
            match act {
                Act::Shutdown => core.shut_down(Cause::Requested, &self.network, now),
                Act::Force => core.force(Cause::Requested, &self.network, now),
                Act::AskShutdown => {
                    self.handle.begin_shutdown();
                    self.asked = self.asked.max(Phase::LameDuck);
                }
                Act::AskForce => {
                    self.handle.force_shutdown();
                    self.asked = Phase::Forcing;
                }
                Act::HandOver => {
                    self.network.lock().set_ownership(Ownership::Shared);
                    let all = 0..self.plan.doors.len();
                    all.for_each(|at| core.acceptor.set_ownership(at, Ownership::Shared));
                }
                Act::Own => {
                    self.network.lock().set_ownership(Ownership::Exclusive);
                    let all = 0..self.plan.doors.len();
                    all.for_each(|at| core.acceptor.set_ownership(at, Ownership::Exclusive));
                }
                Act::Undecide => {
                    self.network.lock().set_ownership(Ownership::Undecided);
                    let all = 0..self.plan.doors.len();
                    all.for_each(|at| core.acceptor.set_ownership(at, Ownership::Undecided));
                }
                Act::Leave => {
                    self.was_away = true;
                    let stranger = Network::new(Random::new(0), &self.plan, false);
                    let mistaken = core.deregister(&Shared::new(stranger)).is_ok();
                    self.network.lock().departed = 0;
                    core.deregister(&self.network).unwrap();
                    let mut network = self.network.lock();
                    network.note_departure();
                    if mistaken && network.departed > 0 || core.tokens().is_some() {
                        network.blame(usize::MAX, "left the wrong poll, or none");
                    }
                }
                Act::Return => {
                    let first = self.random.below(1000) as usize;
                    let tokens = TokenRange::new(first..first + self.plan.tokens.len());
                    let mut network = self.network.lock();
                    network.tokens = tokens;
                    network.tardy_at = self.now;
                    drop(network);
                    self.plan.tokens = tokens;
                    core.register(&self.network, tokens, self.plan.capacity).unwrap();
                }
                Act::Drop => {
                    self.network.lock().dropping = true;
                    self.core = None;
                    return;
                }
            }
            self.note_requests();
        }
    }

    /// Does what a worker's clients asked for, and has their connections resumed: by a call, by
    /// their names, or both; now and then for no reason, and those that are gone.
    pub(super) fn answer(&mut self, first: &mut bool) {
        loop {
            let mut network = self.network.lock();
            let Some((id, request)) = network.desk.take_job(self.now) else { return };
            network.desk.done.entry(id).or_default().push_back(request);
            let again = self.random.one_in(4);
            let by_name = again || self.random.one_in(2);
            if by_name {
                network.desk.named.push_back(id);
            }
            drop(network);
            if self.random.one_in(8) {
                let number = self.random.below(id.number() + 2);
                self.resume(ConnectionId::new(id.slot(), number), first);
            }
            if again || !by_name {
                self.resume(id, first);
            }
        }
    }

    fn resume(&mut self, id: ConnectionId, first: &mut bool) {
        let now = if std::mem::take(first) { self.instant() } else { self.told() };
        let Some(core) = &mut self.core else { return };
        let mut network = self.network.lock();
        network.epoch += 1;
        let was_open = network.note_name(id);
        drop(network);
        let told = core.engine.resume(id, now);
        let mut network = self.network.lock();
        let is_open = network.find(id).is_some();
        if is_open && !told || told && !was_open && !network.has_slot(id) {
            network.blame(usize::MAX, "resumed one that is gone, or not one that is open");
        }
    }

    /// Notes when a stop began, and when it was told to end at once.
    pub(super) fn note_requests(&mut self) {
        let Some(core) = &self.core else { return };
        let phase = core.engine.phase();
        if phase > Phase::Running {
            self.requested = self.requested.or(Some(self.now));
        }
        if phase >= Phase::Forcing {
            self.forced = self.forced.or(Some(self.now));
        }
    }
}
