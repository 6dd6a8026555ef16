//! The suite: one binary, a file a subject. Names are sentences; `invNN` is an invariant of the design, `rNN` a
//! requirement that holds from outside.

#![allow(clippy::unwrap_used, reason = "a test fails by unwrapping")]

mod ages;
mod allocations;
mod browser;
mod cancellation;
mod cli;
mod config;
mod conformance;
mod cookies;
mod demo;
mod demo_original;
mod ended;
mod events;
mod expiry;
mod extractors;
mod harness;
mod histories;
mod ids;
mod keys;
mod listening;
mod login;
mod memory;
mod migrate;
mod near_cache;
mod network;
mod on_redis;
mod outage;
mod promises;
mod redis;
mod responses;
mod servers;
mod showcase;
mod showcase_data;
mod showcase_demo;
mod showcase_demo_handover;
mod showcase_demo_pages;
mod showcase_pages;
mod showcase_program;
mod showcase_redis;
mod showcase_restart;
mod showcase_two;
mod showcase_two_data;
mod showcase_two_ends;
mod showcase_two_users;
mod showcase_users;
mod showcase_watch;
mod staging;
mod stats;
mod stores;
mod superseded;
mod support;
mod updates;
mod users;
mod wrappers;
