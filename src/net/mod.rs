//! All that talks to the kernel about sockets.

pub(crate) mod gate;
pub(crate) mod listener;
pub(crate) mod sock_diag;
pub(crate) mod socket;
pub(crate) mod splice;
