//! The wait, against a kernel with scripted replies.
#![expect(clippy::arithmetic_side_effects, reason = "a test stops at the first overflow")]

use super::*;
use crate::accept::queue::script::{Played, Shared, peer};
use crate::net::sock_diag::Kernel;

const GRACE: Duration = Duration::from_millis(1500);
const KNOWN: Standing = Standing::Known { unacknowledged: 0, repetitions: 0 };

/// A wait, the kernel, and the time.
struct Scene {
    wait: Wait,
    script: Shared,
    start: Instant,
    now: Instant,
}

impl Scene {
    fn new(visibility: Visibility, cookies: bool, grace: Duration) -> Self {
        let start = Instant::now();
        let wait = Wait::new(visibility, cookies, grace, start);
        Self { wait, script: Shared::default(), start, now: start }
    }

    fn shown() -> Self {
        Self::new(Visibility::Shown, false, GRACE)
    }

    fn dumps(self, slices: &[(&[u16], Dumped)]) -> Self {
        let slices = slices.iter().map(|(ports, dumped)| (ports.to_vec(), *dumped));
        self.script.borrow_mut().dumps.extend(slices);
        self
    }

    fn say(&self, port: u16, standing: Standing) {
        self.script.borrow_mut().standings.insert(port, standing);
    }

    fn step(&mut self, hurry: bool) -> bool {
        let kernel = &mut Kernel::default();
        self.wait.step::<Played>(Some(&self.script), kernel, self.now, hurry)
    }

    /// Goes on when something is due, and returns the milliseconds from the start, as long as
    /// the wait is not over and `limit` is not reached.
    fn run(&mut self, limit: u64) -> u128 {
        while !self.step(false) {
            let next = self.wait.next_deadline().unwrap().max(self.now);
            if next > self.start + Duration::from_millis(limit) {
                break;
            }
            self.now = next;
        }
        (self.now - self.start).as_millis()
    }

    fn asked(&self) -> String {
        self.script.borrow().asked.join(", ")
    }

    fn counts(&mut self) -> [u64; 4] {
        let it = self.wait.outcome(false, false).unwrap();
        assert_eq!(it.seen, it.completed + it.stale + it.left);
        [it.seen, it.completed, it.stale, it.left]
    }
}

#[test]
fn without_handshakes_it_takes_two_dumps_and_a_millisecond() {
    let mut scene = Scene::shown();
    assert_eq!(scene.run(9999), 1);
    assert_eq!((scene.asked().as_str(), scene.counts()), ("dump, dump", [0; 4]));
    assert!(scene.wait.is_over() && scene.wait.next_deadline().is_none());
    assert!(!scene.step(false), "it has ended before");
}

#[test]
fn each_handshake_is_over_when_it_was_accepted_or_is_gone() {
    let mut scene = Scene::shown().dumps(&[(&[1, 2, 3], Dumped::Wholly)]);
    assert!(!scene.step(false));
    scene.wait.on_accepted(peer(1));
    scene.wait.on_accepted(peer(9));
    // The connection leaves SYN_RECV before it is in the accept queue.
    scene.say(2, KNOWN);
    scene.say(3, Standing::Gone);
    scene.run(20);
    assert!(!scene.wait.is_over());
    assert_eq!(scene.asked(), "dump, ask 2, ask 1, ask 1, ask 1, ask 1");
    scene.wait.on_accepted(peer(2));
    assert!(scene.run(100) < 100);
    assert!(scene.asked().ends_with("dump"), "a second dump ends it: {}", scene.asked());
    assert_eq!(scene.counts(), [3, 3, 0, 0]);
}

#[test]
fn who_is_accepted_while_a_dump_is_read_is_not_waited_for() {
    let slices: [(&[u16], Dumped); 2] = [(&[1], Dumped::Partly), (&[1, 2], Dumped::Wholly)];
    let mut scene = Scene::shown().dumps(&slices);
    assert!(!scene.step(false) && scene.wait.is_dumping());
    scene.wait.on_accepted(peer(1));
    scene.wait.on_accepted(peer(2));
    scene.say(1, KNOWN);
    scene.say(2, KNOWN);
    assert!(scene.run(100) < 10);
    assert_eq!(scene.counts(), [2, 2, 0, 0], "found twice, counted once");
}

#[test]
fn at_the_end_of_the_grace_a_last_dump_says_who_is_left() {
    let dumps: [(&[u16], Dumped); 2] = [(&[1, 2, 3], Dumped::Wholly), (&[2, 3, 4], Dumped::Wholly)];
    let mut scene = Scene::shown().dumps(&dumps);
    scene.say(3, Standing::HalfOpen { repetitions: 1 });
    assert_eq!(scene.run(9999), GRACE.as_millis());
    let asked = scene.asked();
    assert!(asked.matches("ask").count() < 40, "at most every 50 ms: {asked}");
    // One completed between that dump and the last sweep.
    scene.wait.on_accepted(peer(4));
    assert_eq!(scene.counts(), [4, 2, 1, 1]);
}

