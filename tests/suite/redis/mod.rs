//! The Redis store, on real servers.

mod cluster;
mod faults;
mod fixture;
mod holds;
mod late;
mod lost;
mod model;
mod places;
mod rights;
mod trips;
mod ways;
