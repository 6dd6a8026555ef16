//! The Redis store, on real servers.

mod asks;
mod beating;
mod beats;
mod cluster;
mod corners;
mod faults;
mod fixture;
mod holds;
mod late;
mod lists;
mod lost;
mod model;
mod places;
mod rights;
mod trips;
mod unchanged;
mod ways;
