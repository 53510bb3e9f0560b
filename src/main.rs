//! The `netgrace` program.

fn main() {}
