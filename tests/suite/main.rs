//! The suite: one binary, a file a subject. Names are sentences; `invNN` is an invariant of the design, `rNN` a
//! requirement that holds from outside.

// Helpers too: what fails in them fails a test.
#![allow(clippy::unwrap_used)]

mod browser;
mod cancellation;
mod config;
mod cookies;
mod events;
mod expiry;
mod extractors;
mod harness;
mod ids;
mod login;
mod memory;
mod showcase;
mod showcase_data;
mod showcase_pages;
mod showcase_program;
mod showcase_users;
mod staging;
mod support;
mod updates;
mod users;
