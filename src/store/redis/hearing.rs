//! Ends, as the servers tell of them: what the scripts publish.
//!
//! It may miss some: what is published while nobody is subscribed is gone. Whoever listens asks as well.

use std::time::Duration;

use futures_util::stream::{BoxStream, StreamExt as _, unfold};
use redis::Msg;
use redis::aio::PubSubStream;
use tokio::time::{sleep, timeout};

use super::Inner;
use super::keys::Keyspace;
use super::servers::Servers;
use crate::id::Kind;
use crate::record::Entry;
use crate::store::Heard;

/// Without a connection, the next attempt comes no sooner.
const PACE: Duration = Duration::from_millis(500);
/// A connection on which nothing came for so long is replaced: nobody would notice that it leads nowhere any more.
const SILENCE: Duration = Duration::from_secs(60);

/// What is heard, for as long as it is asked for.
pub(super) fn hear(store: &Inner, kind: Kind) -> BoxStream<'static, Heard> {
    let listener = Listener {
        servers: store.servers.clone(),
        keys: store.keys.clone(),
        kind,
        connection: Connection::New,
    };
    unfold(listener, |mut listener| async move {
        let heard = listener.next().await;
        Some((heard, listener))
    })
    .boxed()
}

struct Listener {
    servers: Servers,
    keys: Keyspace,
    kind: Kind,
    connection: Connection,
}

enum Connection {
    New,
    Up(PubSubStream),
    Lost,
}

impl Listener {
    async fn next(&mut self) -> Heard {
        loop {
            if let Connection::Up(messages) = &mut self.connection {
                match timeout(SILENCE, messages.next()).await {
                    Ok(Some(message)) => {
                        if let Some(heard) = self.understand(&message) {
                            return heard;
                        }
                    }
                    Ok(None) => self.connection = Connection::Lost,
                    Err(_) => self.connection = Connection::New,
                }
                continue;
            }
            if matches!(self.connection, Connection::Lost) {
                sleep(PACE).await;
            }
            match self.servers.subscribe(&self.keys.ends(self.kind)).await {
                Ok(hearing) => {
                    self.connection = Connection::Up(hearing.into_on_message());
                    return Heard::Listening;
                }
                Err(error) => {
                    tracing::debug!(target: "sessile", %error, "Redis tells of no ends: they are asked for");
                    self.connection = Connection::Lost;
                }
            }
        }
    }

    /// What is not understood was not told by a script of ours.
    fn understand(&self, message: &Msg) -> Option<Heard> {
        let payload = message.get_payload_bytes();
        let end = payload.iter().position(|&c| c == b' ')?;
        let (key, bytes) = payload.split_at(end);
        let key = self.keys.parse(self.kind, key)?;
        match Entry::from_bytes(&bytes[1..]) {
            Ok(Entry::Ended(tombstone)) => Some(Heard::Ended(key, tombstone)),
            Ok(Entry::Live(_)) | Err(_) => None,
        }
    }
}
