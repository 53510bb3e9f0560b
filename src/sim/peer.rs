//! The far end of a connection: a client by a script.

use super::duplex::{Duplex, Side, Vanishing};
use super::transcript::Transcript;

/// What a peer does once it has sent everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Stays, silent.
    Stay,
    /// FIN in the same instant as the last bytes.
    HalfCloseAtOnce,
    /// FIN once everything came back.
    HalfClose,
    /// Closes both ways once everything came back.
    Close,
}

/// What a peer does about the server's FIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Closes after so many microseconds.
    CloseAfter(u64),
    /// Sends no more, and does not close.
    Never,
    /// Goes on sending.
    Talk,
}

/// Times are in microseconds.
#[derive(Clone, Debug)]
pub(super) struct Script {
    /// Bytes to send altogether, and at a time.
    pub(super) total: u64,
    pub(super) chunk: u64,
    /// Bytes that may be under way without having come back.
    pub(super) window: u64,
    /// Bytes to read at a time; 0: it never reads.
    pub(super) gulp: u64,
    /// It reads nothing from then to then.
    pub(super) asleep: Option<(u64, u64)>,
    /// Time between two acts, and the time from which it sends no more.
    pub(super) pace: u64,
    pub(super) until: u64,
    pub(super) ending: Ending,
    pub(super) answer: Answer,
    /// Sends an RST at this time.
    pub(super) reset_at: Option<u64>,
    /// The network loses it at this time.
    pub(super) vanish_at: Option<(u64, Vanishing)>,
    /// Sends urgent data once so much is sent.
    pub(super) urgent_at: Option<u64>,
}

/// How a connection ended in the eyes of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Saw {
    /// A FIN after the last byte.
    Fin,
    Reset,
}

/// What was said on a connection, if its protocol is not the echo.
pub(super) type Talk<'a> = Option<&'a Transcript>;

/// Bytes of what a peer sent that are dealt with.
fn returned(line: &Duplex, talk: Talk<'_>) -> u64 {
    talk.map_or(line.down.read, |talk| talk.returned(line.down.read))
}

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) script: Script,
    pub(super) saw: Option<Saw>,
    close_at: Option<u64>,
    /// When it can act again.
    free_at: u64,
    gone: bool,
}

impl Peer {
    pub(super) fn new(script: Script) -> Self {
        Self { script, saw: None, close_at: None, free_at: 0, gone: false }
    }

    /// Reads everything and breaks nothing.
    pub(super) fn is_healthy(&self) -> bool {
        let script = &self.script;
        script.gulp > 0 && script.reset_at.is_none() && script.vanish_at.is_none()
    }

    /// Does what is to be done now. Returns when to be asked again, if not by a packet.
    pub(super) fn act(&mut self, line: &mut Duplex, talk: Talk<'_>, now: u64) -> Option<u64> {
        if self.gone || self.break_off(line, now) {
            return None;
        }
        if self.free_at > now {
            return self.next(line, talk, now);
        }
        self.free_at = now.saturating_add(self.script.pace);
        self.take(line, now);
        if self.close_at.is_some_and(|at| at <= now) {
            line.close_peer(now);
            self.gone = true;
            return None;
        }
        if !self.gone {
            self.send(line, talk, now);
        }
        self.next(line, talk, now)
    }

    fn break_off(&mut self, line: &mut Duplex, now: u64) -> bool {
        if self.script.reset_at.is_some_and(|at| at <= now) {
            line.reset_by_peer(now);
            self.gone = true;
        } else if let Some((_, how)) = self.script.vanish_at.filter(|(at, _)| *at <= now) {
            line.vanish(how);
            self.gone = true;
        }
        self.gone
    }

    /// The end of a sleep that it is in.
    fn sleeps_until(&self, now: u64) -> Option<u64> {
        self.script.asleep.filter(|(from, to)| (*from..*to).contains(&now)).map(|(_, to)| to)
    }

    fn take(&mut self, line: &mut Duplex, now: u64) {
        if self.sleeps_until(now).is_some() {
            return;
        }
        let count = line.down.unread().min(self.script.gulp);
        if count > 0 {
            line.take(Side::Client, count, now);
        }
        let all = line.down.unread() == 0;
        if line.reset_seen && (all || self.script.gulp == 0) {
            self.saw = self.saw.or(Some(Saw::Reset));
            self.gone = true;
        } else if line.down.fin_arrived && all && self.script.gulp > 0 && self.saw.is_none() {
            self.saw = Some(Saw::Fin);
            if let Answer::CloseAfter(time) = self.script.answer {
                self.close_at = Some(now.saturating_add(time));
            }
        }
    }

    fn may_send(&self, line: &Duplex, talk: Talk<'_>, now: u64) -> u64 {
        let muted = self.saw.is_some() && self.script.answer != Answer::Talk;
        if line.up.fin || line.reset_seen || muted || now >= self.script.until {
            return 0;
        }
        let window = self.script.window.saturating_sub(line.up.written - returned(line, talk));
        let left = self.script.total - line.up.written;
        window.min(left).min(self.script.chunk).min(line.up.room())
    }

    fn send(&mut self, line: &mut Duplex, talk: Talk<'_>, now: u64) {
        line.up.written += self.may_send(line, talk, now);
        if self.script.urgent_at.is_some_and(|at| at <= line.up.written) && !line.reset_seen {
            self.script.urgent_at = None;
            line.send_urgent();
        }
        if line.up.written < self.script.total || line.up.fin || line.reset_seen {
            return;
        }
        let back = returned(line, talk) == line.up.written || self.script.gulp == 0;
        match self.script.ending {
            Ending::HalfCloseAtOnce => line.up.fin = true,
            Ending::HalfClose if back => line.up.fin = true,
            Ending::Close if back => {
                line.close_peer(now);
                self.gone = true;
            }
            Ending::Stay | Ending::HalfClose | Ending::Close => {}
        }
    }

    fn next(&self, line: &Duplex, talk: Talk<'_>, now: u64) -> Option<u64> {
        if self.gone {
            return None;
        }
        let reads = self.script.gulp > 0;
        let busy = reads && line.down.unread() > 0;
        let ending = reads && line.down.fin_arrived && self.saw.is_none();
        let ready = busy || ending || line.reset_seen;
        let awake = ready.then(|| self.sleeps_until(now).unwrap_or(0).max(self.free_at));
        let sending = (self.may_send(line, talk, now) > 0).then_some(self.free_at);
        let closing = self.close_at.map(|at| at.max(self.free_at));
        let lost = self.script.vanish_at.map(|(at, _)| at);
        [awake, sending, closing, self.script.reset_at, lost].into_iter().flatten().min()
    }
}
