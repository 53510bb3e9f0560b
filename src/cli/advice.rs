//! What the user can do when the system refuses a socket.

use std::fs;
use std::io;
use std::net::SocketAddr;

/// Capability 10 of capabilities(7).
const CAP_NET_BIND_SERVICE: u64 = 1 << 10;

const POLICY: &str =
    "; probably a security policy forbids it, such as seccomp, SELinux or AppArmor";

/// Returns the continuation of an error message: what to do about `error`, which came from
/// listening on `address`, or from another system call if there is none. Empty if the error says
/// all that is known.
pub(crate) fn advice(error: &io::Error, address: Option<SocketAddr>) -> String {
    match (error.kind(), address) {
        (io::ErrorKind::AddrInUse, _) => {
            "; choose another port, or port 0 for any free one".to_owned()
        }
        (io::ErrorKind::AddrNotAvailable, _) => {
            "; no interface of this machine has that address".to_owned()
        }
        (io::ErrorKind::PermissionDenied, Some(address)) => {
            let first = first_unprivileged_port();
            if is_privileged(address.port(), first) && !has_capability() {
                format!("; ports below {first} need privileges, such as CAP_NET_BIND_SERVICE")
            } else {
                POLICY.to_owned()
            }
        }
        (io::ErrorKind::PermissionDenied, None) => POLICY.to_owned(),
        (io::ErrorKind::Unsupported, _) => {
            "; the kernel is too old for it, or a security policy such as seccomp forbids it"
                .to_owned()
        }
        _ => match error.raw_os_error() {
            Some(libc::EAFNOSUPPORT) => {
                "; this machine, or a policy, allows no such addresses (is IPv6 off?)".to_owned()
            }
            Some(libc::EMFILE) => "; raise the open-file limit (ulimit -n)".to_owned(),
            Some(libc::ENFILE) => "; raise fs.file-max".to_owned(),
            Some(libc::ENODEV) => "; no network interface has that number".to_owned(),
            _ => String::new(),
        },
    }
}

fn is_privileged(port: u16, first: u16) -> bool {
    0 < port && port < first
}

fn first_unprivileged_port() -> u16 {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    text.unwrap_or_default().trim().parse().unwrap_or(1024)
}

/// A process that has it was refused for another reason.
fn has_capability() -> bool {
    capabilities(&fs::read_to_string("/proc/self/status").unwrap_or_default())
        & CAP_NET_BIND_SERVICE
        != 0
}

fn capabilities(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_blamed_only_where_they_may_be_the_reason() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        for port in [0, 17_081] {
            let text = advice(&denied, Some(SocketAddr::from(([127, 0, 0, 1], port))));
            assert!(text.contains("seccomp") && !text.contains("ports below"), "{text}");
        }
        assert!(advice(&denied, None).contains("seccomp"));
        assert!(is_privileged(80, 1024) && !is_privileged(80, 80) && !is_privileged(0, 1024));
        assert_eq!(advice(&io::Error::from(io::ErrorKind::TimedOut), None), "");
    }

    #[test]
    fn the_mask_of_capabilities_is_read() {
        let root = "Name:\tx\nCapPrm:\t0\nCapEff:\t000001ffffffffff\n";
        assert_ne!(capabilities(root) & CAP_NET_BIND_SERVICE, 0);
        assert_eq!(capabilities("CapEff:\t00000000000003ff\n") & CAP_NET_BIND_SERVICE, 0);
        assert_eq!(capabilities(""), 0);
    }
}
