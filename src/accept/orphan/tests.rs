//! The wait, against a kernel with scripted replies.

use super::*;
use crate::accept::queue::script::{Played, Shared};
use crate::net::sock_diag::Kernel;

const fn known(unacknowledged: u32, repetitions: u8) -> Standing {
    Standing::Known { unacknowledged, repetitions }
}

/// Two endpoints that find these ports, with a byte unacknowledged.
fn endpoints(ports: [&[u16]; 2]) -> [Shared; 2] {
    ports.map(|ports| {
        let endpoint = Shared::default();
        let mut script = endpoint.borrow_mut();
        script.dumps.push_back((ports.to_vec(), Dumped::Wholly));
        script.standings.extend(ports.iter().map(|port| (*port, known(1, 0))));
        drop(script);
        endpoint
    })
}

#[test]
fn without_any_it_is_over_at_once() {
    let mut orphans = Orphans::new(endpoints([&[], &[]]), 0);
    assert!(orphans.step::<Played>(&mut Kernel::default(), Instant::now(), false));
    assert_eq!((orphans.is_over(), orphans.lost()), (true, 0));
}

#[test]
fn each_is_over_when_it_is_acknowledged_gone_or_given_up() {
    let both = endpoints([&[1, 2], &[3]]);
    let mut orphans = Orphans::new(both.clone(), 0);
    let (mut now, mut kernel) = (Instant::now(), Kernel::default());
    let mut step = |orphans: &mut Orphans<Shared>| {
        let over = orphans.step::<Played>(&mut kernel, now, false);
        now = orphans.next_deadline().unwrap();
        over
    };
    assert!(!step(&mut orphans));
    both[0].borrow_mut().standings.insert(1, Standing::Gone);
    both[0].borrow_mut().standings.insert(2, known(0, 0));
    assert!(!step(&mut orphans));
    both[1].borrow_mut().standings.insert(3, known(1, 2));
    assert!(!step(&mut orphans));
    assert_eq!(orphans.lost(), 0);
    both[1].borrow_mut().standings.insert(3, known(1, 3));
    assert!(step(&mut orphans));
    assert_eq!(orphans.lost(), 1);
    let asked = both[0].borrow().asked.join(", ");
    assert!(asked.starts_with("dump, ask 2"), "new ones are not looked for: {asked}");
    assert_eq!(asked.matches("dump").count(), 1);
}

#[test]
fn a_dump_is_read_in_slices_and_nothing_is_asked_too_soon() {
    let [endpoint, _] = endpoints([&[1], &[]]);
    endpoint.borrow_mut().dumps.push_front((vec![2], Dumped::Partly));
    endpoint.borrow_mut().standings.insert(2, known(5, 0));
    let mut orphans = Orphans::new([endpoint.clone()], 0);
    let (now, mut kernel) = (Instant::now(), Kernel::default());
    assert!(!orphans.step::<Played>(&mut kernel, now, false));
    assert_eq!(orphans.next_deadline(), Some(now));
    for _ in 0..5 {
        assert!(!orphans.step::<Played>(&mut kernel, now, false));
    }
    assert_eq!(endpoint.borrow().asked.join(", "), "dump, more, ask 2");
}

#[test]
fn at_the_end_of_the_budget_those_left_are_counted() {
    let both = endpoints([&[1, 2], &[3]]);
    let mut orphans = Orphans::new(both.clone(), 1);
    let (now, mut kernel) = (Instant::now(), Kernel::default());
    assert!(!orphans.step::<Played>(&mut kernel, now, false));
    assert!(orphans.step::<Played>(&mut kernel, now, true));
    assert_eq!(orphans.lost(), 4, "three, and an endpoint that was not looked at");
    both[0].borrow_mut().dumps.push_back((Vec::new(), Dumped::Unknown));
    let mut unknown = Orphans::new(both, 0);
    assert!(unknown.step::<Played>(&mut kernel, now, false));
    assert_eq!(unknown.lost(), 1);
}
