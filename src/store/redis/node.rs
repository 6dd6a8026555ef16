//! One server, or what stands for one: its pool.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bb8::Pool;
use redis::{Cmd, Pipeline, RedisError, Value};
use tokio::time::timeout;

use super::beat::Clocks;
use super::call::{Attempt, Call, Step};
use super::connection::{Connection, Door, Manager, TIME};
use super::failure::{Trouble, failure, understood};
use super::health::Health;
use super::target::Limits;

/// A waiting checkout asks the pool again so often: the pool does not tell those who wait that a connection could not
/// be made, and begins a new one only for who asks.
const ASK: Duration = Duration::from_millis(40);
/// A reply that took less long says nothing against its connection: the call had no more time.
const SLOW: Duration = Duration::from_millis(50);
/// For so long a command may still run after it was sent, by the server's clock, in microseconds.
const NOT_AFTER: u64 = 5_000_000;

/// A server and its connections.
pub(super) struct Node {
    name: Box<str>,
    pool: Pool<Manager>,
    health: Arc<Health>,
    /// How long the pool lets one wait.
    ask: Duration,
    command: Duration,
}

impl Node {
    /// Needs no runtime, and connects to nothing.
    pub(super) fn new(door: Door, limits: &Limits, clocks: &Arc<Clocks>) -> Self {
        let health = Arc::new(Health::default());
        let name = door.name().into();
        let manager = Manager::new(
            door,
            Arc::clone(&health),
            Arc::clone(clocks),
            limits.connect,
        );
        let ask = limits.checkout.min(ASK);
        let pool = Pool::builder()
            .max_size(limits.connections)
            // Idle connections stay: without these two the pool has no task of its own.
            .max_lifetime(None)
            .idle_timeout(None)
            .connection_timeout(ask)
            // Not by the pool, which would pause for up to half of the checkout: by whoever waits.
            .retry_connection(false)
            .test_on_check_out(true)
            .build_unchecked(manager);
        Self {
            name,
            pool,
            health,
            ask,
            command: limits.command,
        }
    }

    /// A connection, given back to the pool already. It waits for a part of the patience: who has some left asks
    /// again.
    async fn checkout(&self, patience: Duration) -> Result<Connection, RedisError> {
        let pooled = if patience >= self.ask {
            // The pool's own timer, so that there is but one.
            self.pool.get().await.ok()
        } else {
            timeout(patience, self.pool.get())
                .await
                .ok()
                .and_then(Result::ok)
        };
        match pooled {
            Some(pooled) => Ok(pooled.clone()),
            None => Err(self
                .health
                .cause()
                .unwrap_or_else(|| failure(format!("{}: no connection in time", self.name)))),
        }
    }

    /// What the operator knows it by.
    #[cfg(feature = "cluster")]
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its host alone.
    #[cfg(feature = "cluster")]
    pub(super) fn host(&self) -> &str {
        self.name
            .rsplit_once(':')
            .map_or(&*self.name, |(host, _)| host)
    }

    /// Whether no connection could be made, the last time.
    #[cfg(feature = "cluster")]
    pub(super) fn is_away(&self) -> bool {
        self.health.cause().is_some()
    }

    /// One attempt of a call, with `ASKING` before it if the slot is on its way here.
    pub(super) async fn attempt(
        &self,
        began: Instant,
        asking: bool,
        call: &mut Call,
        build: &(impl Fn(&Attempt) -> Cmd + Send + Sync),
    ) -> Step {
        let patience = call.patience(began);
        let mut connection = match self.checkout(patience).await {
            Ok(connection) => connection,
            Err(cause) => return call.without_connection(began, Instant::now(), cause),
        };
        let now = Instant::now();
        if (connection.was_quiet(now) || call.is_last()) && connection.is_dead() {
            self.health.give_up(connection.generation());
            let cause = failure(format!("{}: the connection was cut", self.name));
            return call.dead(now, cause);
        }
        let wait = self.wait(now, call.until());
        if wait.is_zero() {
            let cause = failure(format!("{}: no time was left", self.name));
            return call.without_connection(began, now, cause);
        }
        let not_after = connection.clock().now().saturating_add(NOT_AFTER);
        let command = build(&Attempt {
            not_after,
            with_text: call.with_text(),
        });
        let reply = if asking {
            let mut pipeline = Pipeline::with_capacity(2);
            pipeline.cmd("ASKING").add_command(command);
            let replies = connection.send_all(&pipeline, wait).await;
            replies.map(|mut replies| replies.pop().unwrap_or(Value::Nil))
        } else {
            connection.send(&command, wait).await
        };
        self.judge(&connection, wait, reply.as_ref().err());
        match understood(reply) {
            Ok(value) => call.answered(value),
            Err(trouble) => {
                if let Trouble::Demoted(_) = trouble {
                    self.health.give_up(connection.generation());
                }
                call.troubled(Instant::now(), not_after, trouble)
            }
        }
    }

    /// One attempt to send several commands in one go. Each has its own reply.
    pub(super) async fn send_all(
        &self,
        commands: &Pipeline,
        until: Instant,
    ) -> Result<Vec<Value>, RedisError> {
        let mut connection = self
            .checkout(until.saturating_duration_since(Instant::now()))
            .await?;
        let wait = self.wait(Instant::now(), until);
        let replies = connection.send_all(commands, wait).await;
        self.judge(&connection, wait, replies.as_ref().err());
        replies
    }

    /// Reads the server's clock.
    pub(super) async fn read_clock(&self, clocks: &Clocks) -> Result<(), RedisError> {
        let mut connection = self.checkout(self.command).await?;
        let sent = Instant::now();
        let reply = connection.send(&TIME, self.command).await;
        self.judge(&connection, self.command, reply.as_ref().err());
        clocks.note(connection.clock(), sent, Instant::now(), &reply?)
    }

    /// How long an attempt may take that begins now.
    fn wait(&self, now: Instant, until: Instant) -> Duration {
        self.command.min(until.saturating_duration_since(now))
    }

    /// Whoever gets no reply gives up the connection.
    fn judge(&self, connection: &Connection, wait: Duration, error: Option<&RedisError>) {
        if let Some(error) = error
            && !(error.is_timeout() && wait < SLOW.min(self.command))
        {
            self.health.give_up(connection.generation());
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("name", &self.name)
            .field("pool", &self.pool.state())
            .finish_non_exhaustive()
    }
}
