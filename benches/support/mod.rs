//! What the comparison with other servers is made of.

pub mod args;
pub mod case;
pub mod figure;
pub mod foreign;
pub mod machine;
pub mod output;
pub mod pair;
pub mod peer;
pub mod requests;
pub mod server;
pub mod service;
pub mod smoke;
