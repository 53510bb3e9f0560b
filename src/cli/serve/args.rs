//! The flags of `netgrace serve`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::cli::address::{ListenAddress, admin_address, listen_address};
use crate::cli::filter::Verbosity;
use crate::cli::limits::{self, Nofile};
use crate::cli::units::{self, Timeout};

/// `netgrace serve`: the same flags as the bare command, and addresses without a flag.
#[derive(Debug, Args)]
pub(crate) struct ServeCommand {
    /// Address to listen on, as with --listen
    #[arg(value_name = "ADDR", value_parser = listen_address)]
    pub(crate) addresses: Vec<ListenAddress>,

    /// The flags.
    #[command(flatten)]
    pub(crate) flags: ServeArgs,
}

/// The flags of `netgrace` and `netgrace serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Address to listen on: host:port (all addresses of a name), [v6]:port, unix:PATH, unix:@NAME
    /// (abstract), systemd (sockets passed in); port 0 for any free one; repeatable [default:
    /// 127.0.0.1:5388] [env: NETGRACE_LISTEN]
    #[arg(short, long, value_name = "ADDR", value_parser = listen_address)]
    #[arg(help_heading = "Listening")]
    pub(crate) listen: Vec<ListenAddress>,

    /// What clients are served
    #[arg(long, value_name = "NAME", value_enum, default_value_t, help_heading = "Protocol")]
    pub(crate) protocol: ProtocolName,

    /// Answer each request only after this time (line, http) [default: 0s]
    #[arg(long, value_name = "DUR", value_parser = units::duration, help_heading = "Protocol")]
    pub(crate) delay: Option<Duration>,

    /// Size of the answer to GET (http) [default: 13B]
    #[arg(long, value_name = "SIZE", value_parser = units::size, help_heading = "Protocol")]
    pub(crate) body: Option<u64>,

    /// Write the bound addresses here, one a line, once all are listening; - for stdout
    #[arg(long, value_name = "FILE|-", help_heading = "Listening")]
    pub(crate) port_file: Option<PathBuf>,

    /// Accept queue of each listener [default: the system's somaxconn]
    #[arg(long, value_name = "N", value_parser = backlog, help_heading = "Listening")]
    pub(crate) backlog: Option<u32>,

    /// Let several processes listen on one port (SO_REUSEPORT)
    #[arg(long, help_heading = "Listening")]
    pub(crate) reuse_port: bool,

    /// Connections at once; further ones wait in the accept queue [default: the open-file limit
    /// less what the process itself needs]
    #[arg(short, long, value_name = "N", value_parser = units::positive_count)]
    #[arg(help_heading = "Limits")]
    pub(crate) max_conns: Option<u64>,

    /// Connections from one address at once; further ones are closed when they are accepted
    #[arg(long, value_name = "N", value_parser = units::positive_count, help_heading = "Limits")]
    pub(crate) max_per_ip: Option<u64>,

    /// Pending output of all connections together; above it reading pauses
    #[arg(long, value_name = "SIZE", value_parser = units::size, help_heading = "Limits")]
    pub(crate) max_held: Option<u64>,

    /// Soft limit of open files: a number, max (the hard limit) or keep
    #[arg(long, value_name = "N|max|keep", default_value = "max", help_heading = "Limits")]
    #[arg(value_parser = limits::nofile)]
    pub(crate) nofile: Nofile,

    /// Close a connection that moved no byte either way for this long
    #[arg(long, value_name = "DUR", default_value = "off", help_heading = "Limits")]
    #[arg(value_parser = units::optional_timeout)]
    pub(crate) idle_timeout: Timeout,

    /// Budget of the whole stop; connections left then are reset; infinity for none
    #[arg(long, value_name = "DUR", default_value = "8s", help_heading = "Stopping")]
    #[arg(value_parser = units::timeout)]
    pub(crate) shutdown_timeout: Timeout,

    /// When a connection is done once the stop has begun
    #[arg(long, value_name = "MODE", value_enum, default_value_t, help_heading = "Stopping")]
    pub(crate) drain: DrainMode,

    /// Quiet time that makes a connection done under --drain idle
    #[arg(long, value_name = "DUR", default_value = "200ms", help_heading = "Stopping")]
    #[arg(value_parser = units::duration)]
    pub(crate) idle_grace: Duration,

    /// After the last byte and our end of stream, wait this long for the peer's
    #[arg(long, value_name = "DUR", default_value = "1s", help_heading = "Stopping")]
    #[arg(value_parser = units::duration)]
    pub(crate) linger: Duration,

    /// At a stop, wait at most this long for half-open handshakes to complete; 0s: not at all
    #[arg(long, value_name = "DUR", default_value = "1500ms", help_heading = "Stopping")]
    #[arg(value_parser = units::duration)]
    pub(crate) handshake_grace: Duration,

    /// Go on accepting this long after the stop request (for load balancers)
    #[arg(long, value_name = "DUR", default_value = "0s", help_heading = "Stopping")]
    #[arg(value_parser = units::duration)]
    pub(crate) lame_duck: Duration,

    /// Exit 0 only for a stop of grade complete
    #[arg(long, help_heading = "Stopping")]
    pub(crate) strict: bool,

    /// Leave Nagle's algorithm on (TCP_NODELAY off)
    #[arg(long, help_heading = "Sockets")]
    pub(crate) nagle: bool,

    /// Receive buffer of each connection [default: the system's]
    #[arg(long, value_name = "SIZE", value_parser = units::size, help_heading = "Sockets")]
    pub(crate) rcvbuf: Option<u64>,

    /// Send buffer of each connection [default: the system's]
    #[arg(long, value_name = "SIZE", value_parser = units::size, help_heading = "Sockets")]
    pub(crate) sndbuf: Option<u64>,

    /// Reset a peer that acknowledges nothing for this long (TCP_USER_TIMEOUT)
    #[arg(long, value_name = "DUR", default_value = "off", help_heading = "Sockets")]
    #[arg(value_parser = units::optional_timeout)]
    pub(crate) user_timeout: Timeout,

    /// Probe a peer that has been silent for this long (SO_KEEPALIVE)
    #[arg(long, value_name = "DUR", default_value = "off", help_heading = "Sockets")]
    #[arg(value_parser = units::optional_timeout)]
    pub(crate) keepalive: Timeout,

    /// Spin this long after the last event before sleeping: latency for CPU time
    #[arg(long, value_name = "DUR", default_value = "off", help_heading = "Sockets")]
    #[arg(value_parser = units::optional_timeout)]
    pub(crate) busy_poll: Timeout,

    /// Write the report of the stop here as one JSON object; - for stdout
    #[arg(long, value_name = "FILE|-", help_heading = "Output")]
    pub(crate) report: Option<PathBuf>,

    /// Log the counters this often (SIGUSR1: at once)
    #[arg(long, value_name = "DUR", default_value = "off", help_heading = "Output")]
    #[arg(value_parser = units::optional_timeout)]
    pub(crate) stats: Timeout,

    /// Serve /healthz, /metrics and /report over HTTP here: host:port, or a port of 127.0.0.1
    #[arg(long, value_name = "ADDR", value_parser = admin_address, help_heading = "Output")]
    pub(crate) admin: Option<ListenAddress>,

    /// Print the effective settings and limits on stdout, start nothing
    #[arg(long, help_heading = "Output")]
    pub(crate) dry_run: bool,

    /// How much is logged.
    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
}

/// What clients are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProtocolName {
    /// What comes is sent back (RFC 862)
    #[default]
    Echo,
    /// What comes is thrown away (RFC 863)
    Discard,
    /// Every line is answered with itself
    Line,
    /// HTTP/1.1: GET, HEAD, POST; GET /bytes/N is answered with N bytes
    Http,
}

/// When a connection is done once the stop has begun.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum DrainMode {
    /// What has arrived is answered, and no byte moved for --idle-grace
    #[default]
    Idle,
    /// What has arrived is answered
    Flush,
    /// The peer has closed
    Peer,
}

fn backlog(text: &str) -> Result<u32, units::UnitError> {
    let count = units::positive_count(text)?;
    // listen(2) takes an int.
    u32::try_from(count).ok().filter(|count| *count <= 0x7fff_ffff).ok_or_else(units::too_large)
}
