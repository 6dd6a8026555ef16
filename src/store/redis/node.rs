//! One server, or what stands for one: its pool.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bb8::Pool;
use redis::aio::PubSub;
use redis::{Cmd, Pipeline, RedisError, Value};
use tokio::time::timeout;

use super::beat::Clocks;
use super::call::{Attempt, Call, Step};
use super::connection::{Connection, Door, Manager, TIME};
use super::failure::{CallError, Trouble, failure, understood};
use super::health::Health;
use super::heart;
use super::held::Held;
use super::target::Limits;
use crate::store::late;

/// A waiting checkout asks the pool again so often: the pool does not tell those who wait that a connection could not
/// be made, and begins a new one only for who asks.
const ASK: Duration = Duration::from_millis(40);
/// A reply that took less long says nothing against its connection: the call had no more time.
const SLOW: Duration = Duration::from_millis(50);

/// For so long a heartbeat's reading of the clock will do: a heartbeat that comes once a second may come a little late.
const LATELY: Duration = Duration::from_millis(1500);

/// Servers are told apart by it that do not say who they are.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A server's answer to a heartbeat.
#[derive(Debug)]
pub(super) struct Pulse {
    /// The script's.
    pub(super) reply: Value,
    /// Who the server is.
    pub(super) server: u64,
}

