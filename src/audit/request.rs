//! What the clients send.

use super::kind::Kind;
use super::target::Protocol;
use super::target::Target;

/// The length of a request of `line` and `echo`, without the line end.
const DIGITS: usize = 50;
/// The length of a slow client's request of `line` and `echo`.
const LONG: usize = 100_000;

/// The form of a request: what is asked for, and whether the connection is to be kept. Each form
/// has a right answer of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Stay,
    Leave,
    Long,
}

impl Form {
    pub(super) const ALL: [Self; 3] = [Self::Stay, Self::Leave, Self::Long];

    pub(super) fn of(kind: Kind) -> Self {
        match kind {
            Kind::Busy | Kind::Idle => Self::Stay,
            Kind::New | Kind::Half | Kind::Queued => Self::Leave,
            Kind::Slow => Self::Long,
        }
    }
}

/// Makes requests.
#[derive(Debug)]
pub(super) struct Requests {
    protocol: Protocol,
    stay: Vec<u8>,
    leave: Vec<u8>,
    long: Vec<u8>,
    random: u64,
}

impl Requests {
    pub(super) fn new(target: &Target, slow_path: &str, seed: u64) -> Self {
        let get = |path: &str, connection: &str| {
            let host = target.authority();
            let agent = concat!("netgrace/", env!("CARGO_PKG_VERSION"));
            format!(
                "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\nAccept: */*\r\n\
                 {connection}\r\n"
            )
            .into_bytes()
        };
        Self {
            protocol: target.protocol(),
            stay: get(target.path(), ""),
            leave: get(target.path(), "Connection: close\r\n"),
            long: get(slow_path, "Connection: close\r\n"),
            random: seed,
        }
    }

    /// Returns the next request of this form.
    pub(super) fn next(&mut self, form: Form) -> Vec<u8> {
        match (self.protocol, form) {
            (Protocol::Http, Form::Stay) => self.stay.clone(),
            (Protocol::Http, Form::Leave) => self.leave.clone(),
            (Protocol::Http, Form::Long) => self.long.clone(),
            (_, Form::Long) => {
                let mut bytes = Vec::with_capacity(LONG.saturating_add(DIGITS));
                while bytes.len() < LONG {
                    self.digits(&mut bytes);
                }
                bytes
            }
            _ => {
                let mut bytes = Vec::with_capacity(DIGITS.saturating_add(1));
                self.digits(&mut bytes);
                bytes
            }
        }
    }

    /// Appends random hexadecimal digits, as a line where lines are wanted.
    fn digits(&mut self, bytes: &mut Vec<u8>) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut pool = 0_u64;
        for at in 0..DIGITS {
            if at % 16 == 0 {
                pool = self.random();
            }
            let digit = usize::try_from(pool & 15).unwrap_or(0);
            bytes.push(HEX.get(digit).copied().unwrap_or(b'0'));
            pool >>= 4;
        }
        if self.protocol == Protocol::Line {
            bytes.push(b'\n');
        }
    }

    /// SplitMix64.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = self.random;
        let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_echoes_are_alike() {
        let target = Target::parse("line://127.0.0.1:1").unwrap();
        let mut requests = Requests::new(&target, "/", 7);
        let (one, other) = (requests.next(Form::Stay), requests.next(Form::Leave));
        assert!(one.len() == 51 && one.ends_with(b"\n") && one != other);
        assert!(one[..50].iter().all(u8::is_ascii_hexdigit));
        let long = requests.next(Form::Long);
        assert!(long.len() >= LONG && long.split(|byte| *byte == b'\n').all(|l| l.len() <= 50));
        let target = Target::parse("echo://127.0.0.1:1").unwrap();
        assert_eq!(Requests::new(&target, "/", 7).next(Form::Stay).len(), 50);
    }

    #[test]
    fn a_get_names_the_host_and_the_path() {
        let target = Target::parse("http://example.test:81/a?b").unwrap();
        let mut requests = Requests::new(&target, "/slow", 7);
        let text = String::from_utf8(requests.next(Form::Stay)).unwrap();
        assert!(text.starts_with("GET /a?b HTTP/1.1\r\nHost: example.test:81\r\n"), "{text}");
        assert!(!text.contains("close") && text.ends_with("\r\n\r\n"), "{text}");
        let text = String::from_utf8(requests.next(Form::Long)).unwrap();
        assert!(text.starts_with("GET /slow ") && text.contains("Connection: close\r\n"), "{text}");
    }
}
