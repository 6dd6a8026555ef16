//! Which calls were made.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Around, Call};
use crate::store::{SessionStore, StoreError};

/// Notes every call, then hands it on: for tests that say what a request may cost.
///
/// A call is noted when it is made, whatever comes of it.
///
/// ```
/// use axum::{Router, body::Body, http::Request, routing::get};
/// use sessile::{MemoryStore, SessionLayer, store::wrappers::Spy};
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let spy = Spy::new(MemoryStore::new());
/// let app = Router::new()
///     .route("/", get(|| async { "hello" }))
///     .layer(SessionLayer::new(spy.clone()));
/// app.oneshot(Request::new(Body::empty())).await.unwrap();
/// assert_eq!(spy.calls(), [], "a stranger who writes nothing costs nothing");
/// # }
/// ```
pub struct Spy<S> {
    inner: Arc<Inner<S>>,
}

struct Inner<S> {
    store: S,
    calls: Mutex<Vec<Call>>,
}

impl<S> Spy<S> {
    /// A spy on this store, that has seen nothing yet.
    pub fn new(store: S) -> Self {
        Self {
            inner: Arc::new(Inner {
                store,
                calls: Mutex::default(),
            }),
        }
    }

    /// The calls since the start or the last [`take`](Self::take), in order.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.lock().clone()
    }

    /// The same, and forgets them.
    pub fn take(&self) -> Vec<Call> {
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Call>> {
        // Nothing that holds it can panic halfway.
        self.inner
            .calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: SessionStore> Around for Spy<S> {
    type Store = S;

    fn store(&self) -> &S {
        &self.inner.store
    }

    async fn around<T: Send>(
        &self,
        call: Call,
        op: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        self.lock().push(call);
        op.await
    }
}

stores_around!(Spy);

impl<S> Clone for Spy<S> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<S> fmt::Debug for Spy<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spy")
            .field("calls", &*self.lock())
            .finish_non_exhaustive()
    }
}
