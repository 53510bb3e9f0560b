//! The workers' threads, and how a plan is split among them.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use mio::Waker;

use crate::error::{Error, ErrorKind};
use crate::load::control::Gauges;
use crate::load::plan::Plan;
use crate::load::worker::{Shared, Worker, WorkerPlan};

/// Splits the plan among the workers.
pub(super) fn worker_plans(plan: &Plan) -> Vec<WorkerPlan> {
    let threads = plan.threads.min(plan.connections).max(1);
    let part = |whole: usize, id: usize| {
        let each = whole.checked_div(threads).unwrap_or(0);
        let rest = whole.checked_rem(threads).unwrap_or(0);
        each.saturating_add(usize::from(id < rest))
    };
    let mut first = 0_usize;
    (0..threads)
        .map(|id| {
            let slots = part(plan.connections, id);
            let messages = plan.messages.map(|all| {
                let all = usize::try_from(all).unwrap_or(usize::MAX);
                u64::try_from(part(all, id)).unwrap_or(u64::MAX)
            });
            let active = part(plan.active_connections(), id).min(slots);
            let steps = plan.steps.iter().map(|step| part(*step, id)).collect();
            let worker_plan = WorkerPlan { id, threads, slots, active, first, steps, messages };
            first = first.saturating_add(slots);
            worker_plan
        })
        .collect()
}

/// A worker's thread, as the coordinator holds it.
pub(super) struct WorkerHandle {
    pub(super) thread: Option<JoinHandle<()>>,
    pub(super) waker: Waker,
    pub(super) gauges: Arc<Gauges>,
}

impl WorkerHandle {
    pub(super) fn start(shared: &Shared, worker_plan: WorkerPlan) -> Result<Self, Error> {
        let gauges = Arc::new(Gauges::default());
        let name = format!("load-{}", worker_plan.id);
        let (worker, waker) = Worker::new(shared.clone(), worker_plan, Arc::clone(&gauges))
            .map_err(|error| Error::io(ErrorKind::Poll, "a poll for the load generator", error))?;
        let thread = thread::Builder::new().name(name).spawn(|| worker.run());
        let thread = thread.map_err(|error| {
            Error::io(ErrorKind::Poll, "a thread for the load generator", error)
        })?;
        Ok(Self { thread: Some(thread), waker, gauges })
    }
}
