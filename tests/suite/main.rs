//! The suite.

mod allocations;
