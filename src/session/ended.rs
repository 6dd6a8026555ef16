//! Waiting for the end of a session: for streams, sockets and long polls.
//!
//! A store in this process tells of ends itself. A remote one is listened to, and asked, for all who wait together: once a
//! second one pipelined read to each primary. What it tells arrives also where it is away right after; what it is asked
//! for makes up for what it did not tell. What this instance ends itself it need not ask for.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use futures_util::stream::{Stream, StreamExt as _};
use tokio::time::{Sleep, sleep};

use super::area::Area;
use super::context::Context;
use super::state::Identity;
use super::{Freshness, Session};
use crate::record::{EndReason, Entry};
use crate::store::{Heard, Hearing, Told, Watch};

/// Below a second, so that an end is told within one.
const PACE: Duration = Duration::from_millis(800);
/// A store that does not answer for so long, and no lease to go on with: nobody vouches for the session any more.
const PATIENCE: Duration = Duration::from_secs(2);
/// So many are asked for in one pipeline.
const AT_ONCE: usize = 1_024;
/// So many times in a row a session is followed to its next id before the others' turn comes.
const HOPS: usize = 8;

impl Session {
    /// Resolves when the session is over, with the reason: within a second, whichever instance ended it, or its clocks.
    /// For what goes on after the response: streams, sockets, long polls.
    ///
    /// A new id is no end; a sign-in, which makes another session of it, is one, with the reason `regenerated`. While the
    /// store is away this instance answers for it as for requests: it ends by what is known here, and with `store_lost` when the
    /// lease is over. For a stranger, who has no session, it never resolves.
    ///
    /// All who wait cost one pipelined read a second and primary together, and a connection on which Redis tells of ends as
    /// they happen (if the rights `+subscribe` and `+publish` allow it); on memory nothing, but for a look when it is first
    /// polled. It wants a tokio runtime.
    ///
    /// # Cancel safety
    /// Safe. Dropped, it costs nothing any more.
    pub fn ended(&self) -> impl Future<Output = EndReason> + Send + use<> {
        let context = Arc::clone(self.context());
        let known = context.watch();
        async move {
            let at = match known {
                Known::Live(at) => at,
                Known::Ended(reason) => return reason,
                Known::Nobody => return std::future::pending().await,
            };
            let area = Arc::clone(&context.area);
            drop(context);
            let watcher = area.ends.watch(at);
            if !area.asks_for_ends {
                // It may have ended since it was read, and before anybody was told to wait for it.
                area.look(vec![at]).await;
            }
            area.keep_looking();
            // With the layer, which looks after those who wait.
            let reason = watcher.ended().await;
            drop(area);
            reason
        }
    }

    /// The same stream, that stops when the session is over: see [`ended`](Self::ended).
    ///
    /// ```
    /// # use sessile::Session;
    /// # use futures_util::{Stream, stream};
    /// async fn ticks(session: Session) -> impl Stream<Item = u32> {
    ///     session.until_ended(stream::iter(0..))
    /// }
    /// ```
    pub fn until_ended<S: Stream>(&self, stream: S) -> impl Stream<Item = S::Item> + use<S> {
        stream.take_until(Box::pin(self.ended()))
    }
}

/// Whose end is waited for.
enum Known {
    Live(Watch),
    Ended(EndReason),
    Nobody,
}

impl Context {
    fn watch(&self) -> Known {
        match &self.state().identity {
            Identity::Live(live) => Known::Live(Watch {
                handle: live.record.handle(),
                key: live.key,
                born: live.id.and_then(|id| id.birth()),
                ends_at: live.record.ends_at(),
                verified: Instant::now(),
            }),
            Identity::Dead(dead) => Known::Ended(dead.end.reason),
            // What cannot be looked up is not served.
            Identity::Unknown(_) => Known::Ended(EndReason::StoreLost),
            Identity::Stranger => Known::Nobody,
        }
    }
}

/// Whoever looks, wherever that ends: also with its runtime.
struct Looking(Weak<Area>);

impl Drop for Looking {
    fn drop(&mut self) {
        if let Some(area) = self.0.upgrade() {
            area.looking.store(false, Ordering::Release);
        }
    }
}

