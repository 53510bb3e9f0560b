//! What the two kernels of a connection do by themselves: packets that come, and timers.

use super::duplex::{Duplex, Side};
use super::link::Packet;

/// What two kernels may do within one instant.
const STEPS: u32 = 1_000_000;

impl Duplex {
    /// Lets both kernels do everything that is due at `now`.
    pub(super) fn run(&mut self, now: u64) {
        for _ in 0..STEPS {
            let mut moved = false;
            if let Some(packet) = self.to_server.pop(now) {
                self.come_to_server(&packet, now);
                moved = true;
            }
            if let Some(packet) = self.to_client.pop(now) {
                self.come_to_client(&packet, now);
                moved = true;
            }
            moved |= self.expire(now);
            if self.connected && self.vanished.is_none() {
                moved |= self.send(Side::Client, now);
            }
            moved |= !self.dead && self.send(Side::Server, now);
            if !moved {
                return;
            }
        }
        panic!("two kernels that never rest: {self:#?}");
    }

    /// When the kernels do something next without a process.
    pub(super) fn next(&self, now: u64) -> Option<u64> {
        let stuck = self.stuck_since.zip(self.user_timeout).map(|(since, time)| since + time);
        let all = [
            self.to_server.next(),
            self.to_client.next(),
            self.up.ack_due,
            self.down.ack_due,
            self.up.probe_at.filter(|_| self.up.is_blocked()),
            self.down.probe_at.filter(|_| self.down.is_blocked()),
            self.up.next_flight(now),
            self.down.next_flight(now),
            self.repeat_at,
            stuck,
        ];
        all.into_iter().flatten().min()
    }

    fn send(&mut self, side: Side, now: u64) -> bool {
        let pipe = match side {
            Side::Server => &mut self.down,
            Side::Client => &mut self.up,
        };
        let sent = pipe.advance(now, &mut self.random);
        if sent {
            self.emit(side, now, false, false);
        }
        sent
    }

    pub(super) fn emit(&mut self, from: Side, now: u64, reset: bool, probe: bool) {
        let (out, back, wire) = match from {
            Side::Server => (&self.down, &mut self.up, &mut self.to_client),
            Side::Client => (&self.up, &mut self.down, &mut self.to_server),
        };
        let (ack, fin_ack, edge) = back.tell();
        let (sent, fin) = (out.sent, out.fin_sent);
        if self.vanished.is_none() {
            let packet = Packet { at: now, sent, fin, ack, fin_ack, edge, reset, probe };
            wire.push(packet, &self.link, &mut self.random);
        }
    }

    fn come_to_server(&mut self, packet: &Packet, now: u64) {
        if self.dead || self.cut {
            return;
        }
        if packet.reset {
            return self.fail(libc::ECONNRESET);
        }
        self.established = true;
        self.last_ack = now;
        if self.down.acknowledge(packet) {
            self.last_progress = now;
        }
        if self.starved && self.is_writable() {
            self.starved = false;
            self.edge = true;
        }
        let new = packet.sent > self.up.arrived;
        if new && self.dropped {
            return self.cut_off(now);
        }
        if new || (packet.fin && !self.up.fin_arrived) {
            self.up.arrive(packet, now, &mut self.random);
            self.edge = true;
        }
        if self.urgent.is_some_and(|at| at <= self.up.arrived) {
            self.mark = self.urgent.take();
            self.edge = true;
        }
        if packet.probe {
            self.emit(Side::Server, now, false, false);
        }
    }

    fn come_to_client(&mut self, packet: &Packet, now: u64) {
        if self.peer_reset {
            return;
        }
        if packet.reset {
            self.reset_seen = true;
            self.up.purged = true;
            return;
        }
        self.up.acknowledge(packet);
        let new = packet.sent > self.down.arrived;
        if new && self.peer_closed {
            return self.reset_by_peer(now);
        }
        if new || (packet.fin && !self.down.fin_arrived) {
            self.down.arrive(packet, now, &mut self.random);
        }
        if packet.probe {
            self.emit(Side::Client, now, false, false);
        }
    }

    /// Does what a timer of a kernel's is due for.
    fn expire(&mut self, now: u64) -> bool {
        let due = |at: Option<u64>| at.is_some_and(|at| at <= now);
        let mut moved = false;
        for side in [Side::Server, Side::Client] {
            let pipe = if side == Side::Server { &self.up } else { &self.down };
            if due(pipe.ack_due) {
                self.emit(side, now, false, false);
                moved = true;
            }
            let timeout = self.link.retransmission();
            let pipe = if side == Side::Server { &mut self.down } else { &mut self.up };
            if pipe.probe(now, timeout) {
                self.emit(side, now, false, true);
                moved = true;
            }
        }
        self.repeat(now);
        self.give_up(now);
        moved
    }

    /// The server's kernel repeats what a vanished client does not acknowledge.
    fn repeat(&mut self, now: u64) {
        let lost = !self.dead && !self.cut && self.down.unacknowledged() > 0;
        let Some(how) = self.vanished.filter(|_| lost) else {
            self.repeat_at = None;
            return;
        };
        let timeout = self.link.retransmission() << self.repetitions.min(8);
        let at = *self.repeat_at.get_or_insert(now + timeout);
        if at > now {
            return;
        }
        if self.repetitions >= how.repetitions {
            self.repeat_at = None;
            return self.fail(how.error);
        }
        self.repetitions += 1;
        self.repeat_at = Some(now + (timeout << 1));
    }

    /// The server's kernel loses patience with a client that takes nothing.
    fn give_up(&mut self, now: u64) {
        let lost = self.vanished.is_some() && self.down.unacknowledged() > 0;
        if self.dead || self.cut || !(lost || self.down.is_blocked()) {
            self.stuck_since = None;
            return;
        }
        let since = *self.stuck_since.get_or_insert(now);
        if self.user_timeout.is_some_and(|time| now >= since + time) {
            // After the close nobody is told.
            self.timed_out = !self.dropped;
            self.stuck_since = None;
            self.emit(Side::Server, now, true, false);
            self.fail(libc::ETIMEDOUT);
        }
    }
}
