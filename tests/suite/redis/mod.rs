//! The Redis store, on real servers.

mod faults;
mod holds;
mod late;
mod lost;
mod model;
mod trips;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sessile::record::{Changes, Entry, NewRecord, Op, Record, Seen};
use sessile::store::{
    Applied, Apply, Create, Created, EndScope, EndSessions, Limit, RedisStore, Renewal, Replace,
};
use sessile::{Bucket, Digest, EndReason, Handle, Kind, RecordKey, SessionStore, UserId};

use crate::support::redis::Server;

pub(crate) const HOUR: Duration = Duration::from_secs(3600);
