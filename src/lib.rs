//! netgrace
