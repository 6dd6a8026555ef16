//! Ends that a remote store tells of.

use std::pin::Pin;

use futures_util::stream::Stream;

use crate::id::RecordKey;
use crate::record::Tombstone;

/// What a remote store tells of ends, for as long as it is listened to: see [`SessionStore::hear`](super::SessionStore::hear).
pub type Hearing = Pin<Box<dyn Stream<Item = Heard> + Send>>;

/// What was heard of ends.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Heard {
    /// From now on ends are heard, until this comes again. What ended before may not have been: whoever listens looks.
    Listening,
    /// A session has ended, and this stands in its place.
    Ended(RecordKey, Tombstone),
}
