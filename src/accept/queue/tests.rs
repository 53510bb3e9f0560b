//! The policy for every way in which accept fails.

use super::*;
use crate::config::Config;
use crate::net::listener::Listener;

#[test]
fn every_failure_has_its_policy() {
    let of = |errno| classify::<()>(io::Error::from_raw_os_error(errno));
    assert!(matches!(of(libc::EAGAIN), Accepted::Empty));
    for errno in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM] {
        assert!(matches!(of(errno), Accepted::Exhausted(_)), "{errno}");
    }
    for errno in [libc::EBADF, libc::ENOTSOCK, libc::EFAULT, libc::ENOSYS] {
        assert!(matches!(of(errno), Accepted::Dead(_)), "{errno}");
    }
    for errno in [
        libc::ECONNABORTED,
        libc::EINTR,
        libc::EPERM,
        libc::EPROTO,
        libc::ENETDOWN,
        libc::ENOPROTOOPT,
        libc::EHOSTDOWN,
        libc::EHOSTUNREACH,
        libc::ENETUNREACH,
        libc::EOPNOTSUPP,
        libc::ETIMEDOUT,
        libc::ECONNRESET,
    ] {
        assert!(matches!(of(errno), Accepted::Broken(_)), "{errno}");
    }
    let without_number = io::Error::from(io::ErrorKind::InvalidInput);
    assert!(matches!(classify::<()>(without_number), Accepted::Broken(_)));
}

#[test]
fn a_rest_doubles_up_to_a_second() {
    let now = Instant::now();
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut listener = AcceptQueue::new(Listener::bind(address, &Config::new()).unwrap(), true);
    let mut pauses = Vec::new();
    for _ in 0..6 {
        listener.back_off(now);
        let until = listener.next_deadline(now).unwrap();
        pauses.push((until - now).as_millis());
        assert!(!listener.is_ready(now));
        assert!(listener.is_ready(until));
    }
    assert_eq!(pauses, [100, 200, 400, 800, 1000, 1000]);
    listener.on_event();
    assert!(!listener.is_ready(now), "an event does not end a rest");
    listener.on_freed();
    assert!(listener.is_ready(now), "a close of ours does");
}