/// A server and its connections.
pub(super) struct Node {
    number: u64,
    zero: Instant,
    /// When a heartbeat read the clock last, in milliseconds since `zero`, and one more; 0: the last one did not.
    beaten: AtomicU64,
    /// Of which connections it is known that they may not ask the server who it is: their generation, and one more.
    mute: AtomicU64,
    name: Box<str>,
    pool: RwLock<Pool<Manager>>,
    manager: Manager,
    held: Held,
    connections: u32,
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
        Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            zero: Instant::now(),
            beaten: AtomicU64::new(0),
            mute: AtomicU64::new(0),
            name,
            pool: RwLock::new(pool(manager.clone(), limits.connections, ask)),
            manager,
            held: Held::of(limits.connections),
            connections: limits.connections,
            health,
            ask,
            command: limits.command,
        }
    }

    /// Which connections it has now: others take their place when these are given up.
    pub(super) fn generation(&self) -> u64 {
        self.health.generation()
    }

    /// How many connections there are, and how many of them nobody has just now.
    pub(super) fn connections(&self) -> (u32, u32) {
        let state = self.pool().state();
        (state.connections, state.idle_connections)
    }

    /// A connection outside of the pool, that hears what is published there.
    pub(super) async fn subscribe(&self, channel: &str) -> Result<PubSub, RedisError> {
        self.manager.subscribe(channel).await
    }

    /// A connection, given back to the pool already. It waits for a part of the patience: who has some left asks
    /// again.
    async fn checkout(&self, patience: Duration) -> Result<Connection, RedisError> {
        if let Some(held) = self.held.get(&self.health) {
            return Ok(held);
        }
        let pool = self.pool();
        let begun = self.health.begun();
        let pooled = if patience >= self.ask {
            // The pool's own timer, so that there is but one.
            pool.get().await.ok()
        } else {
            timeout(patience, pool.get())
                .await
                .ok()
                .and_then(Result::ok)
        };
        if let Some(pooled) = pooled {
            self.held.keep(&pooled);
            return Ok(pooled.clone());
        }
        if patience >= self.ask && self.health.is_idle_since(begun) {
            self.revive();
        }
        Err(self
            .health
            .cause()
            .unwrap_or_else(|| failure(format!("{}: no connection in time", self.name))))
    }

    fn pool(&self) -> Pool<Manager> {
        self.pool
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A pool without a connection that makes none when it is asked for one: it waits for one that was being made when
    /// its runtime ended, and would for ever. Another takes its place.
    fn revive(&self) {
        let mut held = self.pool.write().unwrap_or_else(PoisonError::into_inner);
        if held.state().connections == 0 {
            *held = pool(self.manager.clone(), self.connections, self.ask);
        }
    }

    /// What the operator knows it by.
    #[cfg(any(feature = "cluster", feature = "admin"))]
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

    /// One attempt of a call, with `ASKING` before it if the slot is on its way here. It `began` when its server was
    /// looked for; it is `now` that it was found.
    pub(super) async fn attempt(
        &self,
        began: Instant,
        now: Instant,
        asking: bool,
        call: &mut Call,
        build: &(impl Fn(&Attempt) -> Cmd + Send + Sync),
    ) -> Step {
        // Where nobody waits for a connection it is no later after it, and the clock is not read again.
        let (mut connection, now) = match self.held.get(&self.health) {
            Some(held) => (held, now),
            None => match self.checkout(call.patience(began)).await {
                Ok(connection) => (connection, Instant::now()),
                Err(cause) => return call.without_connection(began, Instant::now(), cause),
            },
        };
        let is_risky = call.is_last() && !connection.has_just_answered(now);
        if (connection.was_quiet(now) || is_risky) && connection.is_dead() {
            self.health.give_up(connection.generation());
            let cause = failure(format!("{}: the connection was cut", self.name));
            return call.dead(now, cause);
        }
        let wait = self.wait(now, call.until());
        if wait.is_zero() {
            let cause = failure(format!("{}: no time was left", self.name));
            return call.without_connection(began, now, cause);
        }
        let not_after = late::not_after(connection.clock().at(now));
        let command = build(&Attempt {
            not_after,
            with_text: call.with_text(),
        });
        let reply = if asking {
            // Boxed, for it is rare, and the future of every call would have room for it.
            Box::pin(connection.send_asking(command, wait)).await
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

    /// A heartbeat: what `build` makes, behind a look at the clock, and before the question who the server is. One
    /// attempt, unless the connection turns out to have been cut, or the server does not know the script.
    pub(super) async fn pulse(
        &self,
        clocks: &Clocks,
        until: Instant,
        build: &(impl Fn(&Attempt) -> Cmd + Send + Sync),
    ) -> Result<Pulse, CallError> {
        let pulse = self.try_pulse(clocks, until, build).await;
        if let Err(CallError::NotSent(_) | CallError::Lost { .. }) = pulse {
            self.beaten.store(0, Ordering::Relaxed);
        }
        pulse
    }

    async fn try_pulse(
        &self,
        clocks: &Clocks,
        until: Instant,
        build: &(impl Fn(&Attempt) -> Cmd + Send + Sync),
    ) -> Result<Pulse, CallError> {
        let mut lost: Option<u64> = None;
        let mut with_text = false;
        loop {
            let begun = self.begin(until).await;
            let (mut connection, wait) = match (begun, lost) {
                (Ok(begun), _) => begun,
                (Err(cause), None) => return Err(CallError::NotSent(cause)),
                (Err(cause), Some(not_after)) => return Err(CallError::Lost { not_after, cause }),
            };
            let not_after = late::not_after(connection.clock().now());
            let generation = connection.generation();
            let mut pipeline = Pipeline::with_capacity(3);
            pipeline.add_command(build(&Attempt {
                not_after,
                with_text,
            }));
            let is_mute = self.mute.load(Ordering::Relaxed) == generation + 1;
            if !is_mute {
                pipeline.cmd("INFO").arg("server");
                pipeline.cmd("INFO").arg("replication");
            }
            let Some(timed) = connection.send_all_timed(&pipeline, wait).await else {
                self.health.give_up(generation);
                continue;
            };
            self.judge(&connection, wait, timed.replies.as_ref().err());
            let mut replies = match timed.replies {
                Ok(replies) => replies,
                Err(cause) if lost.is_none() && !cause.is_timeout() => {
                    lost = Some(not_after);
                    continue;
                }
                Err(cause) => {
                    let not_after = not_after.max(lost.unwrap_or(0));
                    return Err(CallError::Lost { not_after, cause });
                }
            };
            let server = match heart::server(&replies[1..]) {
                Some(server) => server,
                None => {
                    self.mute.store(generation + 1, Ordering::Relaxed);
                    heart::unnamed(self.number, generation)
                }
            };
            let (sent, received) = (timed.sent, timed.received);
            if let Ok(time) = &timed.time
                && clocks
                    .note(connection.clock(), sent, received, time)
                    .is_ok()
            {
                let read = self.millis().saturating_add(1);
                self.beaten.store(read, Ordering::Relaxed);
            }
            let script = replies.swap_remove(0);
            let error = match understood(Ok(script)) {
                Ok(reply) => return Ok(Pulse { reply, server }),
                Err(Trouble::NoScript(_)) if !with_text => {
                    with_text = true;
                    continue;
                }
                Err(Trouble::Demoted(error)) => {
                    // The next one finds the server in its place, where somebody knows it.
                    self.health.give_up(generation);
                    error
                }
                Err(
                    Trouble::NoScript(error)
                    | Trouble::Moved(error)
                    | Trouble::Ask(error)
                    | Trouble::Later(error)
                    | Trouble::Refused(error)
                    | Trouble::Lost(error),
                ) => error,
            };
            return Err(match lost {
                None => CallError::Refused(error),
                Some(not_after) => CallError::Lost {
                    not_after,
                    cause: error,
                },
            });
        }
    }

    /// A connection, and how long to wait for its answer.
    async fn begin(&self, until: Instant) -> Result<(Connection, Duration), RedisError> {
        let began = Instant::now();
        loop {
            let now = Instant::now();
            match self.checkout(until.saturating_duration_since(now)).await {
                Ok(connection) => {
                    let wait = self.wait(Instant::now(), until);
                    if wait.is_zero() {
                        return Err(failure(format!("{}: no time was left", self.name)));
                    }
                    return Ok((connection, wait));
                }
                // A server that lets nobody in is asked again by the next heartbeat.
                Err(cause) if self.health.has_failed_since(began) || Instant::now() >= until => {
                    return Err(cause);
                }
                Err(_) => {}
            }
        }
    }

    /// Whether a heartbeat has just read the clock.
    pub(super) fn has_beaten(&self) -> bool {
        let beaten = self.beaten.load(Ordering::Relaxed);
        let lately = u64::try_from(LATELY.as_millis()).unwrap_or(u64::MAX);
        beaten > 0 && self.millis().saturating_sub(beaten) < lately
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.zero.elapsed().as_millis()).unwrap_or(u64::MAX)
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

fn pool(manager: Manager, connections: u32, ask: Duration) -> Pool<Manager> {
    Pool::builder()
        .max_size(connections)
        // Idle connections stay: without these two the pool has no task of its own.
        .max_lifetime(None)
        .idle_timeout(None)
        .connection_timeout(ask)
        // Not by the pool, which would pause for up to half of the checkout: by whoever waits.
        .retry_connection(false)
        .test_on_check_out(true)
        .build_unchecked(manager)
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("name", &self.name)
            .field("pool", &self.pool().state())
            .finish_non_exhaustive()
    }
}
