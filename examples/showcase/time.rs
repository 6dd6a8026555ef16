//! How instants are written.

use std::time::SystemTime;

use serde::{Serialize, Serializer};

/// RFC 3339, UTC, always with three decimals: so they sort as text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Instant(pub(crate) SystemTime);

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_rfc3339_millis(self.0))
    }
}
