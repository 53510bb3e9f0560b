//! A whole event loop as a task of tokio: one descriptor in an `AsyncFd`.
//!
//! `cargo run --example async_fd [ADDRESS]`, then `nc 127.0.0.1 5388`; Enter stops it.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use netgrace::{Config, EventLoop, Grade, Report, Server};
use tokio::io::unix::AsyncFd;

/// Runs a loop to the end of its stop without ever blocking the executor.
pub(crate) async fn run(event_loop: EventLoop) -> io::Result<Report> {
    #[expect(deprecated, reason = "its successor is unsafe to call, which this package forbids")]
    let mut event_loop = AsyncFd::new(event_loop)?;
    loop {
        let inner = event_loop.get_mut();
        let count = inner.turn(Some(Duration::ZERO));
        if inner.is_finished() {
            return Ok(inner.run());
        }
        match inner.next_deadline() {
            Some(deadline) if deadline <= Instant::now() => tokio::task::yield_now().await,
            _ if count > 0 => tokio::task::yield_now().await,
            deadline => sleep(&mut event_loop, deadline).await?,
        }
    }
}

/// Waits for the descriptor or the deadline. Clears the readiness before the next turn, not after
/// it, so that no edge is lost.
async fn sleep(event_loop: &mut AsyncFd<EventLoop>, deadline: Option<Instant>) -> io::Result<()> {
    let readable = async {
        event_loop.readable_mut().await?.clear_ready();
        Ok(())
    };
    match deadline {
        None => readable.await,
        Some(deadline) => {
            tokio::time::timeout_at(deadline.into(), readable).await.unwrap_or(Ok(()))
        }
    }
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:5388".to_owned());
    let address: SocketAddr = address.parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(async {
        let event_loop = EventLoop::new(Server::bind(address, Config::new())?)?;
        let address = event_loop.server().local_addr().ok_or("no address")?;
        println!("echo on {address}\nEnter stops");
        let handle = event_loop.shutdown_handle();
        tokio::task::spawn_blocking(move || {
            // An error is an end of the input too.
            let _read = io::stdin().read_line(&mut String::new());
            handle.begin_shutdown();
        });
        Ok::<_, Box<dyn Error>>(tokio::spawn(run(event_loop)).await??)
    })?;
    println!("{report}");
    Ok(report.exit_code(Grade::Lossless).into())
}
