//! Replies of sock_diag(7), read from bytes.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use super::question::BY_FAMILY;
use crate::engine::status::{Timing, Transport};

/// `NLMSG_ERROR` and `NLMSG_DONE`: netlink(7).
const ERROR: u16 = 2;
const DONE: u16 = 3;
const HEADER: usize = 16;
/// The length of a `struct inet_diag_msg`.
const MESSAGE: usize = 72;
/// The offsets of its fields.
const STATE: usize = 1;
const TIMER: usize = 2;
const RETRANSMITS: usize = 3;
const LOCAL_PORT: usize = 4;
const PEER_PORT: usize = 6;
const LOCAL_ADDRESS: usize = 8;
const PEER_ADDRESS: usize = 24;
const INTERFACE: usize = 40;
const WRITE_QUEUE: usize = 60;
const INODE: usize = 68;
/// The attribute `INET_DIAG_INFO`.
const INFO: u16 = 2;
/// Offsets of fields of a `struct tcp_info`.
const RCV_MSS: usize = 20;
const LAST_DATA_SENT: usize = 44;
const LAST_ACK_RECV: usize = 56;
const RTT: usize = 68;
const RTT_VAR: usize = 72;

/// One netlink message.
#[derive(Debug)]
pub(super) struct Message {
    /// The number of the question.
    pub(super) sequence: u32,
    pub(super) content: Content,
}

/// The meaning of a message.
#[derive(Debug)]
pub(super) enum Content {
    Socket(Socket),
    /// The end of a dump.
    Done,
    /// The question has failed; `ENOENT`: there is no such connection.
    Error(i32),
    /// Something else.
    Strange,
}

/// The state of one socket.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) state: u8,
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
    /// No process holds it: not accepted yet, or closed.
    pub(super) is_orphan: bool,
    pub(super) transport: Transport,
}

/// The timer that runs is for bytes that were sent; sock_diag(7), `idiag_timer`.
const TIMER_RETRANSMIT: u8 = 1;

/// Removes the first message from `bytes`. Returns `None` if there is no complete one.
pub(super) fn take_message(bytes: &mut &[u8]) -> Option<Message> {
    let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
    let whole = bytes.get(..length)?;
    let payload = whole.get(HEADER..)?;
    let content = match u16_at(whole, 4)? {
        BY_FAMILY => socket(payload).map_or(Content::Strange, Content::Socket),
        DONE => Content::Done,
        ERROR => Content::Error(i32_at(payload, 0)?.checked_neg()?),
        _ => Content::Strange,
    };
    let sequence = u32_at(whole, 8)?;
    *bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some(Message { sequence, content })
}

fn socket(message: &[u8]) -> Option<Socket> {
    let is_ipv4 = i32::from(*message.first()?) == libc::AF_INET;
    let interface = u32_at(message, INTERFACE)?;
    let address = |address: usize, port: usize| {
        let octets: [u8; 16] = *message.get(address..)?.first_chunk()?;
        let port = u16::from_be_bytes(*message.get(port..)?.first_chunk()?);
        Some(if is_ipv4 {
            let v4: [u8; 4] = *octets.first_chunk()?;
            SocketAddr::new(IpAddr::from(v4), port)
        } else {
            SocketAddrV6::new(Ipv6Addr::from(octets), port, 0, interface).into()
        })
    };
    let info = message.get(MESSAGE..).and_then(|rest| attribute(rest, INFO));
    Some(Socket {
        state: *message.get(STATE)?,
        local: address(LOCAL_ADDRESS, LOCAL_PORT)?,
        peer: address(PEER_ADDRESS, PEER_PORT)?,
        is_orphan: u32_at(message, INODE)? == 0,
        transport: Transport {
            unacknowledged: u32_at(message, WRITE_QUEUE)?,
            repetitions: *message.get(RETRANSMITS)?,
            is_repeating: *message.get(TIMER)? == TIMER_RETRANSMIT,
            timing: info.and_then(timing),
        },
    })
}

fn timing(info: &[u8]) -> Option<Timing> {
    let micros = |at| Some(Duration::from_micros(u64::from(u32_at(info, at)?)));
    let millis = |at| Some(Duration::from_millis(u64::from(u32_at(info, at)?)));
    Some(Timing {
        round_trip: micros(RTT)?,
        variation: micros(RTT_VAR)?,
        segment: u32_at(info, RCV_MSS)?,
        since_ack: millis(LAST_ACK_RECV)?,
        since_sent: millis(LAST_DATA_SENT)?,
    })
}

/// Returns the payload of the first attribute of a type; netlink(7), `struct nlattr`.
fn attribute(mut rest: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16_at(rest, 0)?);
        if u16_at(rest, 2)? == wanted {
            return rest.get(4..length);
        }
        rest = rest.get(length.max(4).next_multiple_of(4)..)?;
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    bytes.get(at..)?.first_chunk().copied().map(i32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message of `kind` to question 9 with 80 bytes of payload.
    fn message(kind: u16) -> Vec<u8> {
        let mut bytes = 96_u32.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&9_u32.to_ne_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&[2; 80]);
        bytes
    }

    #[test]
    fn no_bytes_make_the_reader_fail() {
        for kind in [BY_FAMILY, ERROR, DONE, 7] {
            let whole = message(kind);
            for length in 0..whole.len() {
                let mut rest = whole.get(..length).unwrap();
                assert!(take_message(&mut rest).is_none(), "{kind} {length}");
                // Messages whose length is shorter than their header, or wrong otherwise.
                let mut short = whole.clone();
                short.splice(..4, u32::try_from(length).unwrap().to_ne_bytes());
                let mut rest = short.as_slice();
                for _ in 0..whole.len() {
                    if take_message(&mut rest).is_none() {
                        break;
                    }
                }
            }
            let both = [whole.clone(), whole].concat();
            let mut rest = both.as_slice();
            assert_eq!(take_message(&mut rest).unwrap().sequence, 9);
            assert_eq!(rest.len(), 96);
            assert!(take_message(&mut rest).is_some() && rest.is_empty());
        }
    }
}
