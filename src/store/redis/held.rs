//! The connection of a server that has but one: it is handed out again without asking the pool, whose locks, timer and clock
//! cost more than the rest of a checkout.

use std::sync::{PoisonError, RwLock};

use super::connection::Connection;
use super::health::Health;

/// A clone of what the pool has, for as long as that is not given up. Of several connections none is held: which of them is
/// next is for the pool to say.
pub(super) struct Held {
    is_alone: bool,
    connection: RwLock<Option<Connection>>,
}

impl Held {
    /// For a pool of so many connections.
    pub(super) const fn of(connections: u32) -> Self {
        Self {
            is_alone: connections == 1,
            connection: RwLock::new(None),
        }
    }

    /// The connection, as the pool would hand it out; `None`: the pool has to be asked.
    pub(super) fn get(&self, health: &Health) -> Option<Connection> {
        if !self.is_alone {
            return None;
        }
        {
            let held = self
                .connection
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            let connection = held.as_ref()?;
            if !health.is_given_up(connection.generation()) {
                return Some(connection.clone());
            }
        }
        // The pool drops its own now, and what is kept here would keep that open.
        self.put(None);
        None
    }

    /// The pool handed this out.
    pub(super) fn keep(&self, connection: &Connection) {
        if self.is_alone {
            self.put(Some(connection.clone()));
        }
    }

    fn put(&self, connection: Option<Connection>) {
        let mut held = self
            .connection
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *held, connection);
        drop(held);
        // Closing it is nothing to wait for under the lock.
        drop(before);
    }
}
