//! One figure of one server.

use std::io;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use netgrace::load::{self, Observer, Phase, Plan, Results};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

use super::case::{Case, Figure, Scale};
use super::server::{Program, Server};

/// Connections that a server has had before its memory is looked at for the first time.
const WARM_UP: usize = 10;
/// A stop that takes longer has failed.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// Measures a server that is started for this and ended afterwards. No finite number: there was
/// nothing to count.
pub fn measure(
    case: &Case,
    program: &Program,
    scale: Scale,
    cores: Option<(usize, usize)>,
) -> Result<f64, String> {
    let told = |error: io::Error| error.to_string();
    let server = Server::start(program, case.service, cores).map_err(told)?;
    if case.figure == Figure::CpuPerRequest {
        return per_request(case, &server, scale);
    }
    let mut base = 0;
    if case.figure == Figure::Memory {
        let mut plan = case.plan(&server, scale);
        (plan.connections, plan.messages) = (WARM_UP, Some(WARM_UP as u64));
        run(plan, &mut Watch::new(&server))?;
        base = server.memory().map_err(told)?;
    }
    let mut watch = Watch::new(&server);
    let results = run(case.plan(&server, scale), &mut watch)?;
    if let Some(error) = watch.failed {
        return Err(error.to_string());
    }
    let is_stop = case.figure == Figure::Stop;
    if results.load.messages == 0 && !is_stop {
        return Err("no message came back".to_owned());
    }
    let connections = case.connections(scale) as f64;
    let cpu = watch.cpu.as_secs_f64() * 1e6;
    Ok(match case.figure {
        Figure::CpuPerMessage | Figure::CpuPerRequest => cpu / results.load.messages as f64,
        Figure::CpuPerMib => cpu / (results.load.message_bytes as f64 / f64::from(1 << 20)),
        Figure::CpuPerConnection => cpu / results.connect.churned as f64,
        Figure::Memory => watch.memory.saturating_sub(base) as f64 / connections,
        Figure::Opened => connections / results.connect.elapsed.as_secs_f64(),
        Figure::Stop => ended(watch.end)?.as_secs_f64() * 1e3,
        Figure::RoundTrip => results.latency.percentile(50.0).unwrap_or(0) as f64 / 1e3,
    })
}

/// The CPU time of a server for each request of the measured time.
fn per_request(case: &Case, server: &Server, scale: Scale) -> Result<f64, String> {
    let mut marks = Vec::new();
    let mark = || server.cpu().map(|cpu| marks.push(cpu));
    let answers = case.requests(scale).run(server.addr, mark)?;
    let [begin, end] = marks[..] else { return Err("the load was not measured".to_owned()) };
    Ok(end.saturating_sub(begin).as_secs_f64() * 1e6 / answers as f64)
}

/// Runs a load in which nothing may be lost, but by the stop of a server that does not care.
fn run(plan: Plan, watch: &mut Watch<'_>) -> Result<Results, String> {
    let connections = plan.connections as u64;
    let results = load::run(plan, watch).map_err(|error| error.to_string())?;
    let (load, errors) = (&results.load, &results.errors);
    if results.connect.established != connections {
        let established = results.connect.established;
        return Err(format!("{established} of {connections} connections were opened: {errors:?}"));
    }
    if !load.is_exact() || errors.total() > 0 {
        let (wrong, missing) = (load.wrong_bytes, load.missing_bytes);
        return Err(format!("{wrong} bytes wrong, {missing} missing: {errors:?}"));
    }
    Ok(results)
}

type End = JoinHandle<io::Result<Duration>>;

fn ended(end: Option<End>) -> Result<Duration, String> {
    let end = end.ok_or("the server was never told to stop")?;
    let time = end.join().map_err(|_| "the watch of the process failed")?;
    time.map_err(|error| error.to_string())
}

/// Looks at the server when the measured time begins and ends, and stops it.
struct Watch<'s> {
    server: &'s Server,
    cpu: Duration,
    memory: u64,
    end: Option<End>,
    failed: Option<io::Error>,
}

impl<'s> Watch<'s> {
    fn new(server: &'s Server) -> Self {
        Self { server, cpu: Duration::ZERO, memory: 0, end: None, failed: None }
    }

    fn look(&mut self, phase: Phase) -> io::Result<()> {
        match phase {
            Phase::Measuring => self.cpu = self.server.cpu()?,
            Phase::Settling => {
                self.cpu = self.server.cpu()?.saturating_sub(self.cpu);
                self.memory = self.server.memory()?;
            }
            _ => {}
        }
        Ok(())
    }
}

impl Observer for Watch<'_> {
    fn entered(&mut self, phase: Phase) {
        if let Err(error) = self.look(phase) {
            self.failed = Some(error);
        }
    }

    fn stop_server(&mut self) -> io::Result<()> {
        let process = self.server.pidfd()?;
        self.end = Some(thread::spawn(move || {
            let began = Instant::now();
            let mut ends = [PollFd::new(&process, PollFlags::IN)];
            let limit = Timespec::try_from(STOP_WITHIN).map_err(io::Error::other)?;
            match poll(&mut ends, Some(&limit))? {
                0 => Err(io::ErrorKind::TimedOut.into()),
                _ => Ok(began.elapsed()),
            }
        }));
        self.server.stop()
    }

    fn is_server_gone(&mut self) -> Option<bool> {
        Some(self.end.as_ref()?.is_finished())
    }
}
