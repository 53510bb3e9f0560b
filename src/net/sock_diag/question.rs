//! Requests of sock_diag(7), as bytes.

use std::net::{IpAddr, SocketAddr};

/// `SOCK_DIAG_BY_FAMILY`, and the flags of a netlink(7) request.
pub(super) const BY_FAMILY: u16 = 20;
const REQUEST: u16 = 1;
/// `NLM_F_ROOT | NLM_F_MATCH`.
const DUMP: u16 = 0x300;
const TCP: u8 = 6;
/// `1 << (INET_DIAG_INFO - 1)`.
const WANT_INFO: u8 = 2;
/// The length of a header and a `struct inet_diag_req_v2`.
const BYTES: u32 = 72;

/// Appends a question for the one connection between two addresses.
pub(super) fn exact(sequence: u32, local: SocketAddr, peer: SocketAddr, to: &mut Vec<u8>) {
    header(sequence, REQUEST, to);
    to.extend_from_slice(&[family(local), TCP, WANT_INFO, 0]);
    // Any state.
    to.extend_from_slice(&u32::MAX.to_ne_bytes());
    to.extend_from_slice(&local.port().to_be_bytes());
    to.extend_from_slice(&peer.port().to_be_bytes());
    to.extend_from_slice(&octets(local.ip()));
    to.extend_from_slice(&octets(peer.ip()));
    to.extend_from_slice(&interface(local).to_ne_bytes());
    no_cookie(to);
}

/// Appends a question for all sockets of an address family on a local port that are in one of
/// the states of the bit set `states`.
pub(super) fn dump(sequence: u32, local: SocketAddr, states: u32, to: &mut Vec<u8>) {
    header(sequence, REQUEST | DUMP, to);
    to.extend_from_slice(&[family(local), TCP, 0, 0]);
    to.extend_from_slice(&states.to_ne_bytes());
    to.extend_from_slice(&local.port().to_be_bytes());
    // Any peer and, because a dump does not compare them, any address.
    to.extend_from_slice(&[0; 38]);
    no_cookie(to);
}

fn header(sequence: u32, flags: u16, to: &mut Vec<u8>) {
    to.extend_from_slice(&BYTES.to_ne_bytes());
    to.extend_from_slice(&BY_FAMILY.to_ne_bytes());
    to.extend_from_slice(&flags.to_ne_bytes());
    to.extend_from_slice(&sequence.to_ne_bytes());
    // The sender's port; the kernel knows it.
    to.extend_from_slice(&[0; 4]);
}

fn no_cookie(to: &mut Vec<u8>) {
    to.extend_from_slice(&[u8::MAX; 8]);
}

fn family(address: SocketAddr) -> u8 {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    u8::try_from(family).unwrap_or(0)
}

/// The interface that a link-local address belongs to.
fn interface(address: SocketAddr) -> u32 {
    match address {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(v6) => v6.scope_id(),
    }
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V6(v6) => v6.octets(),
        IpAddr::V4(v4) => {
            let mut all = [0; 16];
            for (to, from) in all.iter_mut().zip(v4.octets()) {
                *to = from;
            }
            all
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_as_long_as_they_say() {
        for address in ["127.0.0.1:80", "[fe80::1%7]:80"] {
            let address = address.parse().unwrap();
            let mut bytes = Vec::new();
            exact(7, address, address, &mut bytes);
            assert_eq!(bytes.len(), BYTES as usize);
            dump(8, address, 1 << 3, &mut bytes);
            assert_eq!(bytes.len(), 2 * BYTES as usize);
        }
    }
}
