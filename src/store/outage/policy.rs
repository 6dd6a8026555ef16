//! What a layer does while its store is away.

use std::time::{Duration, SystemTime};

use super::breaker::Mode;
use crate::error::ConfigError;

/// The longest lease.
const LONGEST_LEASE: Duration = Duration::from_secs(3600);

/// What a layer does while its store is away: cut off, stopped, too slow, starting, or a replica.
///
/// Whatever it is: a request without a cookie is served, no request waits for the store once it is known to be away,
/// the cookie is never removed or replaced because of it, and what was ended stays ended. A store in this process is
/// never away, and none of this costs it anything.
///
/// | | read a known session | write to it | sign in | sign out, end sessions |
/// |---|---|---|---|---|
/// | `Refuse` | 503 | 503 | 503 | 503 |
/// | `Lease` | served, marked stale | 503 | 503 | at once here, pending |
/// | `Local` | served, marked stale | pending | here, promoted later | at once here, pending |
///
/// A session is known for the length of the lease after this instance has read it. That is how long a session that was
/// ended *elsewhere* may still be served here while this instance is cut off: choose it as you would choose how long a
/// revocation may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outage {
    /// 503 with `Retry-After` for whoever brings a session: nothing is remembered.
    Refuse,
    /// What this instance has read within this time is served, read-only.
    Lease(Duration),
    /// As `Lease`; and new sessions live in this process until the store is back, and what is staged on a lease is
    /// written then, if nobody else has changed it.
    Local {
        /// How long what was read is served.
        lease: Duration,
    },
}

impl Outage {
    /// The length of a lease; zero where there are none.
    pub(crate) const fn lease(self) -> Duration {
        match self {
            Self::Refuse => Duration::ZERO,
            Self::Lease(lease) | Self::Local { lease } => lease,
        }
    }

    pub(crate) const fn is_local(self) -> bool {
        matches!(self, Self::Local { .. })
    }

    pub(crate) const fn refuses(self) -> bool {
        matches!(self, Self::Refuse)
    }

    pub(crate) fn check(self) -> Result<(), ConfigError> {
        let lease = self.lease();
        if !self.refuses() && lease < Duration::from_millis(1) || lease > LONGEST_LEASE {
            return Err(ConfigError::new(format!(
                "a lease of {lease:?}: choose one from a millisecond to an hour, or Outage::Refuse for none"
            )));
        }
        Ok(())
    }
}

impl Default for Outage {
    /// `Local`, with leases of a minute.
    fn default() -> Self {
        Self::Local {
            lease: Duration::from_secs(60),
        }
    }
}

/// How a layer's store does, without asking it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// Of several parts, the mode of the worst.
    pub mode: Mode,
    /// Since when.
    pub since: SystemTime,
    /// How many sessions could be served without the store.
    pub leases: usize,
    /// How many sessions were made here and are not in the store yet.
    pub local: usize,
    /// How many bytes these take, with what belongs to them: see
    /// [`outage_memory`](crate::SessionLayerBuilder::outage_memory).
    pub memory: usize,
    /// How many ends, and sessions with writes, have to reach the store yet.
    pub pending: usize,
}
