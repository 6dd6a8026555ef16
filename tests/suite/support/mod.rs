//! What tests of whole programs share.

pub(crate) mod browser;
pub(crate) mod client;
pub(crate) mod setups;
pub(crate) mod showcase;

pub(crate) use client::Client;
pub(crate) use showcase::Showcase;
