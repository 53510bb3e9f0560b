//! System calls that fail while `line` and `http` are spoken: each answer is right or missing, and
//! one that is missing is in the account.
//!
//! `NETGRACE_FAULTS=full` runs the whole grid instead of a part.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::faults::{Case, ERRORS, KEPT, PATIENCE, TURNS, is_full, run_all};
use crate::host::{descriptors, has, pattern};
use crate::support::wait_for;
use crate::traced::Traced;

/// The calls, and up to which of its turns each is sure to be made in a life.
const CALLS: [(&str, u32); 8] = [
    ("accept4", 7),
    ("epoll_ctl", 20),
    ("epoll_wait", 20),
    ("recvfrom", 20),
    ("sendto", 20),
    ("shutdown", 3),
    ("setsockopt", 7),
    ("close", 20),
];
/// Clients that come and go, and clients that stay until the server is stopped.
const VISITORS: usize = 6;
const RESIDENTS: usize = 12;
/// A body that does not fit into the buffers of a connection.
const LARGE: usize = 3 << 20;
const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
enum Speech {
    Line,
    Http,
}

/// A request, and the body of its answer.
struct Exchange {
    request: Vec<u8>,
    body: Vec<u8>,
}

impl Speech {
    fn name(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Http => "http",
        }
    }

    /// An exchange of a few bytes; those of different numbers differ.
    fn short(self, number: usize) -> Exchange {
        let text = format!("{number} of many");
        match (self, number % 3) {
            (Self::Line, _) => Self::line(text),
            (Self::Http, 0) => Self::page(number),
            (Self::Http, 1) => Self::posted(text.into_bytes()),
            (Self::Http, _) => {
                let (one, two) = text.split_at(4);
                let chunks = format!("4\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n", two.len());
                let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
                let request = format!("{head}{chunks}").into_bytes();
                Exchange { request, body: chunks.into_bytes() }
            }
        }
    }

    /// Exchanges of so many bytes or more in all.
    fn long(self, by_post: bool) -> Vec<Exchange> {
        match self {
            Self::Line => {
                let line = |number| format!("{number} {}", "x".repeat(50_000));
                (0..LARGE / 50_000).map(|number| Self::line(line(number))).collect()
            }
            Self::Http if by_post => vec![Self::posted(pattern(LARGE))],
            Self::Http => vec![Self::page(LARGE)],
        }
    }

    fn line(mut text: String) -> Exchange {
        text.push('\n');
        Exchange { request: text.clone().into_bytes(), body: text.into_bytes() }
    }

    fn page(size: usize) -> Exchange {
        let request = format!("GET /bytes/{size} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
        let body = b"hello, world\n".iter().copied().cycle().take(size).collect();
        Exchange { request, body }
    }

    fn posted(body: Vec<u8>) -> Exchange {
        let length = body.len();
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        Exchange { request: [head.as_bytes(), &body].concat(), body }
    }

    /// Returns the lengths of the head of an answer and of all of it; `None` until its head is
    /// there. Panics where it is not as it has to be.
    fn measure(self, received: &[u8], body: &[u8]) -> Option<(usize, usize)> {
        let head = match self {
            Self::Line => 0,
            Self::Http => {
                let end = received.windows(4).position(|window| window == b"\r\n\r\n")?;
                let head = std::str::from_utf8(&received[..end]).expect("text");
                assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head:?}");
                let length = format!("\r\nContent-Length: {}", body.len());
                let is_framed = head.contains("\r\nTransfer-Encoding: chunked");
                assert!(is_framed || head.contains(&length), "{head:?}");
                end + 4
            }
        };
        Some((head, head + body.len()))
    }
}

/// A client, and what it has received and not looked at.
struct Talk {
    speech: Speech,
    stream: TcpStream,
    received: Vec<u8>,
}

