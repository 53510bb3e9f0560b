//! The lists of a table: where in its life each connection is, and when it is looked at next.

use super::deadline::Tick;
use super::list::{List, Nodes};

/// The kind of list that says where in its life a connection is; each slot is on exactly one.
#[derive(Debug)]
pub(crate) struct Life;

/// Milliseconds that the timer wheel reaches ahead, one list for each. Whoever is due later is
/// looked at then, and put further ahead.
const REACH: u32 = 128;

/// The list that a connection stands on, in one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(u8);

impl Place {
    /// Open, on one of two lists that take turns: one is in the order of the last byte, the other
    /// waits for a visit by the drain. Changing their roles moves every connection at once.
    const EVEN: Self = Self(0);
    /// Open, on the other of the two.
    const ODD: Self = Self(1);
    /// Our FIN and everything before it is acknowledged; in the order of that.
    pub(crate) const LINGERING: Self = Self(2);
    /// Served once more before it is forced.
    pub(crate) const SERVED: Self = Self(3);
    /// Closed in this turn.
    pub(crate) const CLOSED: Self = Self(4);
    /// The first list of the timer wheel.
    const WHEEL: u8 = 5;

    fn of_tick(tick: Tick) -> Self {
        let index = u8::try_from(tick.modulo(REACH)).unwrap_or(0);
        Self(Self::WHEEL.saturating_add(index))
    }

    /// Whether it is on the timer wheel.
    pub(crate) fn is_timed(self) -> bool {
        self.0 >= Self::WHEEL
    }
}

#[derive(Debug)]
pub(crate) struct Lists {
    lists: [List<Life>; 5 + REACH as usize],
    /// Whether `ODD` is the one in the order of the last byte.
    swapped: bool,
    /// Connections on the timer wheel.
    timed: u32,
    /// Everybody who was due up to this tick was looked at.
    passed: Tick,
}

impl Default for Lists {
    fn default() -> Self {
        let lists = std::array::from_fn(|_| List::default());
        Self { lists, swapped: false, timed: 0, passed: Tick::default() }
    }
}

impl Lists {
    /// The place of open connections in the order of the last byte.
    pub(crate) fn aging(&self) -> Place {
        if self.swapped { Place::ODD } else { Place::EVEN }
    }

    /// The place of open connections that the drain has yet to visit.
    pub(crate) fn unvisited(&self) -> Place {
        if self.swapped { Place::EVEN } else { Place::ODD }
    }

    /// Makes every aging connection an unvisited one.
    pub(crate) fn unvisit_all(&mut self) {
        self.swapped ^= self.front(self.unvisited()).is_none();
    }

    /// The connection that has stood longest at a place.
    pub(crate) fn front(&self, place: Place) -> Option<u32> {
        self.lists.get(usize::from(place.0)).and_then(List::front)
    }

    pub(crate) fn insert(&mut self, nodes: &mut impl Nodes<Life>, place: Place, at: u32) {
        if let Some(list) = self.lists.get_mut(usize::from(place.0))
            && list.push_back(nodes, at)
        {
            self.timed = self.timed.saturating_add(place.is_timed().into());
        }
    }

    pub(crate) fn remove(&mut self, nodes: &mut impl Nodes<Life>, place: Place, at: u32) {
        if let Some(list) = self.lists.get_mut(usize::from(place.0))
            && list.remove(nodes, at)
        {
            self.timed = self.timed.saturating_sub(place.is_timed().into());
        }
    }

    /// The place of a connection that is to be looked at when it is `due`, or somewhat earlier.
    pub(crate) fn timed(&mut self, due: Tick, now: Tick) -> Place {
        if self.timed == 0 {
            self.passed = now;
        }
        let soonest = self.passed.later(now).plus(1);
        let furthest = self.passed.plus(REACH.saturating_sub(1));
        Place::of_tick(soonest.later(due).earlier(furthest))
    }

    /// A connection that is due; whoever asks has to move it elsewhere.
    pub(crate) fn due(&mut self, now: Tick) -> Option<u32> {
        if self.timed == 0 {
            return None;
        }
        self.passed = self.passed.later(now.minus(REACH));
        while now.is_after(self.passed) {
            let next = self.passed.plus(1);
            if let Some(at) = self.front(Place::of_tick(next)) {
                return Some(at);
            }
            self.passed = next;
        }
        None
    }

    /// The tick at which somebody is due, if anybody ever is.
    pub(crate) fn next_due(&self) -> Option<Tick> {
        if self.timed == 0 {
            return None;
        }
        let ticks = (1..=REACH).map(|ahead| self.passed.plus(ahead));
        ticks.into_iter().find(|tick| self.front(Place::of_tick(*tick)).is_some())
    }

    /// Some connection on the timer wheel, due or not.
    pub(crate) fn any_timed(&self) -> Option<u32> {
        self.front(Place::of_tick(self.next_due()?))
    }

    /// All places and the slots there.
    #[cfg(test)]
    pub(crate) fn audit(
        &self,
        nodes: &mut impl Nodes<Life>,
    ) -> Result<Vec<(Place, Vec<u32>)>, String> {
        let places = (0..).map(Place).zip(&self.lists);
        let all: Vec<_> = places
            .map(|(place, list)| list.audit(nodes).map(|slots| (place, slots)))
            .collect::<Result<_, _>>()?;
        let timed: usize =
            all.iter().filter(|(place, _)| place.is_timed()).map(|(_, slots)| slots.len()).sum();
        if timed == self.timed as usize {
            Ok(all)
        } else {
            Err(format!("{timed} connections are on the wheel, {} counted", self.timed))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::list::Link;

    struct Slots(Vec<Link>);

    impl Nodes<Life> for Slots {
        fn link(&mut self, at: u32) -> Option<&mut Link> {
            self.0.get_mut(at as usize)
        }
    }

    /// Puts one connection on the wheel and takes it off when it is due, moving it on as long as
    /// that is earlier than wanted.
    #[track_caller]
    fn check(start: u32, wait: u32, step: u32) {
        let (mut lists, mut slots) = (Lists::default(), Slots(vec![Link::default()]));
        let start = Tick::default().plus(start);
        let due = start.plus(wait);
        let mut place = lists.timed(due, start);
        lists.insert(&mut slots, place, 0);
        let mut now = start;
        for _ in 0..10_000 {
            while lists.due(now) == Some(0) {
                lists.remove(&mut slots, place, 0);
                if !due.is_after(now) {
                    assert!(due.age(now) < step.max(2), "{} ms late", due.age(now));
                    return;
                }
                place = lists.timed(due, now);
                lists.insert(&mut slots, place, 0);
            }
            assert_eq!(lists.any_timed(), Some(0));
            now = now.plus(step);
        }
        panic!("never due");
    }

    #[test]
    fn everybody_is_looked_at_when_due() {
        for start in [0, 77, u32::MAX - 50, u32::MAX / 2] {
            for wait in [1, 10, 127, 128, 129, 1_000, 5_000] {
                for step in [1, 3, 127, 128, 129, 700] {
                    check(start, wait, step);
                }
            }
        }
    }
}
