//! A worker's part of the plan.

/// A worker's part of the plan.
#[derive(Clone, Debug)]
pub(in crate::load) struct WorkerPlan {
    /// The worker's number, and how many there are.
    pub(in crate::load) id: usize,
    pub(in crate::load) threads: usize,
    /// Its slots, and the number of its first one among those of all workers.
    pub(in crate::load) slots: usize,
    pub(in crate::load) active: usize,
    pub(in crate::load) first: usize,
    /// How many of the slots each step of a ramp opens; empty without a ramp.
    pub(in crate::load) steps: Vec<usize>,
    /// How many messages it may begin in the measured time.
    pub(in crate::load) messages: Option<u64>,
}
