//! The state of real connections, as reported by the kernel of this machine.
#![expect(clippy::arithmetic_side_effects, reason = "an instant of a test does not overflow")]

use super::*;
use crate::accept::pair::{Dumped, Pair, Sought, Standing};
use crate::engine::report::CloseReason;
use socket2::SockRef;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

#[track_caller]
fn check(address: &str) {
    let listener = TcpListener::bind(address).unwrap();
    let mut peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut ours, _) = listener.accept().unwrap();
    ours.write_all(b"netgrace").unwrap();
    let mut bytes = [0; 8];
    peer.read_exact(&mut bytes).unwrap();
    ours.shutdown(Shutdown::Write).unwrap();
    assert_eq!(peer.read(&mut bytes).unwrap(), 0);
    let ours = TcpStream::from_std(ours);
    // The peer's kernel may take its time with the acknowledgement of a FIN.
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut kernel = Kernel::default();
    loop {
        match status(&ours, &mut kernel) {
            Status::Alive(Transport { unacknowledged: 0, timing: Some(timing), .. }) => {
                assert!(timing.round_trip > Duration::ZERO, "{timing:?}");
                break;
            }
            other => assert!(Instant::now() < deadline, "{other:?}"),
        }
        std::thread::yield_now();
    }
    drop(peer);
    while status(&ours, &mut kernel) != Status::Acknowledged {
        assert!(Instant::now() < deadline, "{:?}", status(&ours, &mut kernel));
        std::thread::yield_now();
    }
}

#[test]
fn the_kernel_knows_that_all_is_acknowledged() {
    check("127.0.0.1:0");
    if TcpListener::bind("[::1]:0").is_ok() {
        check("[::1]:0");
    }
}

#[test]
fn the_kernel_knows_what_a_full_peer_has_not_taken() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut ours, _) = listener.accept().unwrap();
    ours.set_nonblocking(true).unwrap();
    while ours.write(&[0; 1 << 16]).is_ok() {}
    let ours = TcpStream::from_std(ours);
    let mut kernel = Kernel::default();
    let Status::Alive(transport) = status(&ours, &mut kernel) else { panic!("not alive") };
    assert!(transport.unacknowledged > 0, "{transport:?}");
    drop(peer);
    // The peer's close with unread bytes is a reset.
    let deadline = Instant::now() + Duration::from_secs(5);
    while status(&ours, &mut kernel) != Status::Broken(CloseReason::ResetByPeer) {
        assert!(Instant::now() < deadline);
    }
}

#[test]
fn many_are_asked_about_at_once_and_each_reply_is_used_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let pairs: Vec<_> = (0..70)
        .map(|number| {
            let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut ours, _) = listener.accept().unwrap();
            ours.set_nonblocking(true).unwrap();
            while number % 2 == 0 && ours.write(&[0; 1 << 16]).is_ok() {}
            (TcpStream::from_std(ours), Some(peer))
        })
        .collect();
    let (ours, mut peers): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    let mut kernel = Kernel::default();
    for (gone, forgets) in [(0, false), (2, true)] {
        let (local, peer) = (ours[gone].local_addr().unwrap(), ours[gone].peer_addr().unwrap());
        let close = |peers: &mut Vec<Option<std::net::TcpStream>>| {
            // With unread bytes that is a reset.
            peers[gone] = None;
            let deadline = Instant::now() + Duration::from_secs(5);
            while Kernel::default().ask(local, peer).unwrap().is_some() {
                assert!(Instant::now() < deadline);
            }
        };
        ask_ahead(ours[gone..].iter(), &mut kernel);
        close(&mut peers);
        if forgets {
            ask_ahead(ours[..0].iter(), &mut kernel);
        } else {
            let early = kernel.ask(local, peer).unwrap();
            assert!(early.is_some_and(|early| early.unacknowledged > 0), "{early:?}");
        }
        assert_eq!(kernel.ask(local, peer), Some(None));
        for (number, ours) in ours.iter().enumerate().skip(3) {
            let Status::Alive(transport) = status(ours, &mut kernel) else { panic!("not alive") };
            assert_eq!(transport.unacknowledged > 0, number % 2 == 0, "{number}: {transport:?}");
        }
    }
}

/// Connects without the final ACK, which the client's kernel sends 200 ms later.
fn connect_half(to: SocketAddr) -> std::net::TcpStream {
    let client = socket2::Socket::new(
        socket2::Domain::for_address(to),
        socket2::Type::STREAM,
        Some(socket2::Protocol::TCP),
    )
    .unwrap();
    client.set_tcp_quickack(false).unwrap();
    client.connect(&to.into()).unwrap();
    client.into()
}

/// A whole dump, and the number of its slices.
fn dump(kernel: &mut Kernel, sought: Sought, local: SocketAddr) -> (Vec<Pair>, u32) {
    let (mut found, mut slices) = (Vec::new(), 1);
    let mut dumped = kernel.dump(sought, true, local, &mut found);
    while dumped == Dumped::Partly {
        slices += 1;
        dumped = kernel.dump(sought, false, local, &mut found);
    }
    assert_eq!(dumped, Dumped::Wholly);
    (found, slices)
}

fn addresses() -> impl Iterator<Item = TcpListener> {
    let all = ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"];
    all.into_iter().filter_map(|address| TcpListener::bind(address).ok())
}

