//! Opening connections: paced, with retries.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;

use mio::Token;

use super::Worker;
use crate::load::audit::Ending;
use crate::load::connection::{Connection, State};
use crate::load::control::{Milestone, Phase};
use crate::load::payload::PayloadBlock;
use crate::load::results::{NO_LOCAL_PORT, NO_SOURCE_PORT};
use crate::load::stream::{Dial, Stream};
use crate::load::target::{Address, Target};

/// The first retry comes after this, in nanoseconds; each further one after twice the time.
const RETRY_AFTER: u64 = 50_000_000;

/// So many source addresses are tried where one after the other is in use.
const SOURCES_TRIED: u32 = 64;

impl Worker {
    /// Starts the connects that may be started now.
    pub(super) fn connect_due(&mut self, now: u64) {
        while let Some(key) = self.connector.take_due(now) {
            if let Err(error) = self.dial(key) {
                self.connect_failed(key, &error);
            }
        }
    }

    fn dial(&mut self, key: usize) -> io::Result<()> {
        let plan = &self.shared.plan;
        let Some(slot) = self.slots.get_mut(key) else {
            return Ok(());
        };
        let index = usize::try_from(slot.target).unwrap_or(0);
        let Some(target) = plan.targets.get(index) else {
            return Ok(());
        };
        if slot.failed_addresses == 0 {
            let preferred = self.shared.preferred.get(index);
            slot.first_address = preferred.map_or(0, |number| number.load(Relaxed));
        }
        let address = slot.first_address.wrapping_add(u32::from(slot.failed_addresses));
        let address = usize::try_from(address).unwrap_or(0);
        let Some(address) = target.address(address) else {
            return Ok(());
        };
        let now = self.shared.control.clock.now();
        let mut tries = 0_u32;
        let (mut stream, number) = loop {
            let number = self.connector.take_number();
            let is_v6 = matches!(address, Address::Tcp(SocketAddr::V6(_)));
            let pool = self.shared.pool.as_ref().filter(|_| !matches!(address, Address::Unix(_)));
            let source = pool.and_then(|pool| pool.nth(number, is_v6));
            tries = tries.saturating_add(1);
            match Stream::dial(address, source) {
                Ok(stream) => break (stream, number),
                Err(error)
                    if error.kind() == io::ErrorKind::AddrInUse
                        && source.is_some()
                        && tries < SOURCES_TRIED => {}
                Err(error) => return Err(error),
            }
        };
        stream.register(self.poll.registry(), Token(key))?;
        // Among those of all parts of the run.
        let (index, of) = (plan.part.index, plan.part.of);
        let number = number.saturating_mul(u64::try_from(of).unwrap_or(1));
        let number = number.saturating_add(u64::try_from(index).unwrap_or(0));
        slot.renew(stream, PayloadBlock::base(plan.seed, number), now);
        Ok(())
    }

    /// Looks how a connect stands.
    pub(super) fn check_connect(&mut self, key: usize) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        let Some(stream) = &slot.stream else { return };
        match stream.dialled() {
            Dial::Connected => self.connected(key),
            Dial::Pending => {}
            Dial::Failed(error) => self.connect_failed(key, &error),
        }
    }

    fn connected(&mut self, key: usize) {
        let now = self.shared.control.clock.now();
        self.connector.release();
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        self.counts.connect_latency.record(now.saturating_sub(slot.since));
        self.counts.opened = self.counts.opened.saturating_add(1);
        let is_opening = self.phase == Phase::Connecting || self.ramp > 0;
        if is_opening && !slot.was_open {
            self.counts.established = self.counts.established.saturating_add(1);
        }
        slot.was_open = true;
        (slot.state, slot.tries, slot.since) = (State::Open, 0, now);
        if slot.failed_addresses > 0 {
            let index = usize::try_from(slot.target).unwrap_or(0);
            if let Some(preferred) = self.shared.preferred.get(index) {
                let number = slot.first_address.wrapping_add(u32::from(slot.failed_addresses));
                preferred.store(number, Relaxed);
            }
            slot.failed_addresses = 0;
        }
        self.open = self.open.saturating_add(1);
        if self.reconnecting > 0 {
            self.reconnecting = self.reconnecting.saturating_sub(1);
            if self.reconnecting == 0 {
                self.reach(Milestone::Reconnected);
            }
        }
        self.feed(key, now);
    }

    pub(super) fn connect_failed(&mut self, key: usize, error: &io::Error) {
        let now = self.shared.control.clock.now();
        self.connector.release();
        let auditing = self.phase >= Phase::Auditing;
        let retries = self.shared.plan.connect_retries;
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        slot.stream = None;
        let index = usize::try_from(slot.target).unwrap_or(0);
        let addresses = self.shared.plan.targets.get(index).map_or(1, Target::len);
        slot.failed_addresses = slot.failed_addresses.saturating_add(1);
        let is_last = usize::from(slot.failed_addresses) >= addresses;
        if is_last {
            slot.failed_addresses = 0;
        }
        if auditing {
            // After the request to stop a refusal is what is to be expected; a reset is not, it
            // ends a connection whose handshake was complete.
            slot.state = State::Ended;
            if error.kind() == io::ErrorKind::ConnectionReset {
                self.counts.audit.connections = self.counts.audit.connections.saturating_add(1);
                self.counts.audit.judge(Ending::Reset, 0, 0, now);
            }
        } else if !is_last {
            slot.state = State::Waiting;
            self.connector.enqueue(key);
        } else if slot.tries < retries {
            let pause = RETRY_AFTER.saturating_mul(1 << slot.tries.min(10));
            slot.tries = slot.tries.saturating_add(1);
            slot.state = State::Waiting;
            self.counts.retried = self.counts.retried.saturating_add(1);
            self.connector.retry(key, now.saturating_add(pause));
        } else {
            slot.state = State::Ended;
            self.count_connect_failure(error);
        }
    }

    fn count_connect_failure(&mut self, error: &io::Error) {
        if self.phase == Phase::Connecting || self.ramp > 0 {
            self.counts.failed = self.counts.failed.saturating_add(1);
        }
        self.counts.lost = self.counts.lost.saturating_add(1);
        let errors = &mut self.counts.errors;
        match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                errors.connect_refused = errors.connect_refused.saturating_add(1);
            }
            io::ErrorKind::TimedOut => {
                errors.connect_timeout = errors.connect_timeout.saturating_add(1);
            }
            _ => errors.add_connect_other(reason_of(error)),
        }
    }

    /// Gives up all slots that are not connected.
    pub(super) fn drop_unconnected(&mut self, _now: u64) {
        self.connector.clear();
        let lost = |slot: &Connection| matches!(slot.state, State::Waiting | State::Connecting);
        for (_, slot) in &mut self.slots {
            if lost(slot) {
                if slot.state == State::Connecting {
                    self.connector.release();
                }
                slot.stream = None;
                slot.state = State::Ended;
            }
        }
    }
}

/// What a failed connect is counted under.
fn reason_of(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable => NO_LOCAL_PORT.to_owned(),
        io::ErrorKind::AddrInUse => NO_SOURCE_PORT.to_owned(),
        _ => error.to_string(),
    }
}
