//! The suite: one binary, a file a subject. Names are sentences; `invNN` is an invariant of the design, `rNN` a
//! requirement that holds from outside.

#![allow(clippy::unwrap_used, reason = "a test fails by unwrapping")]

mod ages;
mod allocations;
mod browser;
mod cancellation;
mod config;
mod conformance;
mod cookies;
mod events;
mod expiry;
mod extractors;
mod harness;
mod ids;
mod keys;
mod login;
mod memory;
mod on_redis;
mod responses;
mod servers;
mod showcase;
mod showcase_data;
mod showcase_pages;
mod showcase_program;
mod showcase_users;
mod staging;
mod stores;
mod superseded;
mod support;
mod updates;
mod users;
mod wrappers;
