//! Calls that fail.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Around, Call};
use crate::store::{SessionStore, StoreError};

/// Fails the calls that it is told to: for tests of every path that a store's failure takes.
///
/// There are two ways for a call to fail, and who made it cannot tell them apart: it never reached the store, or it
/// was carried out and the reply was lost. An order for the next call stands before one for every call. A request
/// with one cookie is read by [`Call::Load`], one with several of the same name by [`Call::LoadEach`].
///
/// ```
/// use sessile::store::wrappers::{Call, Failing};
/// use sessile::{Kind, MemoryStore, SessionStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let store = Failing::new(MemoryStore::new());
/// store.fail_next(Call::Count);
/// assert!(store.count(Kind::User).await.is_err());
/// assert!(store.count(Kind::User).await.is_ok());
///
/// store.fail_all();
/// assert!(store.list("alice".into()).await.is_err());
/// store.heal();
/// assert!(store.list("alice".into()).await.is_ok());
/// # }
/// ```
pub struct Failing<S> {
    inner: Arc<Inner<S>>,
}

struct Inner<S> {
    store: S,
    orders: Mutex<Orders>,
}

/// What goes wrong.
#[derive(Debug, Default)]
struct Orders {
    every: HashMap<Call, Fault>,
    next: HashMap<Call, VecDeque<Fault>>,
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    /// The call does not reach the store.
    Unreached,
    /// It is carried out, and nobody learns of it.
    ReplyLost,
}

impl<S> Failing<S> {
    /// A wrapper in which nothing fails yet.
    pub fn new(store: S) -> Self {
        Self {
            inner: Arc::new(Inner {
                store,
                orders: Mutex::default(),
            }),
        }
    }

    /// Every such call fails before it reaches the store, until [`heal`](Self::heal).
    pub fn fail(&self, call: Call) {
        self.lock().every.insert(call, Fault::Unreached);
    }

    /// Every such call is carried out and then answers `Err`, until [`heal`](Self::heal).
    pub fn lose_reply(&self, call: Call) {
        self.lock().every.insert(call, Fault::ReplyLost);
    }

    /// The next such call fails before it reaches the store. Said twice: the next two.
    pub fn fail_next(&self, call: Call) {
        self.push(call, Fault::Unreached);
    }

    /// The next such call is carried out and then answers `Err`. Said twice: the next two.
    pub fn lose_next_reply(&self, call: Call) {
        self.push(call, Fault::ReplyLost);
    }

    /// Every call of every sort fails before it reaches the store, until [`heal`](Self::heal): the store is away.
    pub fn fail_all(&self) {
        let mut orders = self.lock();
        orders.next.clear();
        orders.every = Call::ALL.map(|call| (call, Fault::Unreached)).into();
    }

    /// Nothing fails any more, whatever was said before.
    pub fn heal(&self) {
        *self.lock() = Orders::default();
    }

    fn push(&self, call: Call, fault: Fault) {
        self.lock().next.entry(call).or_default().push_back(fault);
    }

    fn lock(&self) -> MutexGuard<'_, Orders> {
        // Nothing that holds it can panic halfway.
        self.inner
            .orders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Orders {
    fn take(&mut self, call: Call) -> Option<Fault> {
        self.next
            .get_mut(&call)
            .and_then(VecDeque::pop_front)
            .or_else(|| self.every.get(&call).copied())
    }
}

impl<S: SessionStore> Around for Failing<S> {
    type Store = S;

    fn store(&self) -> &S {
        &self.inner.store
    }

    async fn around<T: Send>(
        &self,
        call: Call,
        op: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let fault = self.lock().take(call);
        match fault {
            None => op.await,
            Some(Fault::Unreached) => Err(StoreError::new(format!("{call:?} was made to fail"))),
            Some(Fault::ReplyLost) => {
                // A failure of its own is as good a lost reply as any.
                let _ = op.await?;
                Err(StoreError::new(format!("the reply to {call:?} was lost")))
            }
        }
    }
}

stores_around!(Failing);

impl<S> Clone for Failing<S> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<S> fmt::Debug for Failing<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failing")
            .field("orders", &*self.lock())
            .finish_non_exhaustive()
    }
}
