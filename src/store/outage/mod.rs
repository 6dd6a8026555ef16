//! A remote store that is away: what this instance may answer without it, and what it tells it when it is back.
//!
//! The root of every unsafe fallback is an end that is stored as absence: a memory that starts empty, or writes back,
//! undoes it. So the store is the only authority. This instance holds three things and nothing else:
//!
//! - *leases* ([`lease`]): copies of records that it has verified, for a while;
//! - *local sessions* ([`local`]): made here while the store was away, and brought to it by being created, or not at all;
//! - a *journal* ([`journal`]) of the ends that must reach the store, which hold here from the moment they were asked for.
//!
//! [`memory`], [`breaker`] and [`journal`] decide, and take the time as an argument; [`shield`], [`away`] and
//! [`recovery`] ask, wait and lock. The rules that all of it rests on have names: [`rule`].

mod away;
mod barrier;
mod breaker;
mod budget;
mod durable;
mod ended;
mod file;
mod journal;
mod lease;
mod length;
mod local;
mod memory;
mod part;
mod policy;
mod pursued;
mod recovery;
mod rule;
mod shield;
#[cfg(test)]
mod simulation;
mod staged;
mod stamp;

pub(crate) use away::Settings;
pub use breaker::Mode;
pub(crate) use budget::{Budget, UNBOUNDED, within};
pub use policy::{Health, Outage};
pub(crate) use rule::{Rule, holds};
pub(crate) use shield::{Shield, Told};
#[cfg(feature = "redis")]
pub(crate) use stamp::Stamp;
