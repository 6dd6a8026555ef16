//! The connection that reads, and is told of what changes.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use redis::aio::{MultiplexedConnection, SendError};
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, PushInfo, RedisError, Value};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{BEAT, NearCache};
use crate::store::outage::Stamp;
use crate::store::redis::Inner;
use crate::store::redis::connection::TIME;
use crate::store::redis::failure::{Trouble, failure, understood};

/// Making the connection, TLS and logging in included, may take so long.
const CONNECT: Duration = Duration::from_secs(1);
/// After a connection could not be made, the next attempt comes so much later.
const PAUSE: Duration = Duration::from_millis(200);
/// After the server refused one, which an operator has to change.
const REFUSED: Duration = Duration::from_secs(10);

/// A connection with `CLIENT TRACKING`.
pub(in crate::store::redis) struct Line {
    number: u64,
    /// Which connections there were beside it when it was made.
    generation: u64,
    connection: MultiplexedConnection,
}

impl Line {
    pub(in crate::store::redis) const fn number(&self) -> u64 {
        self.number
    }

    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    /// Sends a command that changes nothing. Whatever is pushed before its reply was handed over when this has it.
    pub(in crate::store::redis) async fn send(
        &self,
        command: &Cmd,
        wait: Duration,
    ) -> Result<Value, Trouble> {
        let mut connection = self.connection.clone();
        connection.set_response_timeout(wait);
        understood(connection.send_packed_command(command).await)
    }
}

/// Makes the connection, and takes it into use.
///
/// # Errors
/// Why there is none.
pub(in crate::store::redis) async fn open(store: &Inner) -> Result<(), RedisError> {
    let Some(cache) = &store.near else {
        return Ok(());
    };
    // Read first: what is given up while it is made does not pass for this one.
    let generation = store.servers.generation();
    let wait = store.servers.command();
    let (line, sent) = match timeout(CONNECT, connect(cache, generation, wait)).await {
        Ok(connected) => connected?,
        Err(_) => return Err(failure(format!("no connection within {CONNECT:?}"))),
    };
    cache.opened(line, sent);
    Ok(())
}

async fn connect(
    cache: &Arc<NearCache>,
    generation: u64,
    wait: Duration,
) -> Result<(Line, Stamp), RedisError> {
    #[cfg(feature = "tls")]
    if cache.encrypted {
        crate::store::redis::tls::provide();
    }
    let number = cache.lines.fetch_add(1, Ordering::Relaxed) + 1;
    // Weakly: the connection has this, and the cache the connection.
    let heard = Arc::downgrade(cache);
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(Some(wait))
        .set_push_sender(move |push: PushInfo| {
            if let Some(cache) = heard.upgrade() {
                cache.pushed(number, &push);
            }
            Ok::<(), SendError>(())
        });
    let connection = cache
        .client
        .get_multiplexed_async_connection_with_config(&config)
        .await?;
    let line = Line {
        number,
        generation,
        connection,
    };
    let mut track = redis::cmd("CLIENT");
    track.arg("TRACKING").arg("ON");
    let sent = cache.now();
    match line.send(&track, wait).await {
        Ok(_) => Ok((line, sent)),
        Err(trouble) => Err(trouble.into_error()),
    }
}

/// Whether the server will say the same the next time: it is too old, or this user may not.
pub(in crate::store::redis) fn is_refused(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::RESP3NotSupported)
        || matches!(error.code(), Some("ERR" | "NOPERM" | "NOPROTO"))
}

/// Somebody keeps the connection from now on, where there is a runtime.
pub(in crate::store::redis) fn keep_open(store: &Arc<Inner>) {
    let Some(cache) = &store.near else { return };
    if cache.kept.load(Ordering::Relaxed) {
        return;
    }
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        return;
    };
    if !cache.kept.swap(true, Ordering::Relaxed) {
        runtime.spawn(keep(Arc::downgrade(store), Arc::downgrade(cache)));
    }
}

/// Has a connection, and looks whether it is alive, for as long as the store is held by somebody.
async fn keep(store: Weak<Inner>, cache: Weak<NearCache>) {
    let _keeping = Keeping(Weak::clone(&cache));
    let mut was_refused = false;
    while let Some(held) = store.upgrade() {
        let Some(near) = &held.near else { return };
        let opened = if near.is_connected() {
            Ok(())
        } else {
            open(&held).await
        };
        let Err(error) = opened else {
            was_refused = false;
            drop(held);
            watch(&store).await;
            continue;
        };
        drop(held);
        if !is_refused(&error) {
            sleep(PAUSE).await;
            continue;
        }
        if !std::mem::replace(&mut was_refused, true) {
            tracing::warn!(
                target: "sessile",
                %error,
                "Redis refuses the connection of the near cache: every read is sent to it"
            );
        }
        sleep(REFUSED).await;
    }
}

/// Asks the connection for a sign of life, until it is lost.
async fn watch(store: &Weak<Inner>) {
    let mut next = Instant::now();
    loop {
        let near = store.upgrade().and_then(|held| held.near.clone());
        let Some(near) = near else { return };
        // The next is due by when the last one was sent, not by when it was answered. One that is lost is seen at once.
        let _ = timeout_at(next, near.lost.notified()).await;
        drop(near);
        let Some(held) = store.upgrade() else { return };
        let Some(near) = &held.near else { return };
        next = Instant::now() + BEAT;
        if !beat(near, &held).await {
            return;
        }
    }
}

/// Whether the connection is there, and answers.
async fn beat(near: &NearCache, store: &Inner) -> bool {
    let Some(line) = near.line().clone() else {
        return false;
    };
    if !near.serves(store.servers.generation()) {
        return false;
    }
    let sent = near.now();
    // Whatever it answers comes behind what it pushed before.
    match line.send(&TIME, store.servers.command()).await {
        Err(Trouble::Lost(_)) => {
            near.lose(line.number());
            false
        }
        _ => {
            near.vouch(sent);
            true
        }
    }
}

/// A runtime that ends takes the connection with it; whoever uses the store in the next one makes another.
struct Keeping(Weak<NearCache>);

impl Drop for Keeping {
    fn drop(&mut self) {
        let Some(near) = self.0.upgrade() else { return };
        let number = near.line().as_ref().map(|line| line.number());
        number.into_iter().for_each(|number| near.lose(number));
        near.kept.store(false, Ordering::Relaxed);
    }
}
