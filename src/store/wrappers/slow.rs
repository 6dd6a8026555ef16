//! Calls that take their time.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::{Around, Call};
use crate::store::{SessionStore, StoreError};

/// Delays every call before it reaches the store: for tests of deadlines, of clients that hang up, and of what many
/// do at once.
///
/// It waits by tokio's clock, so a test that runs with the time paused waits for nothing.
///
/// ```
/// use sessile::store::wrappers::Slow;
/// use sessile::{Kind, MemoryStore, SessionStore};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let store = Slow::new(MemoryStore::new(), Duration::from_secs(3600));
/// let answer = tokio::time::timeout(Duration::from_millis(1), store.count(Kind::User)).await;
/// assert!(answer.is_err(), "it was given up");
/// # }
/// ```
pub struct Slow<S> {
    store: Arc<S>,
    delay: Duration,
    deadline: Option<Duration>,
}

impl<S> Slow<S> {
    /// A wrapper that delays every call by `delay`.
    pub fn new(store: S, delay: Duration) -> Self {
        Self {
            store: Arc::new(store),
            delay,
            deadline: None,
        }
    }

    /// One that says that its calls take no longer than this ([`SessionStore::deadline`]), and so how long a request waits
    /// for all of its own. What it says does not make them faster.
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }
}

impl<S: SessionStore> Around for Slow<S> {
    type Store = S;

    fn store(&self) -> &S {
        &self.store
    }

    fn deadline(&self) -> Option<Duration> {
        self.deadline.or_else(|| self.store.deadline())
    }

    async fn around<T: Send>(
        &self,
        _: Call,
        op: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        tokio::time::sleep(self.delay).await;
        op.await
    }
}

stores_around!(Slow);

impl<S> Clone for Slow<S> {
    fn clone(&self) -> Self {
        Self {
            store: Arc::clone(&self.store),
            delay: self.delay,
            deadline: self.deadline,
        }
    }
}

impl<S> fmt::Debug for Slow<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slow")
            .field("delay", &self.delay)
            .finish_non_exhaustive()
    }
}