#[test]
fn half_open_handshakes_are_found_and_followed() {
    for listener in addresses() {
        let bound = listener.local_addr().unwrap();
        let mut to = bound;
        if to.ip().is_unspecified() {
            to.set_ip(if to.is_ipv4() {
                [127, 0, 0, 1].into()
            } else {
                [0, 0, 0, 0, 0, 0, 0, 1].into()
            });
        }
        let mut kernel = Kernel::default();
        assert_eq!(dump(&mut kernel, Sought::HalfOpen, bound).0, []);
        let clients: Vec<_> = (0..70).map(|_| connect_half(to)).collect();
        let (mut found, _) = dump(&mut kernel, Sought::HalfOpen, bound);
        let mut peers: Vec<_> = found.iter().map(Pair::key).collect();
        let mut wanted: Vec<_> = clients.iter().map(|it| it.local_addr().unwrap()).collect();
        peers.sort();
        wanted.sort();
        assert_eq!(peers, wanted);
        let half_open = Standing::HalfOpen { repetitions: 0 };
        assert!(found.iter().all(|pair| pair.standing == half_open), "{found:?}");
        kernel.ask_pairs(&mut found);
        assert!(found.iter().all(|pair| pair.standing == half_open), "{found:?}");
        // Data brings the ACK along.
        for mut client in &clients {
            client.write_all(b"x").unwrap();
        }
        kernel.ask_pairs(&mut found);
        let known = Standing::Known { unacknowledged: 0, repetitions: 0 };
        assert!(found.iter().all(|pair| pair.standing == known), "{found:?}");
        assert_eq!(dump(&mut kernel, Sought::HalfOpen, bound).0, []);
        // A connection that is no more is not taken for its listener.
        let accepted: Vec<_> = clients.iter().map(|_| listener.accept().unwrap()).collect();
        for (stream, _) in &accepted {
            SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(accepted);
        kernel.ask_pairs(&mut found);
        assert!(found.iter().all(|pair| pair.standing == Standing::Gone), "{found:?}");
    }
}

#[test]
fn a_dump_shows_nobody_elses() {
    let one = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = one.local_addr().unwrap().port();
    let other = TcpListener::bind(("127.0.0.2", port)).unwrap();
    let _client = connect_half(one.local_addr().unwrap());
    let mut kernel = Kernel::default();
    assert_eq!(dump(&mut kernel, Sought::HalfOpen, other.local_addr().unwrap()).0, []);
    assert_eq!(kernel.count_listeners(one.local_addr().unwrap()), Some(1));
    let anywhere = SocketAddr::from(([0, 0, 0, 0], port));
    assert_eq!(dump(&mut kernel, Sought::HalfOpen, anywhere).0.len(), 1);
    assert_eq!(kernel.count_listeners(anywhere), Some(2));
}

#[test]
fn questions_and_a_dump_do_not_mix() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let bound = listener.local_addr().unwrap();
    SockRef::from(&listener).listen(4096).unwrap();
    let clients: Vec<_> = (0..2000).map(|_| connect_half(bound)).collect();
    let client = std::net::TcpStream::connect(bound).unwrap();
    let (stream, _) = loop {
        let accepted = listener.accept().unwrap();
        if accepted.1 == client.local_addr().unwrap() {
            break accepted;
        }
    };
    let mut kernel = Kernel::default();
    let mut found = Vec::new();
    let mut dumped = kernel.dump(Sought::HalfOpen, true, bound, &mut found);
    assert_eq!(dumped, Dumped::Partly, "{}", found.len());
    let peer = stream.peer_addr().unwrap();
    let mut asked = 0;
    while dumped == Dumped::Partly {
        assert!(kernel.ask(bound, peer).unwrap().is_some());
        assert!(kernel.ask(bound, SocketAddr::from(([127, 0, 0, 9], 9))).unwrap().is_none());
        asked += 1;
        dumped = kernel.dump(Sought::HalfOpen, false, bound, &mut found);
    }
    assert_eq!((dumped, asked > 0), (Dumped::Wholly, true));
    // Some may have completed meanwhile, when this took longer than their delay.
    let keys: std::collections::HashSet<_> = found.iter().map(Pair::key).collect();
    assert!(keys.len() == found.len() && found.len() <= clients.len());
    // A dump that was given up returns nothing more.
    found.clear();
    assert_eq!(kernel.dump(Sought::HalfOpen, true, bound, &mut found), Dumped::Partly);
    assert_eq!(dump(&mut kernel, Sought::Closed, bound).0, []);
    assert!(kernel.ask(bound, peer).unwrap().is_some());
}

#[test]
fn closed_sockets_are_found_while_their_bytes_are_on_the_way() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let bound = listener.local_addr().unwrap();
    let mut peer = std::net::TcpStream::connect(bound).unwrap();
    let (mut ours, _) = listener.accept().unwrap();
    ours.set_nonblocking(true).unwrap();
    while ours.write(&[0; 1 << 16]).is_ok() {}
    let mut kernel = Kernel::default();
    ours.shutdown(Shutdown::Write).unwrap();
    assert_eq!(dump(&mut kernel, Sought::Closed, bound).0, [], "a process holds it");
    drop(ours);
    let (mut found, _) = dump(&mut kernel, Sought::Closed, bound);
    assert_eq!(found.len(), 1);
    assert!(
        matches!(found[0].standing, Standing::Known { unacknowledged: 2.., repetitions: 0 }),
        "{found:?}"
    );
    io::copy(&mut peer, &mut io::sink()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while found[0].standing != (Standing::Known { unacknowledged: 0, repetitions: 0 }) {
        assert!(Instant::now() < deadline, "{found:?}");
        kernel.ask_pairs(&mut found);
    }
    assert_eq!(dump(&mut kernel, Sought::Closed, bound).0, []);
}
