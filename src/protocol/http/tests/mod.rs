//! HTTP by requests and answers.
#![expect(clippy::arithmetic_side_effects, reason = "a test stops at the first overflow")]

mod refusal;
mod splits;

use std::time::Duration;

use super::Http;
use crate::engine::phase::Phase;
use crate::protocol::loopback::{End, Loopback};
use crate::protocol::session::Status;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\n\
                     hello, world\n";

fn serve(input: &[u8]) -> Loopback<Http> {
    let mut line = Loopback::new(Http::new());
    line.send(input);
    line
}

fn text(line: &Loopback<Http>) -> &str {
    std::str::from_utf8(&line.received).unwrap()
}

/// The status of the only answer.
fn status(line: &Loopback<Http>) -> u16 {
    text(line).split(' ').nth(1).unwrap_or("0").parse().unwrap()
}

/// A GET with these lines after its `Host`.
fn get(lines: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes()
}

fn post(lines: &str, body: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n{body}").into_bytes()
}

/// The body of the only answer.
fn body(line: &Loopback<Http>) -> &str {
    text(line).split_once("\r\n\r\n").unwrap().1
}

#[test]
fn a_connection_persists() {
    let mut line = serve(GET);
    assert_eq!(text(&line), HELLO);
    assert_eq!((line.status(), line.end), (Some(Status::Idle), None));
    line.send(GET);
    assert_eq!(text(&line), HELLO.repeat(2));
    assert_eq!((line.account.requests, line.account.answered), (2, 2));
    line.send_end();
    assert_eq!(line.end, Some(End::Fin));
}

#[test]
fn a_batch_of_requests_is_answered_with_one_write() {
    let mut line = serve(&GET.repeat(100));
    assert_eq!(text(&line), HELLO.repeat(100));
    assert_eq!((line.account.requests, line.account.answered), (100, 100));
    assert_eq!(line.account.writes, 1);
    line.send(&GET[..10]);
    assert_eq!((line.status(), line.account.requests), (Some(Status::Held), 100));
}

