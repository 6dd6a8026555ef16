//! Sessions in Redis.
mod beat;
mod call;
mod clock;
mod connection;
mod failure;
mod health;
mod join;
mod node;
mod script;
mod servers;
mod target;
