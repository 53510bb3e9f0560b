//! The kernel's counters of full queues, and whether SYN cookies are forced.

use std::fs;

use crate::accept::pair::Pressure;

/// Returns the kernel's counters; netstat(8) shows them as `SyncookiesSent` and `ListenOverflows`.
pub(crate) fn pressure() -> Option<Pressure> {
    parse(&fs::read_to_string("/proc/net/netstat").ok()?)
}

/// Returns whether every handshake is answered by a SYN cookie; tcp(7), `tcp_syncookies`.
pub(crate) fn cookies_are_forced() -> bool {
    let setting = fs::read_to_string("/proc/sys/net/ipv4/tcp_syncookies");
    setting.is_ok_and(|setting| setting.trim() == "2")
}

/// The names are in one line, their values in the next.
fn parse(text: &str) -> Option<Pressure> {
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let value_of = |wanted: &str| {
        let at = names.split(' ').position(|name| name == wanted)?;
        values.split(' ').nth(at)?.parse().ok()
    };
    Some(Pressure { cookies: value_of("SyncookiesSent")?, overflows: value_of("ListenOverflows")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_name() {
        let text = "Other: a\nOther: 1\nTcpExt: SyncookiesSent X ListenOverflows\nTcpExt: 3 4 5\n";
        assert_eq!(parse(text), Some(Pressure { cookies: 3, overflows: 5 }));
        for text in ["", "TcpExt: SyncookiesSent\n", "TcpExt: SyncookiesSent\nTcpExt: 3\n"] {
            assert_eq!(parse(text), None, "{text}");
        }
        if fs::exists("/proc/net/netstat").unwrap() {
            assert!(pressure().is_some());
        }
    }
}
