//! Looking for a session by its handle.

use std::time::Duration;

use crate::id::{Handle, Kind};
use crate::record::{End, Entry};
use crate::session::SessionInfo;
use crate::store::redis::admin::{Direct, each, entry};
use crate::store::{RedisStore, SessionStore, StoreError};

const STEP: usize = 500;

/// A session that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// Its name.
    pub handle: Handle,
    /// Of which kind it is.
    pub kind: Kind,
    /// What is known of it.
    pub state: FoundState,
}

/// What is known of a session that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundState {
    /// It is live.
    Live {
        /// When, where and with what.
        info: Box<SessionInfo>,
        /// The names of its values, and how many bytes each has.
        values: Vec<(String, usize)>,
    },
    /// It is over, and this is remembered of it.
    Ended(End),
}

pub(super) async fn find(store: &RedisStore, handle: Handle) -> Result<Option<Found>, StoreError> {
    let mut ended = None;
    for server in store.direct(Duration::ZERO).await? {
        for kind in [Kind::User, Kind::Demo] {
            match of_kind(store, &server, kind, handle).await? {
                Some(live) if matches!(live.state, FoundState::Live { .. }) => {
                    return Ok(Some(live));
                }
                Some(over) => ended = Some(later(ended, over)),
                None => {}
            }
        }
    }
    Ok(ended)
}

async fn of_kind(
    store: &RedisStore,
    server: &Direct,
    kind: Kind,
    handle: Handle,
) -> Result<Option<Found>, StoreError> {
    let pattern = store.record_pattern(kind);
    let mut ended = None;
    let mut cursor = Some(b"0".to_vec());
    while let Some(here) = cursor {
        let step = server.scan(&here, &pattern, STEP).await?;
        let keys = step
            .keys
            .iter()
            .filter(|key| store.record_key(kind, key).is_some());
        let values = server.ask_all(each("GET", keys)).await?;
        for value in values.into_iter().flatten() {
            // By the server's clock: what is past its end is over.
            match entry(&value).map(|entry| entry.at(store.now())) {
                Some(Entry::Live(record)) if record.handle() == handle => {
                    let values = record
                        .names()
                        .map(|name| (name.to_owned(), record.value(name).map_or(0, <[u8]>::len)))
                        .collect();
                    return Ok(Some(Found {
                        handle,
                        kind,
                        state: FoundState::Live {
                            info: Box::new(SessionInfo::of(&record, false)),
                            values,
                        },
                    }));
                }
                Some(Entry::Ended(tombstone)) if tombstone.handle == handle => {
                    let over = Found {
                        handle,
                        kind,
                        state: FoundState::Ended(tombstone.end),
                    };
                    ended = Some(later(ended, over));
                }
                Some(Entry::Live(_) | Entry::Ended(_)) | None => {}
            }
        }
        cursor = step.next;
    }
    Ok(ended)
}

/// Of two ends of a session the later: the others are of ids that it had.
fn later(known: Option<Found>, found: Found) -> Found {
    let at = |found: &Found| match &found.state {
        FoundState::Live { .. } => None,
        FoundState::Ended(end) => Some(end.at),
    };
    match known {
        Some(known) if at(&known) >= at(&found) => known,
        Some(_) | None => found,
    }
}
