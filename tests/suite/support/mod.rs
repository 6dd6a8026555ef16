//! What tests of whole programs share.

pub(crate) mod browser;
mod certificates;
pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod crowd;
pub(crate) mod dump;
mod frames;
pub(crate) mod monitor;
pub(crate) mod places;
mod process;
pub(crate) mod proxy;
pub(crate) mod redis;
pub(crate) mod sentinel;
pub(crate) mod setups;
pub(crate) mod showcase;
pub(crate) mod wait;

pub(crate) use client::Client;
pub(crate) use cluster::Cluster;
pub(crate) use places::{Pair, Place, on_both};
pub(crate) use proxy::Proxy;
pub(crate) use redis::Server;
pub(crate) use sentinel::Sentinels;
pub(crate) use showcase::Showcase;
