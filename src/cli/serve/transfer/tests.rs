//! Every interleaving of the steps of both processes with signals, deaths and delays.
#![expect(clippy::arithmetic_side_effects, reason = "a test stops at the first overflow")]

use super::*;
use std::collections::HashSet;

/// What the channel carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Message {
    Ready,
    Accepted,
    Offer,
    Withdrawal,
}

/// The state of one process in the kernel and in the rest of the program.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Side {
    is_alive: bool,
    is_stopping: bool,
    /// It has a copy of the listening socket.
    has_copy: bool,
    /// Its end of the channel is open.
    has_channel: bool,
    /// It has read the end of the channel.
    saw_end: bool,
    /// Sent to it and not read.
    inbox: Vec<Message>,
}

impl Side {
    fn new() -> Self {
        Self {
            is_alive: true,
            is_stopping: false,
            has_copy: true,
            has_channel: true,
            saw_end: false,
            inbox: Vec::new(),
        }
    }

    fn die(&mut self) {
        (self.is_alive, self.has_copy, self.has_channel) = (false, false, false);
    }
}

/// Both processes, and what may still go wrong.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    giver: Giver,
    taker: Taker,
    old: Side,
    new: Side,
    has_served: bool,
    /// Signals for the one and the other, deaths, and delays that may still come.
    faults: [u8; 4],
    /// A process was killed.
    death: bool,
    /// Something took too long.
    delay: bool,
    /// The queue is gone, and the process that closed it had emptied it.
    swept: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Serve,
    OldReads,
    NewReads,
    OldCloses,
    NewCloses,
    OldHangsUp,
    NewHangsUp,
    StopOld,
    StopNew,
    KillOld,
    KillNew,
    Late,
}

use Step::{
    KillNew, KillOld, Late, NewCloses, NewHangsUp, NewReads, OldCloses, OldHangsUp, OldReads,
    Serve, StopNew, StopOld,
};

const PROGRESS: [Step; 7] =
    [Serve, OldReads, NewReads, OldCloses, NewCloses, OldHangsUp, NewHangsUp];
const FAULTS: [Step; 5] = [StopOld, StopNew, KillOld, KillNew, Late];

impl World {
    fn new(faults: [u8; 4]) -> Self {
        Self {
            giver: Giver::Starting,
            taker: Taker::Waiting,
            old: Side::new(),
            new: Side::new(),
            has_served: false,
            faults,
            death: false,
            delay: false,
            swept: None,
        }
    }

    fn allows(&self, step: Step) -> bool {
        let reads = |side: &Side, other: &Side| {
            let end = !other.has_channel && !side.saw_end;
            side.is_alive && side.has_channel && (!side.inbox.is_empty() || end)
        };
        let closes = |side: &Side, claim: Claim| {
            side.is_alive && side.is_stopping && side.has_copy && claim != Claim::Waits
        };
        let hangs_up = |side: &Side| side.is_alive && !side.has_copy && side.has_channel;
        let [stops_old, stops_new, deaths, delays] = self.faults;
        match step {
            Serve => self.new.is_alive && !self.has_served,
            OldReads => reads(&self.old, &self.new),
            // It reads nothing before it serves.
            NewReads => self.has_served && reads(&self.new, &self.old),
            OldCloses => closes(&self.old, self.giver.claim()),
            NewCloses => self.has_served && closes(&self.new, self.taker.claim()),
            OldHangsUp => hangs_up(&self.old),
            NewHangsUp => hangs_up(&self.new),
            StopOld => stops_old > 0 && self.old.is_alive,
            StopNew => stops_new > 0 && self.new.is_alive && self.has_served,
            KillOld => deaths > 0 && self.old.is_alive,
            KillNew => deaths > 0 && self.new.is_alive,
            // What has arrived is read first.
            Late => delays > 0 && self.old.is_alive && self.old.inbox.is_empty(),
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Serve => {
                self.has_served = true;
                self.send_to_old(Message::Ready);
            }
            OldReads => self.old_reads(),
            NewReads => self.new_reads(),
            OldCloses => {
                self.old.has_copy = false;
                self.note_close(self.giver.claim());
            }
            NewCloses => {
                self.new.has_copy = false;
                self.note_close(self.taker.claim());
            }
            OldHangsUp => self.old.has_channel = false,
            NewHangsUp => self.new.has_channel = false,
            StopOld => {
                self.faults[0] -= 1;
                self.old.is_stopping = true;
                self.tell_giver(GiverInput::Stop);
            }
            StopNew => {
                self.faults[1] -= 1;
                self.new.is_stopping = true;
                self.tell_taker(TakerInput::Stop);
            }
            KillOld | KillNew => {
                self.faults[2] -= 1;
                self.death = true;
                if step == KillOld { self.old.die() } else { self.new.die() }
            }
            Late => {
                self.faults[3] -= 1;
                self.delay = true;
                self.tell_giver(GiverInput::Late);
            }
        }
    }

    fn old_reads(&mut self) {
        let input = match self.old.inbox.first() {
            Some(Message::Ready) => GiverInput::Ready,
            Some(Message::Accepted) => GiverInput::Accepted,
            Some(other) => panic!("{other:?} is not for the predecessor"),
            None => {
                self.old.saw_end = true;
                GiverInput::Closed
            }
        };
        if input != GiverInput::Closed {
            self.old.inbox.remove(0);
        }
        self.tell_giver(input);
    }

