//! The effective settings of `netgrace serve`, from the flags, the environment and the limits.

use std::fmt;
use std::net::IpAddr;

use netgrace::{Config, Drain};

use crate::cli::address::{ListenAddress, listen_address};
use crate::cli::failure::Failure;
use crate::cli::limits::{self, OpenFiles};
use crate::cli::serve::args::{DrainMode, ProtocolName, ServeArgs};
use crate::cli::units::{self, Timeout};

/// The default address: this machine only.
const DEFAULT_LISTEN: &str = "127.0.0.1:5388";

/// The size of the answer to GET.
const DEFAULT_BODY: u64 = 13;

/// More than any machine has memory for, and within what [`Config`] takes.
const CONNECTIONS_MAX: u64 = 1 << 30;

/// The sockets of `--admin` at most: its listener and its clients.
pub(crate) const ADMIN_SOCKETS: u64 = 65;

/// All that is decided before anything is started.
#[derive(Debug)]
pub(crate) struct Settings<'a> {
    args: &'a ServeArgs,
    /// At least one.
    pub(crate) listen: Vec<ListenAddress>,
    /// The open-file limit on which the number of connections is based.
    pub(crate) files: OpenFiles,
    /// `None` if there is no limit.
    connections: Option<u64>,
    /// The length of each accept queue; `None` if it is unknown.
    pub(crate) backlog: Option<u32>,
}

impl<'a> Settings<'a> {
    /// Combines the settings. Addresses without a flag come first, then those of `--listen`;
    /// `NETGRACE_LISTEN`, then the default, apply if there are none.
    ///
    /// # Errors
    ///
    /// If the flags contradict each other, or the limits do not allow what they ask for.
    pub(crate) fn gather(
        args: &'a ServeArgs,
        first: &[ListenAddress],
        files: OpenFiles,
    ) -> Result<Self, Failure> {
        let mut listen: Vec<ListenAddress> = first.iter().chain(&args.listen).cloned().collect();
        if listen.is_empty() {
            listen = from_environment()?;
        }
        if listen.iter().filter(|address| **address == ListenAddress::Systemd).count() > 1 {
            return Err(Failure::usage(
                "--listen systemd takes all sockets that are passed in: give it once",
            ));
        }
        if let Timeout::After(budget) = args.shutdown_timeout
            && !args.lame_duck.is_zero()
            && args.lame_duck >= budget
        {
            return Err(Failure::usage(format!(
                "--lame-duck {} must be shorter than --shutdown-timeout {}, out of which it comes",
                units::format_duration(args.lame_duck),
                units::format_duration(budget),
            )));
        }
        check_protocol(args)?;
        let admin = if args.admin.is_some() { ADMIN_SOCKETS } else { 0 };
        let sockets = listen.iter().map(sockets).fold(0, u64::saturating_add);
        let others = sockets.saturating_add(admin);
        let connections = files.connections(args.max_conns, others)?;
        let connections = match args.max_conns {
            Some(_) => connections,
            None => connections.map(|fit| fit.min(CONNECTIONS_MAX)),
        };
        let system = limits::somaxconn();
        let backlog = match (args.backlog, system) {
            (Some(wanted), Some(cap)) => Some(wanted.min(cap)),
            (wanted, system) => wanted.or(system),
        };
        Ok(Self { args, listen, files, connections, backlog })
    }

    /// Returns the settings as the library takes them.
    pub(crate) fn config(&self) -> Config {
        let args = self.args;
        let mut config = Config::new()
            .idle_timeout(args.idle_timeout.limit())
            .shutdown_timeout(args.shutdown_timeout.limit())
            .drain(drain(args.drain))
            .idle_grace(args.idle_grace)
            .linger(args.linger)
            .handshake_grace(args.handshake_grace)
            .lame_duck(args.lame_duck)
            .nodelay(!args.nagle)
            .reuse_port(args.reuse_port)
            .user_timeout(args.user_timeout.limit())
            .keepalive(args.keepalive.limit());
        if let Some(backlog) = args.backlog {
            config = config.backlog(backlog);
        }
        if let Some(connections) = self.connections {
            config = config.max_connections(saturated(connections));
        }
        if let Some(connections) = args.max_per_ip {
            config = config.max_per_ip(saturated(connections));
        }
        if let Some(bytes) = args.max_held {
            config = config.max_held(saturated(bytes));
        }
        if let Some(bytes) = args.rcvbuf {
            config = config.recv_buffer(saturated(bytes));
        }
        if let Some(bytes) = args.sndbuf {
            config = config.send_buffer(saturated(bytes));
        }
        config
    }

    /// Whether the accept queue will be shorter than requested.
    pub(crate) fn is_backlog_capped(&self) -> bool {
        self.args.backlog.is_some_and(|wanted| self.backlog.is_some_and(|given| given < wanted))
    }
}

