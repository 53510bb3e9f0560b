//! What is refused, and what is just within the bounds.

use super::{GET, HELLO, body, get, post, serve, status, text};
use crate::protocol::Input;
use crate::protocol::loopback::End;

/// Requests that are refused, and how.
pub(super) fn refused() -> Vec<(u16, Vec<u8>)> {
    let lines = [
        // Two readers might understand these differently.
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        "Content-Length: 3\r\nContent-Length: 4\r\n",
        "Content-Length: 3, 4\r\n",
        "Content-Length: +3\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x3\r\n",
        "Content-Length: 3 3\r\n",
        "Content-Length:\r\n",
        "Content-Length: 3\x0b\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Content-Length : 3\r\n",
        "Transfer-Encoding\r\n : chunked\r\n",
        "A: b\r\n folded\r\n",
        " Content-Length: 3\r\n",
        "A: b\nContent-Length: 3\r\n",
        "A: b\r\r\n",
        "A: b\rContent-Length: 3\r\n",
        "A: \0\r\n",
        "A\r\n",
        ": b\r\n",
        "A B: c\r\n",
        "Host: b\r\n",
        "Host: a\r\n",
    ];
    let hosts =
        ["a b", "a/b", "u@a", "[::1", "::1", "[::1]x", "[x]", "a:80:90", "a:x", ":80", "%", "%4"];
    let targets = [
        "",
        " /",
        "/ ",
        "/#a",
        "*",
        "a",
        "a:80",
        "ftp://a/",
        "http:///x",
        "http://",
        "http://u:p@a/",
        "http://[::1/",
        "http://a#b",
        "http://a:x/",
        "http://a%/",
        "http:/a",
    ];
    let mut refused: Vec<_> = lines.iter().map(|lines| (400, post(lines, "0\r\n\r\n"))).collect();
    let host = |host| format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes();
    refused.extend(hosts.map(|name| (400, host(name))));
    let target = |target| format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
    refused.extend(targets.map(|name| (400, target(name))));
    let whole: [(u16, &[u8]); 18] = [
        (400, b"GET / HTTP/1.1\r\n\r\n"),
        (400, b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, b"GET /\r\n\r\n"),
        (400, b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
        (400, b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a\r\n\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a\n\n"),
        (400, b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, b"GET / http/1.1\r\nHost: a\r\n\r\n"),
        (400, b"GET / HTTP/11\r\nHost: a\r\n\r\n"),
        (400, b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (400, b"\x16\x03\x01\x02\x00\x01"),
        (501, b"PUT / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (501, b"get / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (501, b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n"),
        (501, b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
        (505, b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
        (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ];
    refused.extend(whole.iter().map(|(status, request)| (*status, request.to_vec())));
    refused.push((501, post("Transfer-Encoding: gzip, chunked\r\n", "")));
    refused.push((501, post("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", "")));
    refused.push((413, post("Content-Length: 1073741825\r\n", "")));
    refused.push((413, post("Content-Length: 99999999999999999999999\r\n", "")));
    refused.push((413, get("Content-Length: 1073741825\r\n")));
    refused.push((413, post("Transfer-Encoding: chunked\r\n", "40000001\r\n")));
    refused.push((413, post("Transfer-Encoding: chunked\r\n", "ffffffffffffffff\r\n")));
    refused.push((431, get(&format!("A: {}\r\n", "x".repeat(64 << 10)))));
    refused.push((431, get(&"A: b\r\n".repeat(128))));
    refused.push((431, vec![b'x'; 64 << 10]));
    for chunk in [
        "\r\n",
        "x\r\n",
        "-1\r\n",
        "+1\r\n",
        "0x1\r\n",
        " 1\r\n",
        "1 \r\n",
        "1  \r\n",
        "1\n",
        "1\n\r\n",
        "1\r\r\n",
        "1;a\nb\r\n",
        "1;\0\r\n",
        "00000000000000001\r\n",
        "1 1\r\n",
    ] {
        refused.push((400, post("Transfer-Encoding: chunked\r\n", chunk)));
        let mut request = get("Transfer-Encoding: chunked\r\n");
        request.extend(b"1\r\na\r\n");
        request.extend(chunk.as_bytes());
        refused.push((400, request));
    }
    let long = format!("1;{}", "x".repeat(5 << 10));
    refused.push((400, post("Transfer-Encoding: chunked\r\n", &long)));
    refused
}

#[test]
fn what_can_be_understood_in_two_ways_is_refused() {
    for (wanted, mut request) in refused() {
        let head = String::from_utf8_lossy(&request[..request.len().min(200)]).into_owned();
        request.extend(GET);
        let line = serve(&request);
        assert_eq!((status(&line), line.end), (wanted, Some(End::Fin)), "{head:?}");
        assert_eq!(text(&line).matches("HTTP/1.1 ").count(), 1, "{head:?}");
        assert!(text(&line).contains("Connection: close\r\n"), "{head:?}");
        assert_eq!((line.account.requests, line.account.answered), (1, 1), "{head:?}");
        let sizes = line.account.served + line.account.late + line.unread();
        assert_eq!(sizes, request.len(), "{head:?}");
    }
}

#[test]
fn hosts_of_every_kind_are_accepted() {
    for host in
        ["", "a", "a:", "a:80", "1.2.3.4:5", "[::1]", "[::ffff:1.2.3.4]:80", "a_b.c,d", "%41"]
    {
        let line = serve(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        assert_eq!((host, text(&line)), (host, HELLO));
    }
}

#[test]
fn lists_and_spaces_that_mean_nothing_are_accepted() {
    for lines in ["Content-Length: \t 3 \r\n", "content-length:3\r\n", "Content-Length: 0003\r\n"] {
        assert_eq!(body(&serve(&post(lines, "abc"))), "abc", "{lines:?}");
    }
    for lines in ["Transfer-Encoding:\tchunked\r\n", "Transfer-Encoding: , CHUNKED,\r\n"] {
        let line = serve(&post(lines, "1 ; a=\"b\"\r\nx\r\n000\r\n\r\n"));
        assert_eq!(body(&line), "1\r\nx\r\n0\r\n\r\n", "{lines:?}");
    }
}

#[test]
fn a_body_that_turns_bad_ends_without_its_end() {
    let long = format!("0\r\n{}", "A: b\r\n".repeat(3000));
    for rest in
        ["x\r\n", "3\r\nabcX\r\n", "40000000\r\n", "0\r\nbad\r\n\r\n", "0\r\n a: b\r\n", &long]
    {
        let line = serve(&post("Transfer-Encoding: chunked\r\n", &format!("1\r\na\r\n{rest}")));
        assert_eq!((status(&line), line.end), (200, Some(End::Fin)), "{rest:?}");
        assert!(!text(&line).contains("\r\n0\r\n"), "{rest:?}");
        assert_eq!((line.account.answered, line.account.requests), (1, 1), "{rest:?}");
    }
}

#[test]
fn the_largest_head_and_body_are_accepted() {
    let mut request = get("");
    let room = Input::MAX - request.len() - "A: \r\n".len();
    request = get(&format!("A: {}\r\n", "x".repeat(room)));
    assert_eq!(request.len(), Input::MAX);
    assert_eq!(text(&serve(&request)), HELLO);
    let mut line = serve(&get(&"A: b\r\n".repeat(127)));
    assert_eq!(text(&line), HELLO);
    line.send(&post("Content-Length: 1073741824\r\n", ""));
    assert!(text(&line).ends_with("Content-Length: 1073741824\r\n\r\n"));
    let mut line = serve(&post("Transfer-Encoding: chunked\r\n", "3fffffff\r\n"));
    assert_eq!((status(&line), line.end), (200, None));
    line.send(b"x");
    assert_eq!(body(&line), "3fffffff\r\nx");
}