impl Talk {
    fn connect(speech: Speech, address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self { speech, stream, received: Vec::new() })
    }

    fn send(&mut self, exchange: &Exchange) -> io::Result<()> {
        self.stream.write_all(&exchange.request)
    }

    /// Receives an answer. An error is what was done to the client; another answer is a panic.
    fn receive(&mut self, exchange: &Exchange) -> io::Result<()> {
        let body = &exchange.body;
        loop {
            let sizes = self.speech.measure(&self.received, body);
            if let Some((head, all)) = sizes {
                let came = self.received.len().min(all);
                assert!(body.starts_with(&self.received[head..came]), "another answer came");
                if came == all {
                    self.received.drain(..all);
                    return Ok(());
                }
            }
            let mut buffer = vec![0; 256 << 10];
            match self.stream.read(&mut buffer)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                count => self.received.extend_from_slice(&buffer[..count]),
            }
        }
    }

    /// Sees the end of stream, and nothing before it.
    fn leave(mut self) -> io::Result<()> {
        let count = self.stream.read(&mut [0; 64])?;
        assert!(count == 0 && self.received.is_empty(), "more than the answers came");
        Ok(())
    }
}

/// All clients of a case.
struct Crowd {
    speech: Speech,
    /// Whole answers that were received.
    answers: AtomicUsize,
}

impl Crowd {
    /// Sends requests in one go beside the reading of their answers.
    fn exchange(&self, talk: &mut Talk, exchanges: &[Exchange]) -> io::Result<()> {
        let mut stream = talk.stream.try_clone()?;
        thread::scope(|scope| {
            scope.spawn(move || {
                let requests = exchanges.iter().map(|exchange| &exchange.request);
                let _ = requests.into_iter().try_for_each(|request| stream.write_all(request));
            });
            for exchange in exchanges {
                talk.receive(exchange)?;
                self.answers.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        })
    }

    fn visit(&self, address: SocketAddr, number: usize) -> io::Result<()> {
        let mut talk = Talk::connect(self.speech, address)?;
        let exchanges = match number {
            0 | 1 => self.speech.long(number == 0),
            _ => (0..4).map(|at| self.speech.short(4 * number + at)).collect(),
        };
        self.exchange(&mut talk, &exchanges)?;
        talk.stream.shutdown(Shutdown::Write)?;
        talk.leave()
    }

    fn settle(&self, address: SocketAddr, number: usize) -> io::Result<Talk> {
        let mut talk = Talk::connect(self.speech, address)?;
        for at in 0..3 {
            let exchange = self.speech.short(100 * (number + 1) + at);
            self.exchange(&mut talk, &[exchange])?;
        }
        Ok(talk)
    }

    /// Those who stay, and what was done to the others.
    fn come(&self, address: SocketAddr) -> (Vec<Talk>, Vec<io::Error>) {
        thread::scope(|scope| {
            let visitors: Vec<_> = (0..VISITORS)
                .map(|number| scope.spawn(move || self.visit(address, number)))
                .collect();
            let (mut residents, mut harmed) = (Vec::new(), Vec::new());
            for number in 0..RESIDENTS {
                match self.settle(address, number) {
                    Ok(talk) => residents.push(talk),
                    Err(error) => harmed.push(error),
                }
            }
            harmed.extend(visitors.into_iter().filter_map(|it| it.join().expect("a client").err()));
            (residents, harmed)
        })
    }

    /// Every other one who stays asks once more, right before the stop, and waits for the answer.
    fn end(&self, mut residents: Vec<Talk>, stop: impl FnOnce()) -> Vec<io::Error> {
        let last = self.speech.short(7);
        let mut harmed: Vec<_> =
            residents.iter_mut().step_by(2).filter_map(|talk| talk.send(&last).err()).collect();
        stop();
        for (number, mut talk) in residents.into_iter().enumerate() {
            let asked = number % 2 == 0;
            let answer = if asked { talk.receive(&last) } else { Ok(()) };
            if answer.is_ok() && asked {
                self.answers.fetch_add(1, Ordering::Relaxed);
            }
            harmed.extend(answer.and_then(|()| talk.leave()).err());
        }
        harmed
    }
}

/// Whether a report is true about clients that had so many answers, or what is wrong with it.
fn check(report: &Value, answers: usize, harmed: usize) -> Result<(), &'static str> {
    let number = |path: &str| report.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let broken = number("/connections/reset_by_peer") + number("/connections/io_error");
    let answered = number("/requests/answered");
    if answered < answers as u64 {
        return Err("fewer answers in the account than the clients had");
    }
    if report["exit_code"] == 0 && harmed == 0 && answered != answers as u64 {
        return Err("answers in the account that no client had");
    }
    if report["exit_code"] == 0 && harmed > 0 && broken == 0 {
        return Err("exit 0, and a client was harmed without a trace");
    }
    Ok(())
}

