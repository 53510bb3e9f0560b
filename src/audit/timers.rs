//! When each client wants to be called without an event.

use std::collections::BTreeSet;

/// Deadlines of clients, the earliest first.
#[derive(Debug, Default)]
pub(super) struct Timers {
    order: BTreeSet<(u64, usize)>,
    due: Vec<Option<u64>>,
}

impl Timers {
    /// Sets or clears the deadline of a client.
    pub(super) fn set(&mut self, client: usize, at: Option<u64>) {
        if self.due.len() <= client {
            self.due.resize(client.saturating_add(1), None);
        }
        let Some(due) = self.due.get_mut(client) else { return };
        if *due == at {
            return;
        }
        if let Some(old) = due.take() {
            self.order.remove(&(old, client));
        }
        *due = at;
        if let Some(at) = at {
            self.order.insert((at, client));
        }
    }

    /// Returns the earliest deadline.
    pub(super) fn next(&self) -> Option<u64> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes every client whose deadline has come.
    pub(super) fn take_due(&mut self, now: u64, into: &mut Vec<usize>) {
        while let Some((at, client)) = self.order.first().copied() {
            if at > now {
                return;
            }
            self.set(client, None);
            into.push(client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_comes_first_and_once() {
        let mut timers = Timers::default();
        timers.set(2, Some(30));
        timers.set(0, Some(20));
        timers.set(1, Some(10));
        timers.set(2, Some(5));
        timers.set(1, None);
        assert_eq!(timers.next(), Some(5));
        let mut due = Vec::new();
        timers.take_due(20, &mut due);
        assert_eq!(due, [2, 0]);
        assert_eq!(timers.next(), None);
    }
}
