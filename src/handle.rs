//! The request to stop, from any thread.

use mio::Waker;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// What was asked for; it only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Request {
    Nothing,
    Shutdown,
    Force,
}

/// The word that handles and a server share.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestCell(Arc<AtomicU8>);

const SHUTDOWN: u8 = 1;
const FORCE: u8 = 2;

impl RequestCell {
    fn raise(&self, to: u8) {
        self.0.fetch_max(to, Ordering::Release);
    }

    /// The most that was asked for so far.
    pub(crate) fn get(&self) -> Request {
        match self.0.load(Ordering::Acquire) {
            FORCE => Request::Force,
            SHUTDOWN => Request::Shutdown,
            _ => Request::Nothing,
        }
    }
}

/// Asks a server to stop: from any thread, at any time, any number of times.
///
/// A request is sticky: made before the server runs, it counts; made after its end, or after the
/// server or its poll was dropped, it does nothing. With a waker the server's poll wakes at once;
/// without one the next `end_turn` sees the request. No method blocks or fails; each costs an
/// atomic operation and, with a waker, one system call. None may be called from a signal handler,
/// nor in the child of a `fork`, where the waker is still the parent's.
#[derive(Clone)]
pub struct ShutdownHandle {
    cell: RequestCell,
    waker: Option<Arc<Waker>>,
}

impl ShutdownHandle {
    pub(crate) fn new(cell: RequestCell, waker: Option<Arc<Waker>>) -> Self {
        Self { cell, waker }
    }

    /// Asks for a graceful stop: see [`Server::begin_shutdown`](crate::Server::begin_shutdown).
    pub fn shutdown(&self) {
        self.request(SHUTDOWN);
    }

    /// Asks for the stop to be cut short, or to be short from the start: what is not done is cut.
    /// See [`Server::force_shutdown`](crate::Server::force_shutdown).
    pub fn force(&self) {
        self.request(FORCE);
    }

    fn request(&self, what: u8) {
        self.cell.raise(what);
        if let Some(waker) = &self.waker
            && let Err(error) = waker.wake()
        {
            // The request stands; only the moment at which it is seen may be later.
            log::debug!("wake the poll for a stop request: {error}");
        }
    }
}

impl fmt::Debug for ShutdownHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShutdownHandle").field("request", &self.cell.get()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_only_grows() {
        type Ask = fn(&ShutdownHandle);
        let asks: [(Ask, u8); 2] =
            [(ShutdownHandle::shutdown, SHUTDOWN), (ShutdownHandle::force, FORCE)];
        for (first, one) in asks {
            for (second, two) in asks {
                let handle = ShutdownHandle::new(RequestCell::default(), None);
                assert_eq!(handle.cell.get(), Request::Nothing);
                first(&handle);
                second(&handle.clone());
                let most = if one.max(two) == FORCE { Request::Force } else { Request::Shutdown };
                assert_eq!(handle.cell.get(), most);
            }
        }
    }

    /// What one thread does to the word; each is one atomic step.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Shutdown,
        Force,
        Look,
    }

    /// Every order in which the steps of `threads` can follow one another.
    fn interleavings(threads: &[&[Step]]) -> Vec<Vec<Step>> {
        let mut all = Vec::new();
        for (index, thread) in threads.iter().enumerate() {
            if let Some((first, rest)) = thread.split_first() {
                let mut left = threads.to_vec();
                left[index] = rest;
                for mut order in interleavings(&left) {
                    order.insert(0, *first);
                    all.push(order);
                }
            }
        }
        if all.is_empty() { vec![Vec::new()] } else { all }
    }

    #[test]
    fn no_interleaving_loses_or_takes_back_a_request() {
        use Step::{Force, Look, Shutdown};
        let programs: [&[Step]; 6] = [
            &[],
            &[Shutdown],
            &[Force],
            &[Shutdown, Force],
            &[Force, Shutdown],
            &[Shutdown, Shutdown, Force],
        ];
        for one in programs {
            for two in programs {
                for order in interleavings(&[one, two, &[Look, Look, Look]]) {
                    let cell = RequestCell::default();
                    let (first, second) = (cell.clone(), cell.clone());
                    let mut asked = Request::Nothing;
                    for step in &order {
                        match step {
                            Shutdown => first.raise(SHUTDOWN),
                            Force => second.raise(FORCE),
                            Look => assert_eq!(cell.get(), asked, "{order:?}"),
                        }
                        asked = asked.max(match step {
                            Shutdown => Request::Shutdown,
                            Force => Request::Force,
                            Look => Request::Nothing,
                        });
                    }
                    assert_eq!(cell.get(), asked, "{order:?}");
                }
            }
        }
    }

    #[test]
    fn threads_at_once_leave_the_most_that_any_asked_for() {
        for round in 0..200 {
            let handle = ShutdownHandle::new(RequestCell::default(), None);
            std::thread::scope(|scope| {
                for thread in 0..4 {
                    let handle = handle.clone();
                    scope.spawn(move || {
                        if thread == round % 4 { handle.force() } else { handle.shutdown() }
                    });
                }
                let mut last = Request::Nothing;
                for _ in 0..1_000 {
                    let seen = handle.cell.get();
                    assert!(seen >= last, "{seen:?} after {last:?}");
                    last = seen;
                }
            });
            assert_eq!(handle.cell.get(), Request::Force);
        }
    }
}
