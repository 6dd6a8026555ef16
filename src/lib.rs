//! Sessions for tower and axum.

mod address;
mod clock;
mod config;
mod cookie;
mod error;
pub mod event;
#[cfg(feature = "axum")]
mod extract;
mod id;
mod key;
mod layer;
mod problem;
pub mod record;
pub mod session;
mod sessions;
pub mod store;
mod user;

pub use ::cookie::SameSite;

pub use address::ClientAddress;
#[cfg(feature = "test-util")]
pub use clock::ManualClock;
pub use clock::{Clock, SystemClock};
pub use config::{ConfigError, SessionLayerBuilder};
pub use error::{Error, ErrorKind};
#[cfg(feature = "axum")]
pub use extract::Fresh;
pub use id::{Bucket, Digest, Handle, Kind, RecordKey, UserId};
pub use key::{DataName, InvalidName, Key};
pub use layer::{ResponseFuture, SessionLayer, SessionService};
pub use problem::Problem;
pub use record::{End, EndReason};
pub use session::{Freshness, Login, LoginFuture, Outcome, Passive, Session, SessionInfo};
pub use sessions::Sessions;
pub use store::{AtLimit, MemoryStore, MemoryStoreBuilder, SessionStore, StoreError};
pub use user::{Ended, UserSession};
