//! That it all still works, without a word about speed.

use std::time::Duration;

use super::case::{CASES, Case, Figure, Scale};
use super::figure::measure;
use super::foreign;
use super::peer;
use super::server::Program;
use super::service::Service;

/// A count of messages rather than a time, which on a busy machine may pass without one.
const SCALE: Scale = Scale { connections: 3, time: Duration::from_millis(20), messages: Some(50) };

/// Each peer once, with a stop of the C server, and each case once for netgrace. Returns how many
/// passed and what failed.
pub fn run() -> (usize, Vec<String>) {
    let peers = peer::NAMES.map(|name| (CASES[0], Program::Own(name)));
    let own = CASES.map(|case: Case| (case, Program::Netgrace { args: case.args }));
    let c = [Service::Echo, Service::Line, Service::Http].map(|service| {
        let of = |case: &&Case| case.service == service;
        (CASES.iter().find(of), Program::C(service))
    });
    let stop = CASES.iter().find(|case| case.figure == Figure::Stop);
    let c = c.into_iter().chain([(stop, Program::C(Service::Echo))]);
    let c = c.filter(|_| foreign::has_c());
    let c = c.filter_map(|(case, program)| Some((*case?, program)));
    let mut failures = Vec::new();
    let mut passed = 0;
    for (case, program) in peers.into_iter().chain(own).chain(c) {
        match measure(&case, &program, SCALE, None) {
            Ok(_) => passed += 1,
            Err(why) => failures.push(format!("{} of {}: {why}", case.name, program.name())),
        }
    }
    (passed, failures)
}