/// One setting a line, named as its flag.
impl fmt::Display for Settings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let args = self.args;
        let mut line = |name: &str, value: &str| writeln!(f, "{name:<18}{value}");
        for address in &self.listen {
            line("listen", &address.to_string())?;
        }
        line("protocol", protocol_name(args.protocol))?;
        let delay = args.delay.unwrap_or_default();
        line("delay", &units::format_duration(delay))?;
        line("body", &units::format_size(args.body.unwrap_or(DEFAULT_BODY)))?;
        line("port-file", &path(args.port_file.as_ref()))?;
        line("backlog", &self.backlog.map_or_else(|| "system".to_owned(), |b| b.to_string()))?;
        let connections =
            self.connections.map_or_else(|| "unlimited".to_owned(), |n| n.to_string());
        line("max-conns", &connections)?;
        let per_ip = args.max_per_ip.map_or_else(|| "off".to_owned(), |n| n.to_string());
        line("max-per-ip", &per_ip)?;
        let held = args.max_held.map_or_else(|| "off".to_owned(), units::format_size);
        line("max-held", &held)?;
        line("nofile", &format!("{} (hard limit {})", self.files, self.files.hard()))?;
        line("idle-timeout", &or_off(args.idle_timeout))?;
        line("shutdown-timeout", &args.shutdown_timeout.to_string())?;
        line("drain", &drain(args.drain).to_string())?;
        line("idle-grace", &units::format_duration(args.idle_grace))?;
        line("linger", &units::format_duration(args.linger))?;
        line("handshake-grace", &units::format_duration(args.handshake_grace))?;
        line("lame-duck", &units::format_duration(args.lame_duck))?;
        line("nagle", on_or_off(args.nagle))?;
        line("rcvbuf", &size(args.rcvbuf))?;
        line("sndbuf", &size(args.sndbuf))?;
        line("reuse-port", on_or_off(args.reuse_port))?;
        line("user-timeout", &or_off(args.user_timeout))?;
        line("keepalive", &or_off(args.keepalive))?;
        line("busy-poll", &or_off(args.busy_poll))?;
        let admin = args.admin.as_ref().map_or_else(|| "off".to_owned(), ToString::to_string);
        line("admin", &admin)?;
        line("report", &path(args.report.as_ref()))?;
        line("strict", on_or_off(args.strict))?;
        line("stats", &or_off(args.stats))
    }
}

/// Whether the sockets that a service manager passes in are to be used.
#[cfg(feature = "systemd")]
pub(crate) fn wants_systemd(args: &ServeArgs, first: &[ListenAddress]) -> bool {
    let mut flags = first.iter().chain(&args.listen).peekable();
    match flags.peek() {
        Some(_) => flags.any(|address| *address == ListenAddress::Systemd),
        None => from_environment().is_ok_and(|listen| listen.contains(&ListenAddress::Systemd)),
    }
}

/// The number of sockets that an address takes: one for each address of a name, usually two.
fn sockets(address: &ListenAddress) -> u64 {
    match address {
        ListenAddress::Tcp { host, .. } if host.parse::<IpAddr>().is_err() => 2,
        _ => 1,
    }
}

fn from_environment() -> Result<Vec<ListenAddress>, Failure> {
    let value = std::env::var_os("NETGRACE_LISTEN").unwrap_or_default();
    let value = value.to_string_lossy();
    let separators = |c: char| c.is_whitespace() || c == ',';
    let is_empty = value.chars().all(separators);
    let value = if is_empty { DEFAULT_LISTEN.into() } else { value };
    let texts = value.split(separators).filter(|text| !text.is_empty());
    let addresses = texts.map(|text| {
        listen_address(text).map_err(|why| {
            Failure::usage(format!("invalid value {text:?} in NETGRACE_LISTEN: {why}"))
        })
    });
    addresses.collect()
}

/// Checks that the flags of protocols do something.
fn check_protocol(args: &ServeArgs) -> Result<(), Failure> {
    let protocol = args.protocol;
    let is_idle = match protocol {
        ProtocolName::Echo | ProtocolName::Discard => args.delay.map(|_| ("--delay", "line, http")),
        ProtocolName::Line | ProtocolName::Http => None,
    };
    let has_no_body = args.body.filter(|_| protocol != ProtocolName::Http);
    match is_idle.or_else(|| has_no_body.map(|_| ("--body", "http"))) {
        None => Ok(()),
        Some((flag, with)) => Err(Failure::usage(format!(
            "{flag} does nothing with --protocol {}: it is for {with}",
            protocol_name(protocol)
        ))),
    }
}

fn protocol_name(protocol: ProtocolName) -> &'static str {
    match protocol {
        ProtocolName::Echo => "echo",
        ProtocolName::Discard => "discard",
        ProtocolName::Line => "line",
        ProtocolName::Http => "http",
    }
}

fn drain(mode: DrainMode) -> Drain {
    match mode {
        DrainMode::Idle => Drain::Idle,
        DrainMode::Flush => Drain::Flush,
        DrainMode::Peer => Drain::Peer,
    }
}

/// Converts a number; one too large for this machine is above every bound that the library checks.
fn saturated(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn or_off(timeout: Timeout) -> String {
    timeout.limit().map_or_else(|| "off".to_owned(), units::format_duration)
}

fn on_or_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

fn size(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "system".to_owned(), units::format_size)
}

fn path(path: Option<&std::path::PathBuf>) -> String {
    path.map_or_else(|| "none".to_owned(), |path| format!("{path:?}"))
}

/// Replaces the name of a [`Config`] setter in a message by that of its flag.
pub(crate) fn in_flags(message: &str) -> String {
    let flags = [
        ("max_connections ", "--max-conns "),
        ("backlog ", "--backlog "),
        ("recv_buffer ", "--rcvbuf "),
        ("send_buffer ", "--sndbuf "),
        ("user_timeout ", "--user-timeout "),
        ("keepalive ", "--keepalive "),
        ("max_per_ip ", "--max-per-ip "),
        ("max_held ", "--max-held "),
    ];
    let found = flags.iter().find_map(|(field, flag)| {
        let rest = message.strip_prefix(field)?;
        Some(format!("{flag}{rest}"))
    });
    found.unwrap_or_else(|| message.to_owned())
}