#[test]
fn the_stale_ones_of_an_overflow_count_as_left() {
    let mut scene = Scene::new(Visibility::Shown, false, Duration::ZERO);
    scene.script.borrow_mut().dumps.push_back((vec![1], Dumped::Wholly));
    scene.say(1, Standing::HalfOpen { repetitions: 2 });
    assert!(scene.step(false), "without a grace one dump is all");
    let outcome = scene.wait.outcome(true, false).unwrap();
    assert_eq!((outcome.seen, outcome.stale, outcome.left), (1, 0, 1));
}

#[test]
fn force_ends_it_in_the_turn() {
    for slices in [0, 1, 3] {
        let mut scene = Scene::shown();
        for _ in 0..slices {
            scene.script.borrow_mut().dumps.push_back((vec![1], Dumped::Wholly));
            scene.step(false);
        }
        scene.script.borrow_mut().dumps = [(vec![1], Dumped::Wholly)].into();
        assert!(scene.step(true));
        assert_eq!(scene.counts(), [1, 0, 0, 1]);
    }
    // One that is cut short in the middle of a dump begins another one.
    let slices: [(&[u16], Dumped); 3] =
        [(&[1], Dumped::Partly), (&[1], Dumped::Partly), (&[2], Dumped::Wholly)];
    let mut scene = Scene::shown().dumps(&slices);
    assert!(!scene.step(false) && !scene.step(true) && scene.step(true));
    assert_eq!(scene.asked(), "dump, dump, more");
    assert_eq!(scene.counts(), [2, 0, 0, 2]);
}

#[test]
fn what_cannot_be_seen_is_waited_for_a_fixed_time() {
    let unknown: [(&[u16], Dumped); 1] = [(&[], Dumped::Unknown)];
    let mut by_dump = Scene::shown().dumps(&unknown);
    let mut from_the_start = Scene::new(Visibility::Hidden, false, GRACE);
    for scene in [&mut by_dump, &mut from_the_start] {
        assert_eq!(scene.run(9999), 50);
        assert_eq!(scene.wait.outcome(false, false), None);
    }
    let mut by_question = Scene::shown().dumps(&[(&[1], Dumped::Wholly)]);
    by_question.say(1, Standing::Unknown);
    assert_eq!(by_question.run(9999), 51);
    assert_eq!(by_question.wait.outcome(false, false), None);
    let mut without = Scene::new(Visibility::Hidden, false, Duration::ZERO);
    assert_eq!(without.run(9999), 0);
}

#[test]
fn clients_with_cookies_get_a_fixed_time_too() {
    for (visibility, cookies) in [(Visibility::Cookies, false), (Visibility::Shown, true)] {
        let mut scene = Scene::new(visibility, cookies, GRACE);
        let end = scene.run(9999);
        assert!((100..=150).contains(&end), "{end}");
        assert_eq!(scene.wait.outcome(false, false), None);
    }
    // Cookies that were sent during the wait.
    let mut scene = Scene::shown();
    scene.run(9999);
    assert_eq!(scene.wait.outcome(false, true), None);
}

#[test]
fn beside_siblings_only_those_of_the_first_dump_count() {
    let dumps: [(&[u16], Dumped); 2] = [(&[1], Dumped::Wholly), (&[2], Dumped::Wholly)];
    let mut scene = Scene::new(Visibility::Shared, false, GRACE).dumps(&dumps);
    assert!(!scene.step(false));
    scene.say(1, KNOWN);
    let asked = |scene: &Scene| scene.script.borrow().asked.len();
    while asked(&scene) < 2 {
        assert!(!scene.step(false), "what has just left SYN_RECV may not be in the queue yet");
        scene.now = scene.wait.next_deadline().unwrap().max(scene.now);
    }
    let end = scene.run(9999);
    assert!((1..10).contains(&end), "{end} ms");
    assert_eq!(asked(&scene), 2);
    assert_eq!(scene.wait.outcome(false, false), None);
}

#[test]
fn unix_sockets_have_no_handshakes() {
    let mut scene = Scene::new(Visibility::NoHandshakes, true, GRACE);
    assert!(scene.wait.is_over() && !scene.step(false));
    assert_eq!(scene.counts(), [0; 4]);
}

#[test]
fn many_are_asked_in_turns_and_all_have_theirs() {
    let ports: Vec<u16> = (1..=1000).collect();
    let mut scene = Scene::shown().dumps(&[(&ports, Dumped::Wholly)]);
    assert!(!scene.step(false));
    for port in ports {
        scene.say(port, Standing::Gone);
    }
    assert!(scene.run(9999) < 10);
    assert_eq!(scene.asked(), "dump, ask 256, ask 256, ask 256, ask 232, dump");
    assert_eq!(scene.counts(), [1000, 1000, 0, 0]);
}
