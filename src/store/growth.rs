//! How long a record may become.

use crate::record::Record;

/// Whether a change makes a record longer than it may be. What a lowered limit no longer allows goes on living, and may
/// shrink.
pub(super) fn outgrows(
    before: &Record,
    after: &Record,
    limit: usize,
    limited_size: impl Fn(&Record) -> usize,
) -> bool {
    let size = limited_size(after);
    size > limit && (after.size() > before.size() || size > limited_size(before))
}
