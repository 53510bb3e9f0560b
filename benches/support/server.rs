//! One server under load: a child process, its clocks and its memory.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::param::clock_ticks_per_second;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use super::foreign;
use super::machine::pin;
use super::peer;
use super::service::Service;

/// A server is to listen within this.
const START_WITHIN: Duration = Duration::from_secs(10);
/// The threads of an event loop at most.
const FEW: usize = 16;

/// A program that can be under load.
#[derive(Clone, Debug)]
pub enum Program {
    Netgrace {
        args: &'static [&'static str],
    },
    /// This program as one of [`peer::NAMES`].
    Own(&'static str),
    /// An executable that takes a port.
    Foreign {
        name: String,
        path: PathBuf,
    },
    /// The C server of this package for a service.
    C(Service),
    Nginx,
}

impl Program {
    pub fn name(&self) -> &str {
        match self {
            Self::Netgrace { .. } => "netgrace",
            Self::Own(name) => name,
            Self::Foreign { name, .. } => name,
            Self::C(Service::Echo) => "c-echo",
            Self::C(Service::Line) => "c-line",
            Self::C(Service::Http) => "c-http",
            Self::Nginx => "nginx",
        }
    }

    /// Returns whether it can be compared for a service.
    pub fn serves(&self, service: Service) -> bool {
        match self {
            Self::Netgrace { .. } => true,
            Self::Own(_) | Self::Foreign { .. } => service == Service::Echo,
            Self::C(own) => *own == service,
            Self::Nginx => service == Service::Http,
        }
    }

    /// All peers: our own, and every `peer-NAME` in the directory that `NETGRACE_PEERS` names.
    pub fn peers() -> io::Result<Vec<Self>> {
        let mut peers: Vec<_> = peer::NAMES.into_iter().map(Self::Own).collect();
        peers.extend([Service::Echo, Service::Line, Service::Http].map(Self::C));
        peers.push(Self::Nginx);
        let Some(directory) = env::var_os("NETGRACE_PEERS") else { return Ok(peers) };
        let mut foreign = Vec::new();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Some(name) = file.strip_prefix("peer-").filter(|_| path.is_file()) else {
                continue;
            };
            let name = if peer::NAMES.contains(&name) { &file } else { name };
            foreign.push(Self::Foreign { name: name.to_owned(), path: path.clone() });
        }
        foreign.sort_by(|a, b| a.name().cmp(b.name()));
        peers.extend(foreign);
        Ok(peers)
    }
}

/// A running server, killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    pub addr: SocketAddr,
}

impl Server {
    /// Starts a program on the first of the cores; the caller stays on the second.
    pub fn start(
        program: &Program,
        service: Service,
        cores: Option<(usize, usize)>,
    ) -> io::Result<Self> {
        let Some((server, load)) = cores else { return Self::spawn(program, service) };
        pin(server)?;
        let started = Self::spawn(program, service);
        pin(load)?;
        started
    }

    fn spawn(program: &Program, service: Service) -> io::Result<Self> {
        let port = match program {
            Program::Netgrace { .. } | Program::Own(_) => 0,
            Program::Foreign { .. } | Program::C(_) | Program::Nginx => {
                TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port()
            }
        };
        let file = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("peers-{}.port", std::process::id()));
        let mut command = match program {
            Program::Netgrace { args } => {
                let mut command = foreign::mortal(env!("CARGO_BIN_EXE_netgrace"));
                command.args(["serve", "--listen", "127.0.0.1:0", "-q", "--port-file"]);
                command.arg(&file).args(service.args()).args(*args);
                command
            }
            Program::Own(name) => {
                let mut command = foreign::mortal(env::current_exe()?);
                command.args(["--peer", name]).stdout(Stdio::piped());
                command
            }
            Program::Foreign { path, .. } => {
                let mut command = foreign::mortal(path);
                command.arg(port.to_string()).stdout(Stdio::null());
                command
            }
            Program::C(service) => foreign::c(*service, port)?,
            Program::Nginx => foreign::nginx(port)?,
        };
        let child = command.stdin(Stdio::null()).spawn()?;
        let mut server = Self { child, addr: (Ipv4Addr::LOCALHOST, port).into() };
        match program {
            Program::Netgrace { .. } => {
                server.addr =
                    server.wait(|| fs::read_to_string(&file).ok()?.trim().parse().ok())?;
                fs::remove_file(&file)?;
            }
            Program::Own(_) => {
                let mut line = String::new();
                if let Some(stdout) = server.child.stdout.take() {
                    BufReader::new(stdout).read_line(&mut line)?;
                }
                server.addr.set_port(line.trim().parse().map_err(io::Error::other)?);
            }
            Program::Foreign { .. } | Program::C(_) | Program::Nginx => {
                let addr = server.addr;
                // A connect to a port that nobody has may be given that very port.
                let other = |stream: &TcpStream| stream.local_addr().ok() != Some(addr);
                server.wait(|| TcpStream::connect(addr).ok().filter(other))?;
            }
        }
        Ok(server)
    }

    /// Waits until the server says that it listens.
    fn wait<T>(&mut self, look: impl Fn() -> Option<T>) -> io::Result<T> {
        let began = Instant::now();
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("ended before it listened ({status})")));
            }
            if began.elapsed() > START_WITHIN {
                return Err(io::ErrorKind::TimedOut.into());
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn pid(&self) -> io::Result<Pid> {
        Pid::from_raw(self.child.id() as i32).ok_or_else(|| io::Error::other("no process id"))
    }

    pub fn stop(&self) -> io::Result<()> {
        Ok(kill_process(self.pid()?, Signal::TERM)?)
    }

    /// Turns readable when the process has ended.
    pub fn pidfd(&self) -> io::Result<OwnedFd> {
        Ok(pidfd_open(self.pid()?, PidfdFlags::empty())?)
    }

    fn proc(&self, file: &str) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string()).join(file)
    }

    /// The CPU time of all its threads, those that have ended too. To the nanosecond where there
    /// are few, which are taken to stay; to the clock tick where there are many.
    pub fn cpu(&self) -> io::Result<Duration> {
        let tasks: Vec<_> = fs::read_dir(self.proc("task"))?.collect::<Result<_, _>>()?;
        if tasks.len() <= FEW {
            let mut nanos = 0;
            for task in tasks {
                let text = fs::read_to_string(task.path().join("schedstat"))?;
                nanos += number(text.split_whitespace().next());
            }
            return Ok(Duration::from_nanos(nanos));
        }
        let stat = fs::read_to_string(self.proc("stat"))?;
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let times = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = times.map(|field| number(Some(field))).sum();
        Ok(Duration::from_secs(ticks) / clock_ticks_per_second() as u32)
    }

    /// Its resident memory in bytes.
    pub fn memory(&self) -> io::Result<u64> {
        let text = fs::read_to_string(self.proc("smaps_rollup"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
        Ok(number(line.and_then(|line| line.split_whitespace().next())) << 10)
    }
}

fn number(text: Option<&str>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("process {} cannot be ended: {error}", self.child.id());
        }
    }
}
