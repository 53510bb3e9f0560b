//! What the engine goes by: a configuration in the units of its clock.

use super::deadline::Limit;
use crate::config::{Config, Drain};

/// The settings that connections are judged by.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) drain: Drain,
    pub(crate) idle_timeout: Limit,
    pub(crate) idle_grace: Limit,
    pub(crate) linger: Limit,
    /// Age order is kept at a resolution of 2^n ms.
    pub(crate) span_bits: u32,
    pub(crate) max_held: usize,
    /// The kernel gives peers up by a time limit of ours.
    pub(crate) user_timeout: bool,
}

impl Settings {
    pub(crate) fn new(config: &Config) -> Self {
        let idle_timeout = Limit::new(config.idle_timeout.filter(|timeout| !timeout.is_zero()));
        let idle_grace = Limit::new(Some(config.idle_grace));
        let finest = [idle_timeout.span_bits(32), idle_grace.span_bits(8)];
        Self {
            drain: config.drain,
            idle_timeout,
            idle_grace,
            linger: Limit::new(Some(config.linger)),
            span_bits: finest.into_iter().flatten().min().unwrap_or(0),
            max_held: config.max_held.unwrap_or(usize::MAX),
            user_timeout: config.user_timeout.is_some(),
        }
    }
}
