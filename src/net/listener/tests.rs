//! What the sockets of a listener are set to, and which clients a shut gate lets in.

use socket2::SockRef;
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Instant;

use super::*;

fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Takes one client, which has come already or is about to.
fn take(listener: &mut Listener) -> Socket {
    let start = Instant::now();
    loop {
        match listener.accept() {
            Ok((socket, _)) => return socket,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
        assert!(start.elapsed() < Duration::from_secs(10), "nobody came");
        std::thread::yield_now();
    }
}

fn is_blocked(listener: &mut Listener) -> bool {
    listener.accept().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

#[test]
fn connections_inherit_what_the_listener_is_set_to() {
    let config = Config::new()
        .recv_buffer(64 << 10)
        .send_buffer(48 << 10)
        .keepalive(Duration::from_secs(50))
        .user_timeout(Duration::from_secs(7))
        .reuse_port(true);
    let mut listener = Listener::bind(anywhere(), &config).unwrap();
    let bound = SockRef::from(&listener);
    assert!(bound.reuse_address().unwrap() && bound.reuse_port().unwrap());
    assert!(bound.nonblocking().unwrap());
    let address = listener.address().unwrap();
    assert_eq!(listener.name(), address.to_string());
    let _client = TcpStream::connect(address).unwrap();
    let accepted = take(&mut listener);
    let accepted = SockRef::from(&accepted);
    assert!(accepted.tcp_nodelay().unwrap() && accepted.keepalive().unwrap());
    // The kernel doubles what it is asked for, socket(7).
    assert_eq!(accepted.recv_buffer_size().unwrap(), 128 << 10);
    assert_eq!(accepted.send_buffer_size().unwrap(), 96 << 10);
    assert_eq!(accepted.tcp_keepalive_time().unwrap(), Duration::from_secs(50));
    assert_eq!(accepted.tcp_keepalive_interval().unwrap(), Duration::from_secs(5));
    #[cfg(target_os = "linux")]
    assert_eq!(accepted.tcp_user_timeout().unwrap(), Some(Duration::from_secs(7)));
}

#[test]
fn by_default_nothing_but_nodelay_is_set() {
    let config = Config::new();
    let listener = Listener::bind(anywhere(), &config).unwrap();
    let bound = SockRef::from(&listener);
    assert!(bound.tcp_nodelay().unwrap() && bound.reuse_address().unwrap());
    assert!(!bound.reuse_port().unwrap() && !bound.keepalive().unwrap());
    let nagle = Listener::bind(anywhere(), &config.nodelay(false)).unwrap();
    assert!(!SockRef::from(&nagle).tcp_nodelay().unwrap());
}

#[test]
fn an_address_of_the_sixth_version_takes_that_alone() {
    let Ok(listener) = Listener::bind("[::1]:0".parse().unwrap(), &Config::new()) else {
        // A system without it.
        return;
    };
    assert!(SockRef::from(&listener).only_v6().unwrap());
}

#[test]
fn an_adopted_listener_does_not_block_and_its_connections_are_set_one_by_one() {
    let passed = std::net::TcpListener::bind(anywhere()).unwrap();
    SockRef::from(&passed).set_cloexec(false).unwrap();
    let address = passed.local_addr().unwrap();
    let mut listener = Listener::adopt(passed.into(), &Config::new()).unwrap();
    assert!(is_blocked(&mut listener));
    let flags = rustix::io::fcntl_getfd(&listener).unwrap();
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    let _client = TcpStream::connect(address).unwrap();
    assert!(SockRef::from(&take(&mut listener)).tcp_nodelay().unwrap());
    assert!(listener.set_nodelay, "on Linux an accepted socket takes the listener's option");
}

#[test]
fn an_adopted_listener_that_passes_the_option_on_needs_no_further_call() {
    for (nodelay, is_set) in [(true, true), (false, true), (false, false)] {
        let passed = std::net::TcpListener::bind(anywhere()).unwrap();
        SockRef::from(&passed).set_tcp_nodelay(is_set).unwrap();
        let listener = Listener::adopt(passed.into(), &Config::new().nodelay(nodelay)).unwrap();
        assert!(!listener.set_nodelay);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn what_does_not_listen_is_refused() {
    let listener = std::net::TcpListener::bind(anywhere()).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let client = std::net::TcpListener::from(OwnedFd::from(client));
    let error = Listener::adopt(client.into(), &Config::new()).unwrap_err();
    assert!(error.to_string().contains("not listening"), "{error}");
    let (one, _other) = UnixStream::pair().unwrap();
    let error =
        Listener::adopt(UnixListener::from(OwnedFd::from(one)).into(), &Config::new()).unwrap_err();
    assert!(error.to_string().contains("not listening"), "{error}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_shut_gate_lets_in_those_who_wait_and_nobody_else() {
    let mut listener = Listener::bind(anywhere(), &Config::new()).unwrap();
    let address = listener.address().unwrap();
    let _waiting = TcpStream::connect(address).unwrap();
    listener.shut_gate();
    TcpStream::connect_timeout(&address, Duration::from_millis(300)).unwrap_err();
    take(&mut listener);
    assert!(is_blocked(&mut listener));
}

#[test]
#[cfg(target_os = "linux")]
fn a_shut_gate_of_a_unix_socket_does_so_too() {
    let path = std::env::temp_dir().join(format!("netgrace-gate-{}", std::process::id()));
    let _stale = std::fs::remove_file(&path);
    let passed = UnixListener::bind(&path).unwrap();
    let mut listener = Listener::adopt(passed.into(), &Config::new()).unwrap();
    assert_eq!((listener.name(), listener.address()), (&*format!("unix:{}", path.display()), None));
    let _waiting = UnixStream::connect(&path).unwrap();
    listener.shut_gate();
    UnixStream::connect(&path).unwrap_err();
    std::fs::remove_file(&path).unwrap();
    take(&mut listener);
    assert!(is_blocked(&mut listener), "an empty queue, not a dead listener");
}

#[test]
#[cfg(target_os = "linux")]
fn the_backlog_is_what_the_system_grants() {
    let granted = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    assert_eq!(system_backlog().to_string(), granted.trim());
}