#[test]
fn head_is_get_without_the_body() {
    let line = serve(b"HEAD /bytes/77 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(text(&line).contains("Content-Length: 77\r\n"));
    assert_eq!(body(&line), "");
    let line = serve(b"HEAD /bytes/x HTTP/1.1\r\nHost: a\r\n\r\nHEAD / FOO/1.1\r\n\r\n");
    assert!(text(&line).starts_with("HTTP/1.1 404 Not Found\r\n"));
    assert!(text(&line).contains("\r\n\r\nHTTP/1.1 400 "), "the 404 has no body");
}

#[test]
fn as_many_bytes_come_as_are_asked_for() {
    for size in [0, 1, 12, 13, 14, 4095, 4096, 65_535, 65_536, 1_000_003] {
        let mut line = Loopback::with_window(Http::new(), 1000);
        let request = format!("GET /bytes/{size}?q HTTP/1.1\r\nHost: a\r\n\r\n");
        line.send(request.as_bytes());
        while line.status() == Some(Status::Busy) || line.pending() > 0 {
            assert!(line.account.most_pending <= 64 << 10);
            line.take(30_001);
        }
        let expected = "hello, world\n".repeat(size / 13 + 1);
        assert_eq!(body(&line), &expected[..size]);
        assert!(text(&line).contains(&format!("Content-Length: {size}\r\n")));
        assert_eq!((line.account.answered, line.status()), (1, Some(Status::Idle)));
    }
    let line = serve(b"GET /bytes/1099511627777 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((status(&line), line.end), (404, None));
}

#[test]
fn a_long_answer_is_made_as_the_peer_takes_it() {
    let mut line = Loopback::with_window(Http::new().with_body_len(64 << 20), 0);
    line.send(GET);
    assert!((line.account.produced as u64) < 65 << 10);
    assert_eq!((line.status(), line.account.answered), (Some(Status::Busy), 0));
    line.take(1 << 20);
    assert!(line.account.produced <= (1 << 20) + (64 << 10));
    line.take(64 << 20);
    assert_eq!((line.status(), line.account.answered), (Some(Status::Idle), 1));
}

#[test]
fn a_post_is_answered_with_its_body() {
    let line = serve(&post("Content-Length: 5\r\n", "abcde"));
    assert!(text(&line).contains("Content-Length: 5\r\n"));
    assert_eq!((body(&line), line.account.answered), ("abcde", 1));
    let line = serve(&post("", ""));
    assert!(text(&line).contains("Content-Length: 0\r\n"));
    assert_eq!((body(&line), line.account.answered), ("", 1));
    let chunks = "5;a=b\r\nabcde\r\n010\r\n0123456789abcdef\r\n0\r\nTrailer: x\r\n\r\n";
    let line = serve(&post("Transfer-Encoding: Chunked\r\n", chunks));
    assert!(text(&line).contains("Transfer-Encoding: chunked\r\n"));
    assert!(!text(&line).contains("Content-Length"));
    assert_eq!(body(&line), "5\r\nabcde\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n");
    assert_eq!((line.account.answered, line.status()), (1, Some(Status::Idle)));
}

#[test]
fn a_request_is_outstanding_from_its_head_on() {
    let delayed = || Loopback::new(Http::new().with_delay(Duration::from_secs(60)));
    for (request, status) in [
        (post("Content-Length: 5\r\n", "ab"), Status::Receiving),
        (post("Transfer-Encoding: chunked\r\n", "5\r\nab"), Status::Receiving),
        (get("Content-Length: 5\r\n"), Status::Receiving),
        (get("Transfer-Encoding: chunked\r\n"), Status::Receiving),
    ] {
        let line = serve(&request);
        assert_eq!((line.outstanding(), line.status()), (Some(1), Some(status)));
        let mut line = delayed();
        line.send(&request);
        assert_eq!((line.outstanding(), line.account.requests), (Some(1), 1));
    }
    let mut line = delayed();
    line.send(&post("Content-Length: 5\r\n", "abcde"));
    assert_eq!((line.outstanding(), line.status()), (Some(1), Some(Status::Busy)));
}

#[test]
fn a_head_means_the_same_whatever_came_before_it() {
    let long = format!("Cookie: {}\r\n", "x".repeat(600));
    let requests = [
        GET.to_vec(),
        get("Accept: */*\r\n"),
        get(&long),
        get("Content-Length: 5\r\n"),
        b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        b"GET /bytes/5 HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        b"GET /bytes/x HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".to_vec(),
        post("Content-Length: 5\r\n", "abcde"),
        post("Content-Length: 5\r\n", "fghij"),
        post("Content-Length: 0\r\n", ""),
        post("Transfer-Encoding: chunked\r\n", "5\r\nabcde\r\n0\r\n\r\n"),
    ];
    let body = |request: &Vec<u8>| {
        let is_bare = request.starts_with(b"GET") && request.windows(7).any(|w| w == b"Length:");
        if is_bare { [request.as_slice(), b"12345"].concat() } else { request.clone() }
    };
    let requests: Vec<_> = requests.iter().map(body).collect();
    let alone: Vec<_> = requests.iter().map(|one| serve(one).received).collect();
    let mut line = Loopback::new(Http::new());
    for (first, answer) in requests.iter().zip(&alone) {
        for (second, other) in requests.iter().zip(&alone) {
            let before = line.received.len();
            for one in [first, second, second, first] {
                line.send(one);
            }
            let all = [answer, other, other, answer].map(Vec::as_slice).concat();
            assert!(line.received[before..] == all, "{}", first.escape_ascii());
            assert_eq!((line.status(), line.end), (Some(Status::Idle), None));
        }
    }
}

#[test]
fn a_head_that_came_before_is_not_taken_for_a_part_of_another() {
    let tails = ["\n", "x\r\n\r\n", "\r\r\n\r\n", " a: b\r\n\r\n"];
    let bad = tails.map(|tail| (tail, 400));
    for (tail, status) in bad.into_iter().chain([("a: b\r\n\r\n", 200), ("\r\n", 200)]) {
        let mut line = serve(GET);
        line.send(&GET[..GET.len() - 2]);
        line.send(tail.as_bytes());
        let second = text(&line).strip_prefix(HELLO).unwrap();
        assert!(second.starts_with(&format!("HTTP/1.1 {status} ")), "{tail:?}: {second}");
    }
}

#[test]
fn a_post_streams() {
    let size: usize = 10 << 20;
    let mut line = Loopback::with_window(Http::new(), 1 << 20);
    line.send(&post(&format!("Content-Length: {size}\r\n"), ""));
    assert_eq!(line.status(), Some(Status::Receiving));
    let piece = vec![b'x'; 100_000];
    let mut sent = 0;
    while sent < size {
        let count = piece.len().min(size - sent);
        line.send(&piece[..count]);
        line.take(count);
        sent += count;
    }
    assert_eq!(body(&line).len(), size);
    assert!(line.account.most_held <= 64 << 10 && line.account.most_pending <= 64 << 10);
    assert_eq!((line.account.requests, line.account.answered), (1, 1));
}

#[test]
fn a_peer_that_does_not_read_its_echo_is_not_read() {
    let mut line = Loopback::with_window(Http::new(), 0);
    line.send(&post("Content-Length: 1000000\r\n", &"x".repeat(1_000_000)));
    assert!(line.unread() > 800_000 && line.pending() <= 64 << 10);
}

#[test]
fn a_body_of_get_is_passed_over() {
    let mut input = get("Content-Length: 26\r\n");
    input.extend(GET);
    input.truncate(input.len() - GET.len() + 26);
    input.extend(get("Transfer-Encoding: chunked\r\n"));
    input.extend(b"3\r\nGET\r\n0\r\n\r\n");
    input.extend(GET);
    let line = serve(&input);
    assert_eq!(text(&line), HELLO.repeat(3));
    assert_eq!((line.account.requests, line.account.answered), (3, 3));
}

#[test]
fn the_end_is_announced_from_the_lame_duck_on() {
    let mut line = serve(GET);
    line.enter(Phase::LameDuck);
    line.send(&GET.repeat(2));
    let closing = HELLO.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    assert_eq!(text(&line), format!("{HELLO}{HELLO}{closing}"), "in the last one that is here");
    assert_eq!((line.end, line.status()), (None, Some(Status::Idle)));
    line.send(b"\r\n");
    line.pass(Duration::from_millis(999));
    assert!(line.deadline().is_some(), "an empty line is no request");
    line.send(GET);
    line.pass(Duration::from_millis(999));
    assert_eq!((line.end, line.account.answered), (None, 4));
    line.send(&GET[..5]);
    line.pass(Duration::from_secs(5));
    line.wake();
    assert_eq!(line.end, None, "a request is coming");
    line.send(&GET[5..]);
    line.pass(Duration::from_secs(1));
    assert_eq!((line.end, line.account.answered), (Some(End::Fin), 5));
    assert_eq!(line.account.late, 0);
}

#[test]
fn the_end_is_announced_once_no_other_request_is_here() {
    let closing = HELLO.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let heads = |input: &[u8]| {
        let mut line = Loopback::new(Http::new());
        line.enter(Phase::LameDuck);
        line.send(input);
        let is_last = |head: &str| head.contains("Connection: close\r\n");
        text(&line).split("HTTP/1.1 ").skip(1).map(is_last).collect::<Vec<_>>()
    };
    let before = |end: &[u8]| [GET, end].concat();
    assert_eq!(heads(&before(b"")), [true]);
    assert_eq!(heads(&before(b"\r\n")), [true], "an empty line is no request");
    assert_eq!(heads(&before(b"\r\n\r\n\r")), [true]);
    assert_eq!(heads(&before(&GET[..GET.len() - 1])), [true], "its rest may never come");
    assert_eq!(heads(&before(b"\r\n\r\n\0")), [false, true], "it is refused");
    assert_eq!(heads(&before(b"a\n")), [false, true]);
    assert_eq!(heads(&GET.repeat(2000)), [vec![false; 1999], vec![true]].concat());
    let sized = post("Content-Length: 5\r\n", "abcde");
    assert_eq!(heads(&[&sized, &sized, GET].concat()), [false, false, true]);
    assert_eq!(heads(&sized.repeat(2)), [false, true]);
    let skipped = [get("Content-Length: 5\r\n"), b"abcde".to_vec(), sized].concat();
    assert_eq!(heads(&skipped), [false, true]);

    let delay = Duration::from_millis(200);
    let mut line = Loopback::new(Http::new().with_delay(delay));
    line.send(&GET.repeat(2));
    line.enter(Phase::Draining);
    line.pass(delay);
    assert_eq!(text(&line), HELLO);
    line.pass(delay);
    assert_eq!(text(&line), format!("{HELLO}{closing}"));
}

#[test]
fn who_asks_for_the_end_gets_it() {
    let mut input = get("Connection: keep-alive, Close\r\n");
    input.extend(GET);
    let line = serve(&input);
    assert_eq!(text(&line), HELLO.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
    assert_eq!((line.end, line.account.late), (Some(End::Fin), GET.len()));
}

#[test]
fn the_old_version_ends_unless_it_says_otherwise() {
    let line = serve(b"GET / HTTP/1.0\r\n\r\n");
    assert_eq!(text(&line), HELLO.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
    assert_eq!(line.end, Some(End::Fin));
    let line = serve(b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
    assert_eq!(text(&line), HELLO.replace("\r\n\r\n", "\r\nConnection: keep-alive\r\n\r\n"));
    assert_eq!(line.end, None);
}

#[test]
fn a_client_that_asks_may_send_its_body() {
    let lines = "Content-Length: 3\r\nExpect: 100-Continue\r\n";
    let mut line = serve(&post(lines, ""));
    assert!(text(&line).starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"));
    line.send(b"abc");
    assert!(text(&line).ends_with("\r\n\r\nabc"));
    let line = serve(&get("Expect: 100-continue\r\n"));
    assert_eq!(text(&line), HELLO, "there is no body to wait for");
    assert_eq!(status(&serve(&get("Expect: tea\r\n"))), 417);
    let line = serve(&post("Content-Length: 2000000000\r\nExpect: 100-continue\r\n", ""));
    assert_eq!(status(&line), 413);
}

#[test]
fn every_form_of_a_target_is_understood() {
    for target in ["/", "http://a", "HTTP://a:80/", "https://a?q", "/bytes", "//x/bytes/3", "/%2e"]
    {
        let line = serve(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        assert_eq!((target, text(&line)), (target, HELLO));
    }
    let line = serve(b"GET http://a/bytes/3 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(body(&line), "hel");
    for target in ["/bytes/", "/bytes/x", "/bytes/+3", "/bytes/3/", "/bytes/99999999999999999999"] {
        let line = serve(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        assert_eq!((target, status(&line), line.end), (target, 404, None));
    }
    for target in ["*", "a", "ftp://a/", "http:///x", "a:80"] {
        let line = serve(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        assert_eq!((target, status(&line), line.end), (target, 400, Some(End::Fin)));
    }
}

#[test]
fn an_empty_line_before_a_request_is_passed_over() {
    let mut line = serve(b"\r\n\r\n");
    line.send(b"\r");
    line.send(b"\n");
    line.send(GET);
    assert_eq!(text(&line), HELLO);
}

#[test]
fn answers_wait_for_their_time() {
    let delay = Duration::from_millis(200);
    let mut line = Loopback::new(Http::new().with_delay(delay));
    line.send(&GET.repeat(2));
    line.send(&post("Content-Length: 3\r\n", "abc"));
    assert_eq!((line.status(), line.outstanding()), (Some(Status::Busy), Some(1)));
    line.pass(delay - Duration::from_millis(1));
    assert_eq!(text(&line), "");
    line.pass(Duration::from_millis(1));
    assert_eq!((text(&line), line.outstanding()), (HELLO, Some(1)));
    line.enter(Phase::Draining);
    line.pass(delay);
    assert!(text(&line).ends_with("Connection: close\r\n\r\nhello, world\n"));
    line.pass(delay);
    assert!(text(&line).ends_with("\r\n\r\nabc"));
    assert_eq!((line.account.requests, line.account.answered), (3, 3));
    assert_eq!(line.status(), Some(Status::Idle));
}

#[test]
fn half_a_request_is_waited_for_and_then_left() {
    let mut line = serve(&GET[..20]);
    line.enter(Phase::Draining);
    assert_eq!(line.status(), Some(Status::Held));
    line.send(&GET[20..]);
    assert!(text(&line).contains("Connection: close\r\n"));
    line.send(b"GET / HT");
    line.send_end();
    assert_eq!((line.end, line.account.answered), (Some(End::Fin), 1));
    assert_eq!(line.account.late, 8);
}
