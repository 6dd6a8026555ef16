//! Redis is away: what an instance goes on doing, and what it never does.

mod budget;
mod crowd;
mod demo;
mod ends;
mod fixture;
mod hang_ups;
mod histories;
mod local;
mod lost;
mod modes;
mod policy;
mod shards;
mod unknown;
mod writes;
