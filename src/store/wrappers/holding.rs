//! Calls that wait for the test.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::{Around, Call};
use crate::store::{SessionStore, StoreError};

/// Stops single calls until the test lets them go: for interleavings that happen exactly as written, without a sleep.
///
/// ```
/// use sessile::store::wrappers::{Call, Holding};
/// use sessile::{Kind, MemoryStore, SessionStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let store = Holding::new(MemoryStore::new());
/// let held = store.hold(Call::Count);
/// let counting = tokio::spawn({
///     let store = store.clone();
///     async move { store.count(Kind::User).await }
/// });
/// held.arrived().await;
/// // Whatever happens here happens before the count.
/// held.release();
/// assert_eq!(counting.await.unwrap().unwrap(), 0);
/// # }
/// ```
pub struct Holding<S> {
    inner: Arc<Inner<S>>,
}

struct Inner<S> {
    store: S,
    /// For each call the gates that are still to be met, first come first served.
    gates: Mutex<HashMap<Call, VecDeque<Gate>>>,
}

/// One call that is to be held, and then is: made by [`Holding::hold`] and [`Holding::hold_reply`].
///
/// Dropping it lets the call go, so that a test which fails does not hang.
#[must_use = "dropping it lets the call go at once"]
pub struct Held {
    stage: Arc<watch::Sender<Stage>>,
}

#[derive(Debug, Clone)]
struct Gate {
    side: Side,
    stage: Arc<watch::Sender<Stage>>,
}

/// On which side of the store a call is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Expected,
    Arrived,
    Released,
}

impl<S> Holding<S> {
    /// A wrapper that holds nothing yet.
    pub fn new(store: S) -> Self {
        Self {
            inner: Arc::new(Inner {
                store,
                gates: Mutex::default(),
            }),
        }
    }

    /// The next such call is held before it reaches the store. Said twice: the next two, one by each.
    pub fn hold(&self, call: Call) -> Held {
        self.expect(call, Side::Before)
    }

    /// The next such call is carried out, and its answer held.
    pub fn hold_reply(&self, call: Call) -> Held {
        self.expect(call, Side::After)
    }

    fn expect(&self, call: Call, side: Side) -> Held {
        let stage = Arc::new(watch::Sender::new(Stage::Expected));
        let gate = Gate {
            side,
            stage: Arc::clone(&stage),
        };
        self.lock().entry(call).or_default().push_back(gate);
        Held { stage }
    }

    /// The gate for this call, if one is to be met. Those that were released before anybody came are no more.
    fn meet(&self, call: Call) -> Option<Gate> {
        let mut gates = self.lock();
        let waiting = gates.get_mut(&call)?;
        while let Some(gate) = waiting.pop_front() {
            if *gate.stage.borrow() != Stage::Released {
                return Some(gate);
            }
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Call, VecDeque<Gate>>> {
        // Nothing that holds it can panic halfway.
        self.inner
            .gates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate {
    async fn pass(&self) {
        let mut stage = self.stage.subscribe();
        self.stage.send_if_modified(|stage| {
            let first = *stage == Stage::Expected;
            if first {
                *stage = Stage::Arrived;
            }
            first
        });
        until(&mut stage, Stage::Released).await;
    }
}

impl Held {
    /// Resolves once the call is being held; at once if it is already.
    ///
    /// # Cancel safety
    /// It may be dropped and called again.
    pub async fn arrived(&self) {
        until(&mut self.stage.subscribe(), Stage::Arrived).await;
    }

    /// Lets the call go.
    pub fn release(self) {}
}

impl Drop for Held {
    fn drop(&mut self) {
        self.stage.send_replace(Stage::Released);
    }
}

async fn until(stage: &mut watch::Receiver<Stage>, wanted: Stage) {
    stage
        .wait_for(|stage| *stage == wanted)
        .await
        .expect("whoever waits has the sender too");
}

impl<S: SessionStore> Around for Holding<S> {
    type Store = S;

    fn store(&self) -> &S {
        &self.inner.store
    }

    async fn around<T: Send>(
        &self,
        call: Call,
        op: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let Some(gate) = self.meet(call) else {
            return op.await;
        };
        match gate.side {
            Side::Before => {
                gate.pass().await;
                op.await
            }
            Side::After => {
                let answer = op.await;
                gate.pass().await;
                answer
            }
        }
    }
}

stores_around!(Holding);

impl<S> Clone for Holding<S> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<S> fmt::Debug for Holding<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holding")
            .field("gates", &*self.lock())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held")
            .field("stage", &*self.stage.borrow())
            .finish()
    }
}
