//! Sessions in Redis.
mod clock;
mod script;
