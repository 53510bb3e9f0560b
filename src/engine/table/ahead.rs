//! Asking the kernel about many connections at once.

use std::iter;

use super::{Connection, Life, List, Speaks, Stream, Table};

/// Connections that are asked about at once.
const AHEAD: usize = 64;

impl<S: Stream, P: Speaks> Table<S, P> {
    /// Asks the kernel about the connection that is looked at next and those behind it on its list,
    /// as far as their state is `wanted`, unless that was done for one before it.
    pub(in crate::engine) fn look_ahead(
        &mut self,
        first: u32,
        wanted: impl Fn(&Connection<S, P>) -> bool,
    ) {
        if let Some(left) = self.ahead.checked_sub(1) {
            self.ahead = left;
            return;
        }
        let slots = &mut self.slots;
        let mut next = Some(first);
        let behind = iter::from_fn(|| {
            let at = next?;
            next = List::<Life>::behind(slots, at);
            Some(at)
        });
        let passed: Vec<u32> = behind.take(AHEAD).collect();
        let connections = passed.iter().filter_map(|at| self.slots.get(*at as usize));
        let wanted = connections.filter(|slot| wanted(&slot.connection));
        S::ask_ahead(wanted.map(|slot| slot.connection.stream()), &mut self.kernel);
        self.ahead = u32::try_from(passed.len().saturating_sub(1)).unwrap_or(0);
    }

    /// Forgets what the kernel said ahead and nobody asked for.
    pub(in crate::engine) fn forget_ahead(&mut self) {
        self.ahead = 0;
        S::ask_ahead(iter::empty(), &mut self.kernel);
    }
}
