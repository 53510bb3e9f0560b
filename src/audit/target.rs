//! Whom the clients talk to, and in which protocol.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::net::ToSocketAddrs;

/// The protocol of the server under audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// HTTP/1.1, or 1.0.
    Http,
    /// Every line is answered with itself.
    Line,
    /// Every byte is answered with itself.
    Echo,
}

/// A server: `http://HOST:PORT/PATH`, `line://HOST:PORT` or `echo://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    protocol: Protocol,
    /// Host and port as they were written.
    authority: String,
    /// Host and port for the resolver.
    place: (String, u16),
    path: String,
}

impl Target {
    /// Reads a target.
    ///
    /// # Errors
    ///
    /// The predicate of a sentence whose subject is the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = "is not http://HOST:PORT/PATH, line://HOST:PORT or echo://HOST:PORT";
        let (scheme, rest) = text.split_once("://").ok_or(expected)?;
        let protocol = match scheme {
            "http" => Protocol::Http,
            "line" => Protocol::Line,
            "echo" => Protocol::Echo,
            "https" => return Err("needs TLS, which audits do not speak".to_owned()),
            _ => return Err(expected.to_owned()),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if protocol != Protocol::Http && !path.is_empty() && path != "/" {
            return Err("has a path, which only http:// targets have".to_owned());
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        check_path(&path)?;
        let default = (protocol == Protocol::Http).then_some(80);
        let place = place(authority, default).ok_or(expected)?;
        Ok(Self { protocol, authority: authority.to_owned(), place, path })
    }

    /// Returns the protocol.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Returns host and port as they were written.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Returns the path of the requests.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns all addresses of the host.
    ///
    /// # Errors
    ///
    /// When the name cannot be resolved.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let (host, port) = &self.place;
        Ok((host.as_str(), *port).to_socket_addrs()?.collect())
    }
}

/// Refuses a path that cannot stand in a request line.
///
/// # Errors
///
/// The predicate of a sentence whose subject is the path.
pub(super) fn check_path(path: &str) -> Result<(), String> {
    let is_plain = path.bytes().all(|byte| byte.is_ascii_graphic());
    if !path.starts_with('/') || !is_plain || path.contains('#') {
        return Err("has a path that cannot stand in a request line".to_owned());
    }
    Ok(())
}

fn place(authority: &str, default: Option<u16>) -> Option<(String, u16)> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let port = match port {
        Some(port) => port.parse::<u16>().ok().filter(|port| *port > 0)?,
        None => default?,
    };
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_bare_v6 = inner.is_none() && host.contains(':');
    let host = inner.unwrap_or(host);
    let is_plain = host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'@');
    (!host.is_empty() && !is_bare_v6 && is_plain).then(|| (host.to_owned(), port))
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol {
            Protocol::Http => write!(f, "http://{}{}", self.authority, self.path),
            Protocol::Line => write!(f, "line://{}", self.authority),
            Protocol::Echo => write!(f, "echo://{}", self.authority),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_and_shown() {
        for text in ["http://127.0.0.1:8080/", "http://[::1]:80/a?b=c", "line://h:1", "echo://h:2"]
        {
            assert_eq!(Target::parse(text).map(|target| target.to_string()), Ok(text.to_owned()));
        }
        let target = Target::parse("http://localhost").unwrap();
        assert_eq!((target.path(), target.place.1), ("/", 80));
        assert_eq!(Target::parse("http://h:1?q").unwrap().path(), "/?q");
    }

    #[test]
    fn nonsense_is_refused() {
        let texts = [
            "",
            "h:1",
            "ftp://h:1",
            "https://h:1",
            "line://h",
            "http://:1",
            "http://h:0",
            "echo://",
        ];
        for text in texts.into_iter().chain(["line://h:1/x", "http://h:1/a b", "http://::1:80/"]) {
            assert!(Target::parse(text).is_err(), "{text}");
        }
    }
}
