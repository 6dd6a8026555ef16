//! What a near cache answers with.

use std::time::Duration;

use crate::record::Record;

/// A session as it was read before, and as it still is, as far as its store has told.
#[derive(Debug, Clone)]
#[must_use]
pub struct Near {
    /// The session. It is not over by its clocks.
    pub record: Record,
    /// So long ago it was certain: a change since then may be on its way.
    pub age: Duration,
}
