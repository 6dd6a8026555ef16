//! Streams of server-sent events: what happens to a session, and how the store does.
//!
//! Both end with the server; the first ends with its session.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream, StreamExt};
use serde::Serialize;
use sessile::event::{EventKind, Events};
use sessile::{EndReason, Error, Handle, Session, Sessions, UserSession};
use tokio::sync::watch;

use crate::Server;
use crate::figures::Figures;
use crate::time::Instant;

/// So often the figures are sent.
const EVERY: Duration = Duration::from_secs(1);

type Sent = Result<Event, Infallible>;

/// Whether the server is about to stop: what would go on for ever ends then.
#[derive(Debug, Clone)]
pub(crate) struct Stopping(Arc<watch::Sender<bool>>);

impl Stopping {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    pub(crate) fn stop(&self) {
        self.0.send_replace(true);
    }

    /// Resolves when it is.
    pub(crate) async fn stopped(&self) {
        // The sender is here: it does not go away meanwhile.
        let _ = self.0.subscribe().wait_for(|stopping| *stopping).await;
    }
}

/// What the browser is told.
#[derive(Serialize)]
struct Told {
    at: Instant,
    event: &'static str,
    reason: Option<&'static str>,
    handle: Handle,
}

impl Told {
    fn as_event(&self) -> Sent {
        let event = Event::default().event(self.event);
        Ok(event.json_data(self).expect("a few texts are JSON"))
    }
}

/// Who listens to the events of one session.
struct Listener {
    handle: Handle,
    events: Events,
    ended: Pin<Box<dyn Future<Output = EndReason> + Send>>,
    stopping: Stopping,
    is_over: bool,
}

impl Listener {
    /// What happens next. The end is the last: it may have happened at another instance, of which no event tells.
    async fn next(mut self) -> Option<(Sent, Self)> {
        if self.is_over {
            return None;
        }
        loop {
            let event = tokio::select! {
                biased;
                () = self.stopping.stopped() => return None,
                reason = &mut self.ended => {
                    self.is_over = true;
                    return Some((self.told("ended", Some(reason.as_str())), self));
                }
                event = self.events.recv() => event?,
            };
            match event {
                Ok(event) if event.handle != Some(self.handle) => {}
                Ok(event) if matches!(event.kind, EventKind::Ended(_)) => {}
                Ok(event) => {
                    let told = self.told(event.kind.as_str(), None);
                    return Some((told, self));
                }
                // Events of others, mostly; of one's own the end is the one that matters.
                Err(lost) => tracing::info!("{lost}"),
            }
        }
    }

    fn told(&self, event: &'static str, reason: Option<&'static str>) -> Sent {
        let at = Instant(std::time::SystemTime::now());
        let handle = self.handle;
        Told {
            at,
            event,
            reason,
            handle,
        }
        .as_event()
    }
}

/// What happens to the caller's session, until it ends.
pub(crate) async fn events(
    State(server): State<Arc<Server>>,
    session: Session,
    sessions: Sessions,
) -> Result<Sse<impl Stream<Item = Sent>>, Error> {
    let Some(handle) = session.handle() else {
        // Says why there is none.
        return Err(match UserSession::require(&session) {
            Err(error) => error,
            Ok(_) => unreachable!("a user has a session"),
        });
    };
    let listener = Listener {
        handle,
        events: sessions.events(),
        ended: Box::pin(session.ended()),
        stopping: server.stopping.clone(),
        is_over: false,
    };
    let open = stream::iter([listener.told("open", None)]);
    let told = open.chain(stream::unfold(listener, Listener::next));
    Ok(Sse::new(told).keep_alive(KeepAlive::default()))
}

/// How the store does, once a second.
pub(crate) async fn figures(State(server): State<Arc<Server>>) -> Sse<impl Stream<Item = Sent>> {
    let stopping = server.stopping.clone();
    let told = stream::unfold((server, true), async |(server, is_first)| {
        if !is_first {
            tokio::time::sleep(EVERY).await;
        }
        let figures = Figures::take(&server.backend).await;
        let event = Event::default().json_data(&figures);
        Some((Ok(event.expect("figures are JSON")), (server, false)))
    });
    let told = told.take_until(Box::pin(async move { stopping.stopped().await }));
    Sse::new(told).keep_alive(KeepAlive::default())
}