impl Area {
    /// Looks after those who wait, for as long as there are any.
    fn keep_looking(self: &Arc<Self>) {
        if self.looking.load(Ordering::Acquire) {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        if self.looking.swap(true, Ordering::AcqRel) {
            return;
        }
        let hearing = self.store.hear(self.kind);
        let area = Arc::downgrade(self);
        runtime.spawn(async move {
            let looking = Looking(Weak::clone(&area));
            let mut hearing = hearing;
            loop {
                let pause = sleep(PACE);
                match &mut hearing {
                    Some(hearing) => Self::listen(&area, hearing, pause).await,
                    None => pause.await,
                }
                let Some(area) = area.upgrade() else { return };
                if area.ends.is_empty() {
                    drop(looking);
                    // Somebody may have come just now, and seen this one at work.
                    if !area.ends.is_empty() {
                        area.keep_looking();
                    }
                    return;
                }
                area.look_at_all().await;
            }
        });
    }

    /// Passes on what is heard, until it is time to ask.
    async fn listen(area: &Weak<Self>, hearing: &mut Hearing, pause: Sleep) {
        let mut pause = pin!(pause);
        while let Some(heard) = next_heard(hearing, pause.as_mut()).await {
            let Some(area) = area.upgrade() else { return };
            match heard {
                Heard::Listening => area.look_at_all().await,
                Heard::Ended(_, tombstone) => {
                    area.ends.tell(tombstone.handle, tombstone.end.reason);
                }
            }
        }
    }

    /// Looks at all of whom somebody waits for.
    async fn look_at_all(&self) {
        let now = self.store.now();
        let all = self.asks_for_ends;
        let due = self.ends.watched(|at| all || at.ends_at <= now);
        for some in due.chunks(AT_ONCE) {
            self.look(some.to_vec()).await;
        }
    }

    /// Looks at these, and at what they became.
    async fn look(&self, mut watched: Vec<Watch>) {
        for _ in 0..HOPS {
            if watched.is_empty() {
                return;
            }
            let keys: Vec<_> = watched.iter().map(|at| (at.key, at.born)).collect();
            let sent = Instant::now();
            let found = self.store.look_each(&keys).await;
            let moved = watched.iter().zip(found);
            watched = moved
                .filter_map(|(at, found)| self.found(at, found, sent))
                .collect();
        }
    }

    /// What was found of a session; where it goes on, if it does so elsewhere.
    fn found(
        &self,
        at: &Watch,
        found: Option<Told<Option<Entry>>>,
        sent: Instant,
    ) -> Option<Watch> {
        let Some(told) = found else {
            let lease = self
                .store
                .outage(self.kind)
                .map_or(Duration::ZERO, |outage| outage.lease());
            if at.verified.elapsed() >= lease.max(PATIENCE) {
                self.ends.tell(at.handle, EndReason::StoreLost);
            }
            return None;
        };
        match told.value {
            Some(Entry::Live(record)) if record.handle() == at.handle => {
                let verified = match told.freshness {
                    Freshness::Stale => at.verified,
                    Freshness::Live | Freshness::Local => sent,
                };
                let ends_at = record.ends_at();
                self.ends.learn(
                    at,
                    Watch {
                        ends_at,
                        verified,
                        ..*at
                    },
                );
            }
            Some(Entry::Live(_)) => self.ends.tell(at.handle, EndReason::Regenerated),
            Some(Entry::Ended(tombstone)) => match (tombstone.end.reason, tombstone.successor) {
                (EndReason::Regenerated, Some(successor)) => {
                    let next = Watch {
                        key: at.key.sibling(successor),
                        born: None,
                        ..*at
                    };
                    self.ends.learn(at, next);
                    return Some(next);
                }
                (reason, _) => self.ends.tell(at.handle, reason),
            },
            None => self.ends.tell(at.handle, EndReason::StoreLost),
        }
        None
    }
}

/// `None`: it is time to ask, however much there is to hear.
async fn next_heard(hearing: &mut Hearing, pause: Pin<&mut Sleep>) -> Option<Heard> {
    match select(pause, hearing.next()).await {
        Either::Left(_) => None,
        Either::Right((Some(heard), _)) => Some(heard),
        Either::Right((None, pause)) => {
            pause.await;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    #[tokio::test(start_paused = true)]
    async fn r63_however_much_is_heard_it_is_asked_too() {
        let flood = stream::repeat(Heard::Listening);
        for (mut hearing, least) in [(flood.boxed(), 1), (stream::empty().boxed(), 0)] {
            let mut pause = pin!(sleep(PACE));
            let mut heard = 0;
            while next_heard(&mut hearing, pause.as_mut()).await.is_some() {
                heard += 1;
                assert!(heard <= 10, "it is past the time to ask");
                tokio::time::advance(PACE / 4).await;
            }
            assert!(heard >= least && pause.is_elapsed());
        }
    }
}
