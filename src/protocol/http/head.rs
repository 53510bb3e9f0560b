//! The head of a request: finding its end, and what it asks for.

use std::mem::MaybeUninit;
use std::net::Ipv6Addr;

use httparse::{Error, Header, Request, Status as Parsed};

use super::reply::Status;
use crate::protocol::scan::find_line_feed;

/// Header lines in a head at most.
const HEADERS_MAX: usize = 128;
/// The longest body of a request.
pub(super) const BODY_MAX: u64 = 1 << 30;
/// The longest answer that can be asked for: 1 TiB.
const BYTES_MAX: u64 = 1 << 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Head,
    Post,
}

/// What a request's target names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The page that everything else names.
    Page,
    /// `/bytes/N`.
    Bytes(u64),
    /// `/bytes/` and no number.
    Missing,
}

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Sized(u64),
    Chunked,
}

/// A request without its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) target: Target,
    pub(super) framing: Framing,
    /// It is HTTP/1.0.
    pub(super) is_old: bool,
    /// The client sends no further request.
    pub(super) closes: bool,
    /// The client waits for a 100 before it sends the body.
    pub(super) expects_continue: bool,
}

/// Why a request is refused, and whether the client would read the body of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: Status,
    pub(super) with_body: bool,
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self { status, with_body: true }
    }
}

/// Returns the length of the head, `None` while its end is missing. Lines up to `scanned` were
/// looked at before. Only CRLF ends a line.
pub(super) fn find_end(bytes: &[u8], scanned: usize) -> Result<Option<usize>, Status> {
    let mut from = scanned;
    while let Some(at) = find_line_feed(bytes, from) {
        let before = bytes.get(..at).unwrap_or_default();
        let Some(line) = before.strip_suffix(b"\r") else { return Err(Status::BadRequest) };
        from = at.saturating_add(1);
        if line.is_empty() || line.ends_with(b"\n") {
            return Ok(Some(from));
        }
    }
    Ok(None)
}

/// Whether a request can begin like this: what is not HTTP at all need not be waited for.
pub(super) fn can_begin(bytes: &[u8]) -> bool {
    bytes.first().is_none_or(|byte| is_token(*byte) || *byte == b'\r')
}

/// Whether the head of another request stands behind a body. One that is bad counts: it is refused,
/// and so answered.
pub(super) fn is_followed(framing: Framing, rest: &[u8]) -> bool {
    let Framing::Sized(size) = framing else { return false };
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let mut next = rest.get(size..).unwrap_or_default();
    while let Some(stripped) = next.strip_prefix(b"\r\n") {
        next = stripped;
    }
    !can_begin(next) || !matches!(find_end(next, 0), Ok(None))
}

/// Parses a head, its empty line included.
pub(super) fn parse(bytes: &[u8]) -> Result<Head, Refusal> {
    let mut headers = [const { MaybeUninit::<Header<'_>>::uninit() }; HEADERS_MAX];
    let mut request = Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, &mut headers) {
        Ok(Parsed::Complete(count)) if count == bytes.len() => {}
        Ok(_) => return Err(Status::BadRequest.into()),
        Err(Error::TooManyHeaders) => return Err(Status::HeadTooLarge.into()),
        Err(Error::Version) => return Err(version_status(bytes).into()),
        Err(_) => return Err(Status::BadRequest.into()),
    }
    let name = request.method.unwrap_or_default();
    let method = match name {
        "GET" => Some(Method::Get),
        "HEAD" => Some(Method::Head),
        "POST" => Some(Method::Post),
        _ => None,
    };
    let refuse = |status| Refusal { status, with_body: method != Some(Method::Head) };
    let is_old = request.version == Some(0);
    let fields = Fields::gather(request.headers).map_err(refuse)?;
    let framing = fields.framing(is_old).map_err(refuse)?;
    fields.check_host(is_old).map_err(refuse)?;
    let method = method.ok_or(Status::NotImplemented).map_err(refuse)?;
    let target = target(request.path.unwrap_or_default()).map_err(refuse)?;
    if matches!(framing, Framing::Sized(size) if size > BODY_MAX) {
        return Err(refuse(Status::BodyTooLarge));
    }
    let expects_continue = fields.expects_continue(is_old).map_err(refuse)?;
    let closes = fields.closes || (is_old && !fields.stays);
    Ok(Head { method, target, framing, is_old, closes, expects_continue })
}

/// The header fields that matter.
#[derive(Debug, Default)]
struct Fields<'a> {
    length: Option<&'a [u8]>,
    /// The codings of all `Transfer-Encoding` fields, as far as they are known.
    coding: Option<Coding>,
    host: Option<&'a [u8]>,
    expect: Option<&'a [u8]>,
    closes: bool,
    stays: bool,
}

/// What was done to a body on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Chunked,
    /// Chunked, and something else before.
    Unknown,
    /// It does not end in chunks, or is chunked twice.
    Broken,
}

