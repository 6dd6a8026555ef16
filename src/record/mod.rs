//! What a store keeps of one session.
//!
//! 1. A [`Record`] is one immutable, shared run of bytes: handing it on costs nothing, and reading a value is a look
//!    into it, not a copy. A change makes a new record.
//! 2. What rarely changes, what a touch changes, and the values are kept apart, so that a writer replaces what it
//!    knows and keeps the rest: parts and fields that a newer version wrote pass through unharmed.
//! 3. The conversation of a demo session is part of its record, so that whatever holds a record holds it too. A store
//!    may keep it apart, and add to it without writing the rest.
//! 4. An [`Entry`] is what stands under a key: a live record, or the [`Tombstone`] that took its place.

mod change;
mod compact;
mod end;
mod entry;
mod history;
mod live;
mod message;
mod packed;
#[cfg(feature = "redis")]
mod splice;
mod text;
mod wire;

pub use change::{After, Change, ChangeError, Changes, Clear, Guard, Op};
pub(crate) use compact::{Common, Own};
pub(crate) use end::cut;
pub use end::{End, EndReason};
pub use entry::{Entry, Tombstone};
pub use history::{Activity, HistoryEntry, HistoryEvent, UserLog};
pub use live::{DemoPointer, NewRecord, Record, Seen};
pub(crate) use message::Added;
pub use message::{MessageBounds, MessageId, NewMessage};
pub use wire::MalformedRecord;
#[cfg(feature = "redis")]
pub(crate) use wire::{wire_address, wire_agent};
