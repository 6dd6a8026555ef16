//! The Redis store, on real servers.

mod faults;
mod fixture;
mod holds;
mod late;
mod lost;
mod model;
mod trips;