/// Runs one case. Returns whether the fault fired, or what went wrong.
fn run(case: Case, speech: Speech) -> Result<bool, String> {
    let start = Instant::now();
    let mut traced = Traced::start(&case.injection(), &["--protocol", speech.name()]);
    let pid = traced.process.pid();
    let crowd = Crowd { speech, answers: AtomicUsize::new(0) };
    let (mut residents, mut harmed) = (Vec::new(), Vec::new());
    let address = traced.address();
    if let Some(address) = address {
        let base = descriptors(pid);
        (residents, harmed) = crowd.come(address);
        let most = base + residents.len() + KEPT;
        wait_for("descriptors back to base", || {
            (traced.process.has_ended() || descriptors(pid) <= most).then_some(())
        });
    }
    harmed.extend(crowd.end(residents, || traced.stop()));
    let answers = crowd.answers.into_inner();
    let (code, stderr, report, fired) = traced.finish();
    let complain = |what: &str| {
        Err(format!("{what}: exit {code}, {answers} answers, harmed {harmed:?}\n{stderr}"))
    };
    match (address, &report) {
        (None, _) if code != 1 || !stderr.contains("error: ") => {
            return complain("no start and no reason");
        }
        (Some(_), None) => return complain("no report"),
        (Some(_), Some(report)) if report["exit_code"] != code => return complain("two codes"),
        (Some(_), Some(report)) => {
            if let Err(wrong) = check(report, answers, harmed.len()) {
                return complain(&format!("{wrong}: {report}"));
            }
        }
        _ => {}
    }
    if start.elapsed() > PATIENCE {
        return complain("too slow");
    }
    if ![0, 1, 3].contains(&code) || (fired == 0 && (code != 0 || !harmed.is_empty())) {
        return complain("a wrong end");
    }
    if harmed.len() > usize::from(fired > 0) && case.is_of_one_client() {
        return complain("others harmed");
    }
    Ok(fired > 0)
}

/// Half of the part for each of the two protocols; all of it has every call at two turns.
fn grid(speech: Speech) -> Vec<Case> {
    // A client that came while as many descriptors are watched as may be.
    let mut cases = vec![Case { call: "epoll_ctl", error: "ENOSPC", turn: 7 }];
    for (row, (call, most)) in CALLS.into_iter().enumerate() {
        let sure = TURNS.iter().filter(|turn| **turn <= most).count();
        for (column, error) in ERRORS.into_iter().enumerate() {
            for (layer, turn) in TURNS.into_iter().enumerate() {
                let is_chosen = column % 5 == (row + speech as usize) % 5 && layer == column % sure;
                if is_full() || is_chosen {
                    cases.push(Case { call, error, turn });
                }
            }
        }
    }
    cases
}

#[test]
fn every_call_may_fail_under_line() {
    if has("strace") {
        run_all(&grid(Speech::Line), &CALLS, |case| run(case, Speech::Line));
    }
}

#[test]
fn every_call_may_fail_under_http() {
    if has("strace") {
        run_all(&grid(Speech::Http), &CALLS, |case| run(case, Speech::Http));
    }
}