impl<'a> Fields<'a> {
    fn gather(headers: &[Header<'a>]) -> Result<Self, Status> {
        let mut fields = Self::default();
        for Header { name, value } in headers {
            let value = value.trim_ascii();
            let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
            if is("content-length") {
                // Two are an attempt to be understood differently by two readers.
                set_once(&mut fields.length, value)?;
            } else if is("host") {
                set_once(&mut fields.host, value)?;
            } else if is("transfer-encoding") {
                fields.coding = tokens(value).fold(fields.coding, |coding, token| {
                    Some(add_coding(coding, token.eq_ignore_ascii_case(b"chunked")))
                });
                fields.coding = fields.coding.or(Some(Coding::Broken));
            } else if is("connection") {
                fields.closes |= tokens(value).any(|token| token.eq_ignore_ascii_case(b"close"));
                fields.stays |=
                    tokens(value).any(|token| token.eq_ignore_ascii_case(b"keep-alive"));
            } else if is("expect") {
                fields.expect = Some(value);
            }
        }
        Ok(fields)
    }

    fn framing(&self, is_old: bool) -> Result<Framing, Status> {
        match (self.coding, self.length) {
            (None, None) => Ok(Framing::Sized(0)),
            (None, Some(length)) => Ok(Framing::Sized(parse_length(length)?)),
            (Some(_), Some(_)) => Err(Status::BadRequest),
            (Some(_), None) if is_old => Err(Status::BadRequest),
            (Some(Coding::Chunked), None) => Ok(Framing::Chunked),
            (Some(Coding::Unknown), None) => Err(Status::NotImplemented),
            (Some(Coding::Broken), None) => Err(Status::BadRequest),
        }
    }

    fn check_host(&self, is_old: bool) -> Result<(), Status> {
        match self.host {
            Some(host) if host.is_empty() || is_authority(host) => Ok(()),
            None if is_old => Ok(()),
            Some(_) | None => Err(Status::BadRequest),
        }
    }

    fn expects_continue(&self, is_old: bool) -> Result<bool, Status> {
        match self.expect {
            Some(value) if !is_old && !value.is_empty() => {
                let is_known = value.eq_ignore_ascii_case(b"100-continue");
                if is_known { Ok(true) } else { Err(Status::ExpectationFailed) }
            }
            Some(_) | None => Ok(false),
        }
    }
}

fn set_once<'a>(field: &mut Option<&'a [u8]>, value: &'a [u8]) -> Result<(), Status> {
    if field.replace(value).is_some() { Err(Status::BadRequest) } else { Ok(()) }
}

/// Returns what a list of codings comes to with one more at its end.
fn add_coding(coding: Option<Coding>, is_chunked: bool) -> Coding {
    match (coding, is_chunked) {
        (None, true) => Coding::Chunked,
        // Unless `chunked` follows, which must come last and only once, this stays broken.
        (None, false) => Coding::Broken,
        (Some(Coding::Broken), true) => Coding::Unknown,
        (Some(_), _) => Coding::Broken,
    }
}

/// Returns the members of a list, empty ones left out.
fn tokens(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let members = list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    members.filter(|member| !member.is_empty())
}

/// Parses a `Content-Length`: digits alone.
fn parse_length(value: &[u8]) -> Result<u64, Status> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Status::BadRequest);
    }
    let number = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
    // A number of more than 64 bits is above every bound.
    Ok(number.unwrap_or(u64::MAX))
}

/// Returns what a target names, in its origin or its absolute form. Neither has a fragment, which
/// some readers would take for a part of the path and others would not.
fn target(target: &str) -> Result<Target, Status> {
    if target.contains('#') {
        return Err(Status::BadRequest);
    }
    let path = if target.starts_with('/') { target } else { path_of_absolute(target)? };
    let path = path.split('?').next().unwrap_or_default();
    let Some(number) = path.strip_prefix("/bytes/") else { return Ok(Target::Page) };
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let number = number.parse().ok().filter(|number| is_number && *number <= BYTES_MAX);
    Ok(number.map_or(Target::Missing, Target::Bytes))
}

fn path_of_absolute(target: &str) -> Result<&str, Status> {
    let (scheme, rest) = target.split_once("://").ok_or(Status::BadRequest)?;
    let is_ours = ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).unwrap_or_default();
    if is_ours && is_authority(authority.as_bytes()) { Ok(path) } else { Err(Status::BadRequest) }
}

/// Whether this is the name or the address of a host and perhaps a port (RFC 3986, section 3.2);
/// what may stand before a name, a user and a password, is an error in a request.
fn is_authority(authority: &[u8]) -> bool {
    let colon = authority.iter().rposition(|byte| *byte == b':' || *byte == b']');
    let (host, port) = match colon.and_then(|at| authority.split_at_checked(at)) {
        Some((host, [b':', port @ ..])) => (host, port),
        _ => (authority, &[][..]),
    };
    let is_host = match host {
        [b'[', address @ .., b']'] => {
            let address = std::str::from_utf8(address).unwrap_or_default();
            address.parse::<Ipv6Addr>().is_ok()
        }
        name => !name.is_empty() && is_name(name),
    };
    is_host && port.iter().all(u8::is_ascii_digit)
}

/// Whether this may be the name of a host, or its address in IPv4.
fn is_name(mut name: &[u8]) -> bool {
    loop {
        let plain = name.iter().position(|byte| !IS_NAME.get(*byte as usize).unwrap_or(&false));
        let rest = plain.and_then(|at| name.get(at..)).unwrap_or_default();
        name = match rest {
            [] => return true,
            [b'%', one, two, rest @ ..] if one.is_ascii_hexdigit() && two.is_ascii_hexdigit() => {
                rest
            }
            _ => return false,
        };
    }
}

/// Which bytes stand for themselves in the name of a host (RFC 3986: `unreserved`, `sub-delims`).
const IS_NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte: u8 = 0;
    while byte < u8::MAX {
        let is_mark = matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
        );
        #[expect(clippy::indexing_slicing, reason = "a u8 is an index into 256 entries")]
        {
            table[byte as usize] = byte.is_ascii_alphanumeric() || is_mark;
        }
        byte = byte.saturating_add(1);
    }
    table
};

/// Returns the status for a request line whose version is not ours: another one of HTTP, or none.
fn version_status(bytes: &[u8]) -> Status {
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    // After the method and the target, each followed by one space.
    match line.splitn(3, |byte| *byte == b' ').nth(2) {
        Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor])
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Status::VersionNotSupported
        }
        _ => Status::BadRequest,
    }
}

/// Whether a byte may stand in a method or in a field's name.
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
