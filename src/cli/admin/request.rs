//! The requests that the admin listener understands.

use httparse::{EMPTY_HEADER, Error, Status};

/// A longer head is refused.
pub(crate) const HEAD_BYTES_MAX: usize = 8 << 10;

/// More header lines are refused.
const HEADERS_MAX: usize = 64;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    Health,
    Metrics,
    Report,
}

/// What a request that has come as a whole is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// This page; without its body for HEAD.
    Page { page: Page, with_body: bool },
    /// This status.
    Refusal { status: &'static str, with_body: bool },
}

impl Answer {
    pub(crate) const BAD: Self = Self::refusal("400 Bad Request");

    const fn refusal(status: &'static str) -> Self {
        Self::Refusal { status, with_body: true }
    }
}

/// Reads the head of a request; `None` until it is there as a whole.
pub(crate) fn parse(bytes: &[u8]) -> Option<Answer> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(Status::Complete(_)) => {}
        Ok(Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return None,
        Ok(Status::Partial) | Err(Error::TooManyHeaders) => {
            return Some(Answer::refusal("431 Request Header Fields Too Large"));
        }
        Err(Error::Version) => return Some(Answer::refusal("505 HTTP Version Not Supported")),
        Err(_) => return Some(Answer::BAD),
    }
    let with_body = match request.method {
        Some("GET") => true,
        Some("HEAD") => false,
        _ => return Some(Answer::refusal("405 Method Not Allowed")),
    };
    let path = origin_form(request.path.unwrap_or_default());
    let page = match path.split(['?', '#']).next() {
        Some("/healthz") => Page::Health,
        Some("/metrics") => Page::Metrics,
        Some("/report") => Page::Report,
        _ => return Some(Answer::Refusal { status: "404 Not Found", with_body }),
    };
    Some(Answer::Page { page, with_body })
}

/// Returns the path and query of a target in absolute form, as proxies send it, too (RFC 9112,
/// section 3.2.2).
fn origin_form(target: &str) -> &str {
    let Some((scheme, rest)) = target.split_once("://") else {
        return target;
    };
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return target;
    }
    rest.find(['/', '?', '#']).and_then(|at| rest.get(at..)).unwrap_or("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_when_it_is_whole() {
        let whole = b"GET /healthz?x=1 HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n";
        for end in 0..whole.len() {
            assert_eq!(parse(&whole[..end]), None, "{end}");
        }
        let health = Answer::Page { page: Page::Health, with_body: true };
        assert_eq!(parse(whole), Some(health));
        assert_eq!(parse(b"GET /healthz HTTP/1.0\n\n"), Some(health));
        for target in ["http://a/healthz", "HTTP://[::1]:80/healthz?a=b://c", "https://a:1/healthz"]
        {
            let text = format!("GET {target} HTTP/1.1\r\nHost: other\r\n\r\n");
            assert_eq!(parse(text.as_bytes()), Some(health), "{target}");
        }
        let head = Answer::Page { page: Page::Metrics, with_body: false };
        assert_eq!(parse(b"HEAD /metrics HTTP/1.1\r\n\r\n"), Some(head));
    }

    #[test]
    fn everything_else_has_its_status() {
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1));
        let long = format!("GET /{}", "a".repeat(HEAD_BYTES_MAX));
        for (text, status) in [
            ("GET / HTTP/1.1\r\n\r\n", "404"),
            ("GET /healthz/ HTTP/1.1\r\n\r\n", "404"),
            ("GET http://a HTTP/1.1\r\n\r\n", "404"),
            ("GET http://a?/healthz HTTP/1.1\r\n\r\n", "404"),
            ("GET ftp://a/healthz HTTP/1.1\r\n\r\n", "404"),
            ("POST /healthz HTTP/1.1\r\n\r\n", "405"),
            ("OPTIONS * HTTP/1.1\r\n\r\n", "405"),
            ("GET /healthz HTTP/2.0\r\n\r\n", "505"),
            ("\0\0\0", "400"),
            ("GET /healthz\r\n\r\n", "400"),
            ("\u{16}\u{3}\u{1}\u{2}", "400"),
            (&many, "431"),
            (&long, "431"),
        ] {
            let Some(Answer::Refusal { status: found, .. }) = parse(text.as_bytes()) else {
                panic!("{text:?}");
            };
            assert!(found.starts_with(status), "{text:?}: {found}");
        }
    }
}