    fn new_reads(&mut self) {
        let input = match self.new.inbox.first() {
            Some(Message::Offer) => TakerInput::Offer,
            Some(Message::Withdrawal) => TakerInput::Withdrawal,
            Some(other) => panic!("{other:?} is not for the successor"),
            None => {
                self.new.saw_end = true;
                TakerInput::Closed
            }
        };
        if input != TakerInput::Closed {
            self.new.inbox.remove(0);
        }
        self.tell_taker(input);
    }

    fn tell_giver(&mut self, input: GiverInput) {
        match self.giver.on(input) {
            None => {}
            Some(GiverAction::Offer) => self.send_to_new(Message::Offer),
            Some(GiverAction::Withdraw) => self.send_to_new(Message::Withdrawal),
            Some(GiverAction::Release) => self.old.is_stopping = true,
            Some(GiverAction::Terminate) => {
                assert!(!self.has_served || self.death || self.delay, "a second signal: {self:?}");
                self.death = true;
                self.new.die();
            }
            Some(GiverAction::Kill) => {
                assert!(self.delay, "{self:?}");
                self.death = true;
                self.new.die();
            }
        }
    }

    fn tell_taker(&mut self, input: TakerInput) {
        match self.taker.on(input) {
            None => {}
            Some(TakerAction::Accept) => self.send_to_old(Message::Accepted),
            Some(TakerAction::Stop) => self.new.is_stopping = true,
        }
    }

    /// What cannot be sent is found out by reading.
    fn send_to_old(&mut self, message: Message) {
        if self.old.has_channel {
            self.old.inbox.push(message);
        }
    }

    fn send_to_new(&mut self, message: Message) {
        if self.new.has_channel {
            self.new.inbox.push(message);
        }
    }

    fn note_close(&mut self, claim: Claim) {
        if claim == Claim::Sole {
            assert!(!(self.old.has_copy || self.new.has_copy), "not the last copy: {self:?}");
        }
        if !(self.old.has_copy || self.new.has_copy) {
            self.swept = Some(claim == Claim::Sole);
        }
    }

    /// What holds at every instant.
    fn check(&self) {
        let claims = [(&self.old, self.giver.claim()), (&self.new, self.taker.claim())];
        let holders: Vec<Claim> =
            claims.iter().filter(|(side, _)| side.has_copy).map(|(_, claim)| *claim).collect();
        if let [one, other] = holders[..] {
            assert!(one != Claim::Sole && other != Claim::Sole, "both have it: {self:?}");
            // The process that waits finds out which process owns it.
            assert!(one != Claim::None || other != Claim::None, "no process owns it: {self:?}");
        }
        if self.swept == Some(false) {
            assert!(self.death, "the queue is lost: {self:?}");
        }
    }

    /// What holds when nothing goes on by itself.
    fn check_rest(&self) {
        for side in [&self.old, &self.new] {
            let is_stuck = side.is_alive && side.is_stopping && side.has_copy;
            assert!(!is_stuck, "it never stops: {self:?}");
        }
        let is_served = |side: &Side, claim| side.has_copy && claim == Claim::Sole;
        let served =
            is_served(&self.old, self.giver.claim()) || is_served(&self.new, self.taker.claim());
        let is_gone = !self.old.has_copy && !self.new.has_copy;
        assert!(served || is_gone, "the owner does not know that it is: {self:?}");
        if !self.death && !self.delay && self.faults[1] == 1 && self.faults[0] == 1 {
            assert_eq!((self.giver, self.taker), (Giver::Given, Taker::Alone), "{self:?}");
        }
    }
}

/// Takes every order of steps from `world`.
fn explore(world: &World, seen: &mut HashSet<World>, path: &mut Vec<Step>) {
    if !seen.insert(world.clone()) {
        return;
    }
    let mut goes_on = false;
    for step in PROGRESS.into_iter().chain(FAULTS) {
        if !world.allows(step) {
            continue;
        }
        goes_on |= PROGRESS.contains(&step);
        let mut next = world.clone();
        path.push(step);
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            next.take(step);
            next.check();
        }));
        assert!(checked.is_ok(), "after {path:?}");
        explore(&next, seen, path);
        path.pop();
    }
    if !goes_on {
        let checked = std::panic::catch_unwind(|| world.check_rest());
        assert!(checked.is_ok(), "after {path:?}");
    }
}

#[test]
fn in_every_interleaving_one_process_owns_the_queue_and_empties_it() {
    let mut seen = HashSet::new();
    explore(&World::new([1, 1, 1, 2]), &mut seen, &mut Vec::new());
    let swept = seen.iter().filter(|world| world.swept == Some(true)).count();
    assert!(seen.len() > 1000 && swept > 100, "{} states, {swept} swept", seen.len());
}

#[test]
fn without_faults_the_queue_changes_hands() {
    let mut world = World::new([0; 4]);
    while let Some(step) = PROGRESS.into_iter().find(|step| world.allows(*step)) {
        world.take(step);
        world.check();
    }
    assert_eq!((world.giver, world.taker), (Giver::Given, Taker::Alone));
    assert!(world.new.has_copy && !world.old.has_copy && !world.new.is_stopping);
}

#[test]
fn a_stop_of_both_ends_with_an_emptied_queue_whoever_is_first() {
    let mut seen = HashSet::new();
    explore(&World::new([1, 1, 0, 0]), &mut seen, &mut Vec::new());
    let ends =
        seen.iter().filter(|world| !PROGRESS.iter().chain(&FAULTS).any(|step| world.allows(*step)));
    let ends: Vec<_> = ends.collect();
    assert!(!ends.is_empty());
    for end in ends {
        assert_eq!(end.swept, Some(true), "{end:?}");
    }
}
