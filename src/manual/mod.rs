//! The manual of the program: recipes, and the settings of a machine for very many connections.
//!
//! - [`systemd`]: units, readiness, restarts that refuse no client
//! - [`container`]: an image with one static program
//! - [`kubernetes`]: the pod, its probes, figures for monitoring
//! - [`processes`]: one server for each core, on one port, replaced one by one
//! - [`distribution`]: one run of the load generator on many machines
//! - [`limits`]: what 10 k, 100 k and 1 M connections need
//! - [`audit`]: what the stop of a server costs its clients, and how to keep a build from it
//!
//! The test suite reads the recipes from these pages and checks that they work.

#[doc = include_str!("systemd.md")]
pub mod systemd {}

#[doc = include_str!("container.md")]
pub mod container {}

#[doc = include_str!("kubernetes.md")]
pub mod kubernetes {}

#[doc = include_str!("processes.md")]
pub mod processes {}

#[doc = include_str!("distribution.md")]
pub mod distribution {}

#[doc = include_str!("limits.md")]
pub mod limits {}

#[doc = include_str!("audit.md")]
pub mod audit {}
