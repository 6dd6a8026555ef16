//! The suite.
#![allow(clippy::unwrap_used)] // Functions that tests share are tests too.

mod conformance;
mod wrappers;
