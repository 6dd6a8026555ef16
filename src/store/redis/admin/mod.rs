//! What administration asks of Redis beyond a store's operations: all keys in small steps, and servers about themselves.

mod bring;
mod direct;
mod repair;

pub(crate) use bring::{Bring, Brought, Held, Messages, Stage, Staged};
pub(crate) use direct::{Answer, Direct, Scanned, each, fraction};
pub(crate) use repair::{List, entry};
