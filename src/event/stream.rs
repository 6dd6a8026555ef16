//! Events for whoever listens in this process.

use std::fmt;

use futures_util::stream::{self, Stream};
use tokio::sync::broadcast::{self, error::RecvError};

use super::Event;

/// So many events wait at most for whoever listens slowly.
const WAITING: usize = 1024;

pub(super) fn channel() -> broadcast::Sender<Event> {
    broadcast::Sender::new(WAITING)
}

/// The events of a layer from the moment on when this was made: from [`Sessions::events`](crate::Sessions::events).
///
/// The 1,024 latest wait for whoever listens slowly. Of more than that the oldest are lost, and [`Lost`] says how many.
/// Listening costs the others nothing but a copy of each event.
///
/// ```
/// # use sessile::{MemoryStore, SessionLayer, event::EventKind};
/// # async fn f() {
/// let layer = SessionLayer::new(MemoryStore::new());
/// let mut events = layer.sessions().events();
/// tokio::spawn(async move {
///     while let Some(event) = events.recv().await {
///         match event {
///             Ok(event) if matches!(event.kind, EventKind::Ended(_)) => println!("{event:?}"),
///             Ok(_) => {}
///             Err(lost) => eprintln!("{lost}"),
///         }
///     }
/// });
/// # }
/// ```
pub struct Events(broadcast::Receiver<Event>);

/// So many events were lost, for they came faster than they were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost(pub u64);

impl Events {
    pub(super) const fn new(receiver: broadcast::Receiver<Event>) -> Self {
        Self(receiver)
    }

    /// The next one. `None`: the layer is gone.
    ///
    /// # Errors
    /// [`Lost`], once for each gap; what comes after it is the oldest that is still there.
    ///
    /// # Cancel safety
    /// Safe: nothing is lost by it.
    pub async fn recv(&mut self) -> Option<Result<Event, Lost>> {
        match self.0.recv().await {
            Ok(event) => Some(Ok(event)),
            Err(RecvError::Lagged(count)) => Some(Err(Lost(count))),
            Err(RecvError::Closed) => None,
        }
    }

    /// The same as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Result<Event, Lost>> + Send + use<> {
        stream::unfold(self, async |mut events| {
            let next = events.recv().await?;
            Some((next, events))
        })
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} events were lost", self.0)
    }
}

impl std::error::Error for Lost {}
