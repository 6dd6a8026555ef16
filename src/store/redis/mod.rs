//! Sessions in Redis.
mod beat;
mod call;
mod clock;
#[cfg(feature = "cluster")]
mod cluster;
mod connection;
mod failure;
mod health;
mod join;
mod node;
mod script;
#[cfg(feature = "sentinel")]
mod sentinel;
mod servers;
#[cfg(feature = "cluster")]
mod slots;
mod target;
#[cfg(feature = "tls")]
mod tls;
