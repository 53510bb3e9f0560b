//! The request to stop, from any thread.

use mio::Waker;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// What a stop request asks for, the stronger one last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StopRequest {
    /// A drain within the budget.
    Graceful,
    /// Whatever is not done is cut.
    Forced,
}

/// The strongest request so far, shared by the handles and the server. It never weakens.
#[derive(Clone, Debug, Default)]
pub(crate) struct StopFlag(Arc<AtomicU8>);

const GRACEFUL: u8 = 1;
const FORCED: u8 = 2;

impl StopFlag {
    fn raise(&self, request: StopRequest) {
        let level = match request {
            StopRequest::Graceful => GRACEFUL,
            StopRequest::Forced => FORCED,
        };
        self.0.fetch_max(level, Ordering::Release);
    }

    /// Returns the strongest request so far.
    pub(crate) fn get(&self) -> Option<StopRequest> {
        match self.0.load(Ordering::Acquire) {
            FORCED => Some(StopRequest::Forced),
            GRACEFUL => Some(StopRequest::Graceful),
            _ => None,
        }
    }
}

/// What wakes the reactor that a server lives in, so that it ends a turn soon: a waker of mio, a
/// [`std::task::Waker`], or any function.
///
/// The function is called on the thread that makes the request. It must not block, and must not
/// call the server.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use netgrace::{Config, HostWaker, Server};
///
/// # fn main() -> Result<(), netgrace::Error> {
/// let woken = Arc::new(AtomicBool::new(false));
/// let flag = Arc::clone(&woken);
/// let server = Server::new(Config::new())?;
/// let handle = server.shutdown_handle(HostWaker::from_fn(move || {
///     flag.store(true, Ordering::Release);
/// }));
/// handle.begin_shutdown();
/// assert!(woken.load(Ordering::Acquire));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct HostWaker(Option<Arc<dyn Fn() + Send + Sync>>);

impl HostWaker {
    /// Wakes by calling `wake`.
    #[must_use]
    pub fn from_fn(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(wake)))
    }

    /// Wakes nothing: for a host that ends turns often enough by itself.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    fn wake(&self) {
        if let Some(wake) = &self.0 {
            wake();
        }
    }
}

impl From<Arc<Waker>> for HostWaker {
    fn from(waker: Arc<Waker>) -> Self {
        Self::from_fn(move || {
            if let Err(error) = waker.wake() {
                // The request stands; only the moment at which it is seen may be later.
                log::debug!("wake the poll for a stop request: {error}");
            }
        })
    }
}

impl From<std::task::Waker> for HostWaker {
    fn from(waker: std::task::Waker) -> Self {
        Self::from_fn(move || waker.wake_by_ref())
    }
}

impl fmt::Debug for HostWaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "HostWaker(..)" } else { "HostWaker(none)" })
    }
}

/// Asks a server to stop: from any thread, at any time, any number of times.
///
/// A request is sticky: made before the server runs, it counts; made after its end, or after the
/// server or its poll was dropped, it does nothing. With a [`HostWaker`] the server's host is
/// woken at once; without one the next `end_turn` sees the request. No method blocks or fails;
/// each costs an atomic operation and what the waker costs. None may be called from a signal
/// handler, nor in the child of a `fork`, where the waker is still the parent's.
#[derive(Clone)]
pub struct ShutdownHandle {
    flag: StopFlag,
    waker: HostWaker,
}

impl ShutdownHandle {
    pub(crate) fn new(flag: StopFlag, waker: HostWaker) -> Self {
        Self { flag, waker }
    }

    /// Asks for a graceful stop: see [`Server::begin_shutdown`](crate::Server::begin_shutdown).
    pub fn begin_shutdown(&self) {
        self.request(StopRequest::Graceful);
    }

    /// Asks for an immediate end of the stop: whatever is not done is cut. See
    /// [`Server::force_shutdown`](crate::Server::force_shutdown).
    pub fn force_shutdown(&self) {
        self.request(StopRequest::Forced);
    }

    fn request(&self, request: StopRequest) {
        self.flag.raise(request);
        self.waker.wake();
    }
}

impl fmt::Debug for ShutdownHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShutdownHandle").field("request", &self.flag.get()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_never_weakens() {
        type Ask = fn(&ShutdownHandle);
        let asks: [(Ask, StopRequest); 2] = [
            (ShutdownHandle::begin_shutdown, StopRequest::Graceful),
            (ShutdownHandle::force_shutdown, StopRequest::Forced),
        ];
        for (first, one) in asks {
            for (second, two) in asks {
                let handle = ShutdownHandle::new(StopFlag::default(), HostWaker::none());
                assert_eq!(handle.flag.get(), None);
                first(&handle);
                second(&handle.clone());
                assert_eq!(handle.flag.get(), Some(one.max(two)));
            }
        }
    }

    #[test]
    fn every_kind_of_waker_is_woken_by_each_request() {
        struct Count(AtomicU8);
        impl std::task::Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let count = Arc::new(Count(AtomicU8::new(0)));
        let counted = Arc::clone(&count);
        let wakers = [
            HostWaker::from(std::task::Waker::from(Arc::clone(&count))),
            HostWaker::from_fn(move || {
                counted.0.fetch_add(10, Ordering::Relaxed);
            }),
            HostWaker::none(),
        ];
        for waker in wakers {
            let handle = ShutdownHandle::new(StopFlag::default(), waker);
            handle.begin_shutdown();
            handle.clone().force_shutdown();
        }
        assert_eq!(count.0.load(Ordering::Relaxed), 22);
    }

    /// What one thread does to the flag; each is one atomic step.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Raise(StopRequest),
        BatchEnd,
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
    fn no_interleaving_loses_or_weakens_a_request() {
        use Step::{BatchEnd, Raise};
        const GRACEFUL: Step = Raise(StopRequest::Graceful);
        const FORCED: Step = Raise(StopRequest::Forced);
        let programs: [&[Step]; 6] = [
            &[],
            &[GRACEFUL],
            &[FORCED],
            &[GRACEFUL, FORCED],
            &[FORCED, GRACEFUL],
            &[GRACEFUL, GRACEFUL, FORCED],
        ];
        for one in programs {
            for two in programs {
                for order in interleavings(&[one, two, &[BatchEnd, BatchEnd, BatchEnd]]) {
                    let flag = StopFlag::default();
                    let other = flag.clone();
                    let mut asked = None;
                    for step in &order {
                        match step {
                            Raise(request) => {
                                other.raise(*request);
                                asked = asked.max(Some(*request));
                            }
                            BatchEnd => assert_eq!(flag.get(), asked, "{order:?}"),
                        }
                    }
                    assert_eq!(flag.get(), asked, "{order:?}");
                }
            }
        }
    }

    #[test]
    fn threads_at_once_leave_the_strongest_request() {
        for round in 0..200 {
            let handle = ShutdownHandle::new(StopFlag::default(), HostWaker::none());
            std::thread::scope(|scope| {
                for thread in 0..4 {
                    let handle = handle.clone();
                    scope.spawn(move || {
                        if thread == round % 4 {
                            handle.force_shutdown();
                        } else {
                            handle.begin_shutdown();
                        }
                    });
                }
                let mut last = None;
                for _ in 0..1_000 {
                    let seen = handle.flag.get();
                    assert!(seen >= last, "{seen:?} after {last:?}");
                    last = seen;
                }
            });
            assert_eq!(handle.flag.get(), Some(StopRequest::Forced));
        }
    }
}
