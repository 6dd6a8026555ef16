//! What tests of whole programs share.

pub(crate) mod browser;
pub(crate) mod client;
pub(crate) mod dump;
mod frames;
pub(crate) mod monitor;
mod process;
pub(crate) mod proxy;
pub(crate) mod redis;
pub(crate) mod setups;
pub(crate) mod showcase;
pub(crate) mod wait;

pub(crate) use client::Client;
pub(crate) use proxy::Proxy;
pub(crate) use redis::Server;
pub(crate) use showcase::Showcase;
