//! The servers' clocks: who knows them, and the heartbeat that reads them.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, Value};

use super::clock::{ServerClock, StoreClock};
use super::servers::Shared;

/// How often the clocks are read.
const BEAT: Duration = Duration::from_secs(1);

/// The clocks of all servers of a store. One that nobody holds any more, for its server has left, counts no more.
#[derive(Debug)]
pub(super) struct Clocks {
    store: Arc<StoreClock>,
    servers: Mutex<Vec<Weak<ServerClock>>>,
}

impl Clocks {
    pub(super) const fn new(store: Arc<StoreClock>) -> Self {
        Self {
            store,
            servers: Mutex::new(Vec::new()),
        }
    }

    /// The clock of one more server.
    pub(super) fn add(&self) -> Arc<ServerClock> {
        let clock = Arc::new(ServerClock::new(self.store.zero()));
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.retain(|server| server.strong_count() > 0);
        servers.push(Arc::downgrade(&clock));
        clock
    }

    /// The clock of a server that holds no records, as far as is known: the store's does not follow it.
    #[cfg(feature = "cluster")]
    pub(super) fn apart(&self) -> Arc<ServerClock> {
        Arc::new(ServerClock::new(self.store.zero()))
    }

    /// Reads a server's clock over a connection to it.
    pub(super) async fn read(
        &self,
        connection: &mut MultiplexedConnection,
        clock: &ServerClock,
    ) -> Result<(), RedisError> {
        let sent = Instant::now();
        let reply = connection.send_packed_command(&redis::cmd("TIME")).await?;
        self.note(clock, sent, Instant::now(), &reply.extract_error()?)
    }

    /// Notes what a server answered to `TIME`.
    pub(super) fn note(
        &self,
        clock: &ServerClock,
        sent: Instant,
        received: Instant,
        reply: &Value,
    ) -> Result<(), RedisError> {
        let (seconds, micros): (u64, u64) = redis::from_redis_value_ref(reply)
            .map_err(|_| RedisError::from((ErrorKind::Parse, "no reply to TIME")))?;
        clock.read(
            sent,
            received,
            seconds.saturating_mul(1_000_000).saturating_add(micros),
        );
        let servers: Vec<_> = self
            .servers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        self.store.follow(servers.iter().map(Arc::as_ref));
        Ok(())
    }
}

/// Reads the clock of every server once a second, as long as the store is held by somebody.
pub(super) async fn keep(servers: Weak<Shared>) {
    let _beating = Beating(Weak::clone(&servers));
    loop {
        // First the pause: whoever makes a connection reads the clock.
        tokio::time::sleep(BEAT).await;
        let Some(shared) = servers.upgrade() else {
            return;
        };
        shared.read_clocks().await;
    }
}

/// A runtime that ends takes the heartbeat with it; whoever uses the store in the next one begins another.
struct Beating(Weak<Shared>);

impl Drop for Beating {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.stopped_beating();
        }
    }
}
