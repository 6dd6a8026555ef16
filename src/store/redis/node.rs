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
use super::failure::{Answer, failure};
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
        let pool = Pool::builder()
            .max_size(limits.connections)
            // Idle connections stay: without these two the pool has no task of its own.
            .max_lifetime(None)
            .idle_timeout(None)
            .connection_timeout(limits.checkout)
            // Not by the pool, which would pause for up to half of the checkout: by whoever waits.
            .retry_connection(false)
            .test_on_check_out(true)
            .build_unchecked(manager);
        Self {
            name,
            pool,
            health,
            command: limits.command,
        }
    }

    /// A connection, given back to the pool already. It waits at most that long, and no longer than the pool's
    /// attempts are worth waiting for: who has time left asks again.
    async fn checkout(&self, patience: Duration) -> Result<Connection, RedisError> {
        if let Ok(Ok(pooled)) = timeout(patience.min(ASK), self.pool.get()).await {
            return Ok(pooled.clone());
        }
        Err(self
            .health
            .cause()
            .unwrap_or_else(|| failure(format!("{}: no connection in time", self.name))))
    }

    /// One attempt of a call, with `ASKING` before it if the slot is on its way here.
    pub(super) async fn attempt(
        &self,
        asking: bool,
        call: &mut Call,
        build: &(impl Fn(&Attempt) -> Cmd + Send + Sync),
    ) -> Step {
        let began = Instant::now();
        let mut connection = match self.checkout(call.patience(began)).await {
            Ok(connection) => connection,
            Err(cause) => return call.without_connection(began, Instant::now(), cause),
        };
        if call.is_last() && connection.is_dead() {
            self.health.give_up(connection.generation());
            let cause = failure(format!("{}: the connection was cut", self.name));
            return call.dead(Instant::now(), cause);
        }
        let not_after = connection.clock().now() + NOT_AFTER;
        let command = build(&Attempt {
            not_after,
            with_text: call.with_text(),
        });
        let wait = self.wait(call.until());
        let reply = if asking {
            let mut pipeline = Pipeline::with_capacity(2);
            pipeline.cmd("ASKING").add_command(command);
            let replies = connection.send_all(&pipeline, wait).await;
            replies.map(|mut replies| replies.pop().unwrap_or(Value::Nil))
        } else {
            connection.send(&command, wait).await
        };
        self.judge(&connection, wait, reply.as_ref().err());
        let answer = Answer::of(reply);
        if let Answer::Demoted(_) = answer {
            self.health.give_up(connection.generation());
        }
        call.answered(Instant::now(), not_after, answer)
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
        let wait = self.wait(until);
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
    fn wait(&self, until: Instant) -> Duration {
        self.command
            .min(until.saturating_duration_since(Instant::now()))
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
