//! However requests are cut into pieces, their answers are the same.

use proptest::prelude::*;

use super::refusal::refused;
use super::{GET, get, post};
use crate::protocol::Http;
use crate::protocol::loopback::Loopback;
use crate::protocol::session::Status;

/// A request by number, with a body of a length.
fn request(kind: usize, length: usize) -> Vec<u8> {
    let body = "0\r\n\r\nGET / HTTP/1.1\r\n".repeat(length / 20 + 1);
    let body = &body[..length];
    let (head, tail) = body.split_at(length / 3);
    match kind {
        0 => GET.to_vec(),
        1 => format!("GET /bytes/{length} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes(),
        2 => post(&format!("Content-Length: {length}\r\n"), body),
        3 if length > 2 => {
            let chunks = format!("{:X}\r\n{head}\r\n{:x};q\r\n{tail}\r\n", head.len(), tail.len());
            post("Transfer-Encoding: chunked\r\n", &format!("{chunks}0\r\nA: b\r\n\r\n"))
        }
        4 => [get(&format!("Content-Length: {length}\r\n")).as_slice(), body.as_bytes()].concat(),
        5 => b"HEAD / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx"
            .to_vec(),
        6 => {
            b"\r\nPOST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx".to_vec()
        }
        _ => b"GET /bytes/x HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
    }
}

/// What a client gets that sends in pieces and takes in pieces.
fn in_pieces(input: &[u8], pieces: &[usize], taken: usize) -> Loopback<Http> {
    let mut line = Loopback::with_window(Http::new(), taken);
    let mut rest = input;
    for piece in pieces.iter().cycle() {
        let (now, later) = rest.split_at((*piece).clamp(1, rest.len().max(1)).min(rest.len()));
        line.send(now);
        line.take(taken);
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    while line.pending() > 0 || line.status() == Some(Status::Busy) {
        line.take(taken.max(1));
    }
    line
}

fn check_pieces(input: &[u8], pieces: &[usize], taken: usize) -> Result<(), TestCaseError> {
    let whole = in_pieces(input, &[usize::MAX], usize::MAX);
    let split = in_pieces(input, pieces, taken);
    prop_assert_eq!(&whole.received, &split.received);
    prop_assert_eq!(whole.end, split.end);
    let Loopback { account, .. } = whole;
    prop_assert_eq!(account.requests, split.account.requests);
    prop_assert_eq!(account.answered, split.account.answered);
    prop_assert_eq!(account.served, split.account.served);
    prop_assert!(split.account.most_held <= 64 << 10 && split.account.most_pending <= 64 << 10);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn splitting_requests_anywhere_changes_nothing(
        requests in prop::collection::vec((0_usize..8, 0_usize..20_000), 1..12),
        pieces in prop::collection::vec(prop_oneof![1_usize..40, 1_usize..9000], 1..20),
        taken in prop_oneof![200_usize..3000, 1000_usize..90_000],
    ) {
        let each = requests.iter().map(|(kind, size)| request(*kind, *size));
        let input = each.collect::<Vec<_>>().concat();
        check_pieces(&input, &pieces, taken)?;
        let whole = in_pieces(&input, &[usize::MAX], usize::MAX);
        prop_assert_eq!(whole.account.answered, requests.len() as u64);
        prop_assert_eq!(whole.account.served, input.len());
    }

    #[test]
    fn splitting_bad_requests_anywhere_changes_nothing(
        which in 0_usize..1000,
        pieces in prop::collection::vec(1_usize..2000, 1..20),
    ) {
        let refused = refused();
        let (_, request) = &refused[which % refused.len()];
        let input = [GET, request.as_slice(), GET].concat();
        check_pieces(&input, &pieces, 500)?;
    }

    #[test]
    fn splitting_noise_anywhere_changes_nothing(
        words in prop::collection::vec(prop::sample::select(vec![
            "GET / HTTP/1.1\r\n", "POST / HTTP/1.1\r\n", "Host: a\r\n", "\r\n", "\n", "\r", " ",
            "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n", ":",
            "0\r\n\r\n", "HTTP/1.0", "x", "\0", "0", "hello", "Connection: close\r\n",
        ]), 0..30),
        pieces in prop::collection::vec(1_usize..20, 1..20),
    ) {
        check_pieces(words.concat().as_bytes(), &pieces, 500)?;
    }
}
