//! What one seed stands for: a configuration, the clients, the acts of the host.

use std::collections::VecDeque;
use std::net::IpAddr;

use super::duplex::Sizes;
use super::link::Link;
use super::peer::Script;
use super::speech::Speech;
use crate::accept::pair::Visibility;
use crate::accept::queue::Ownership;
use crate::config::Config;
use crate::token::TokenRange;

/// When the kernel repeats a SYN-ACK, and when it forgets the handshake, in microseconds.
pub(super) const REPETITIONS: [u64; 5] = [1_000_000, 3_000_000, 7_000_000, 15_000_000, 31_000_000];
pub(super) const FORGOTTEN: u64 = 63_000_000;

/// What a host does to its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Shutdown,
    Force,
    /// The same through a handle.
    AskShutdown,
    AskForce,
    /// Takes the server off its poll, and puts it on one again with other tokens.
    Leave,
    Return,
    /// Gives the queues to a successor, and takes them back; leaves open whose they are.
    HandOver,
    Own,
    Undecide,
    /// Drops the server.
    Drop,
}

/// What there is too little of, and how often.
#[derive(Clone, Debug)]
pub(super) struct Scarcity {
    /// Connections for which there are descriptors.
    pub(super) descriptors: usize,
    /// Times, from and to, in which accept gives an error.
    pub(super) droughts: Vec<(u64, u64, i32)>,
    /// One call of accept in so many fails for the client's fault or nobody's; 0: none.
    pub(super) failure_rate: u64,
    /// One connection in so many cannot be put on the poll; 0: none.
    pub(super) register_rate: u64,
}

/// What kind of listening socket it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Make {
    /// Whose its queue is.
    pub(super) ownership: Ownership,
    /// The kernel can keep handshakes out before the close.
    pub(super) has_gate: bool,
    /// From then on every call gives this error.
    pub(super) dies: Option<(u64, i32)>,
    /// What can be known of its half-open handshakes.
    pub(super) visibility: Visibility,
}

impl Make {
    pub(super) fn is_owned(&self) -> bool {
        self.ownership == Ownership::Exclusive
    }

    pub(super) fn is_unix(&self) -> bool {
        self.visibility == Visibility::NoHandshakes
    }
}

/// A client's handshake.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handshake {
    /// When its SYN comes to the server.
    pub(super) syn: u64,
    /// When its connect() returns; `None`: it does not hear the server.
    pub(super) connects: Option<u64>,
    /// When its ACK has come at the latest.
    pub(super) completes: u64,
}

impl Handshake {
    /// The same, begun so much later.
    pub(super) fn later(self, time: u64) -> Self {
        Self {
            syn: self.syn + time,
            connects: self.connects.map(|connects| connects + time),
            completes: self.completes.saturating_add(time),
        }
    }
}

/// One client to come.
#[derive(Clone, Debug)]
pub(super) struct Client {
    /// When its SYN comes to the server.
    pub(super) at: u64,
    pub(super) address: IpAddr,
    /// The listener that it comes to.
    pub(super) door: usize,
    pub(super) sizes: Sizes,
    pub(super) link: Link,
    pub(super) script: Script,
    pub(super) start: u64,
    pub(super) seed: u64,
    pub(super) hiccups: u32,
    /// SYN-ACKs that it does not hear.
    pub(super) deaf: usize,
    /// How long its last ACK is held back when it has nothing to say.
    pub(super) ack_delay: u64,
}

impl Client {
    pub(super) fn handshake(&self) -> Handshake {
        let (syn, link) = (self.at, &self.link);
        if link.is_unix() {
            return Handshake { syn, connects: Some(syn), completes: syn };
        }
        let way = link.delay + link.jitter;
        let heard = match self.deaf.checked_sub(1) {
            None => Some(0),
            Some(missed) => REPETITIONS.get(missed).copied(),
        };
        let connects = heard.map(|heard| syn + heard + way);
        let completes = connects.map_or(u64::MAX, |connects| connects + self.ack_delay + way);
        Handshake { syn, connects, completes }
    }
}

/// How badly a host treats its server; each a chance in percent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manners {
    pub(super) spurious: u64,
    pub(super) stale: u64,
    pub(super) repeated: u64,
    pub(super) shuffled: u64,
    pub(super) skipped: u64,
    pub(super) late: u64,
    pub(super) old_clock: u64,
    /// Polls that a signal interrupts, so that they report nothing.
    pub(super) interrupted: u64,
    /// Events taken from the poll at a time.
    pub(super) events: usize,
}

#[derive(Debug)]
pub(super) struct Plan {
    /// What is spoken, if not the echo.
    pub(super) speech: Option<Speech>,
    pub(super) config: Config,
    pub(super) capacity: usize,
    pub(super) tokens: TokenRange,
    pub(super) doors: Vec<Make>,
    pub(super) scarcity: Scarcity,
    pub(super) clients: Vec<Client>,
    /// By time.
    pub(super) acts: VecDeque<(u64, Act)>,
    /// The host stands still from then to then.
    pub(super) frozen: Option<(u64, u64)>,
    pub(super) manners: Manners,
    /// The kernel can be asked about connections.
    pub(super) asks: bool,
    pub(super) hiccup_rate: u64,
    pub(super) race_rate: u64,
    /// The span in which clients come and act, in microseconds.
    pub(super) span: u64,
    /// Turns from one look at every single connection to the next.
    pub(super) stride: u64,
}
