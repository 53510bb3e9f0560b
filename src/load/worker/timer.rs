//! Sleeping to the microsecond: the poll's own timeout is whole milliseconds.

use std::io;
use std::time::Duration;

use mio::{Registry, Token};

/// Below this a sleep costs more than it saves.
const SPIN_BELOW: Duration = Duration::from_micros(20);

#[cfg(target_os = "linux")]
mod platform {
    use std::os::fd::{AsRawFd, OwnedFd};

    use mio::Interest;
    use mio::unix::SourceFd;
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };

    use super::*;

    /// A timer that ends a sleep of the poll.
    #[derive(Debug)]
    pub(in super::super) struct Timer {
        fd: OwnedFd,
        armed: u64,
    }

    impl Timer {
        pub(in super::super) fn new(registry: &Registry, token: Token) -> io::Result<Option<Self>> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            registry.register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE)?;
            Ok(Some(Self { fd, armed: 0 }))
        }

        /// The timeout for a poll that is to return at `due`, which is `wait` from now.
        pub(in super::super) fn sleep(&mut self, due: u64, wait: Duration) -> Option<Duration> {
            if wait < SPIN_BELOW {
                return Some(Duration::ZERO);
            }
            if self.armed == due {
                return None;
            }
            let value = Timespec {
                tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(wait.subsec_nanos()),
            };
            let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
            let spec = Itimerspec { it_interval: zero, it_value: value };
            match timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), &spec) {
                Ok(_) => {
                    self.armed = due;
                    None
                }
                Err(_) => Some(wait),
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use super::*;

    /// There is no such timer here; the poll's own timeout has to do.
    #[derive(Debug)]
    pub(in super::super) struct Timer;

    impl Timer {
        pub(in super::super) fn new(_: &Registry, _: Token) -> io::Result<Option<Self>> {
            Ok(None)
        }

        pub(in super::super) fn sleep(&mut self, _: u64, wait: Duration) -> Option<Duration> {
            Some(if wait < SPIN_BELOW { Duration::ZERO } else { wait })
        }
    }
}

pub(super) use platform::Timer;
