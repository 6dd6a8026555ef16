//! A connection that requests share, and how one is made.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bb8::ManageConnection;
use bb8_redis::RedisConnectionManager;
use futures_util::future::join;
use redis::aio::{MultiplexedConnection, PubSub};
use redis::{Cmd, ConnectionInfo, ErrorKind, Pipeline, RedisError, Value};
use tokio::time::{sleep, timeout};

use super::beat::Clocks;
use super::clock::ServerClock;
use super::failure::{at, failure};
use super::health::Health;
#[cfg(feature = "sentinel")]
use super::sentinel::Sentinel;
use super::target::name;
use crate::clock::span_micros;

/// After a connection could not be made, the next attempt comes no sooner.
const PACE: Duration = Duration::from_millis(20);

/// A connection that nobody used for so many milliseconds is looked at before something is handed to it.
const QUIET: u32 = 10;

/// A connection that gave an answer so many microseconds ago is not looked at: it may have been cut since, as it may be
/// while a command is on its way, which takes no less.
const JUST_NOW: u64 = 100;

/// What every server answers: its clock.
pub(super) static TIME: LazyLock<Cmd> = LazyLock::new(|| redis::cmd("TIME"));

/// A connection that is checked out, cloned and given back at once, so that parallel requests share a pipeline.
#[derive(Clone)]
pub(super) struct Connection {
    multiplexed: MultiplexedConnection,
    line: Arc<Line>,
}

/// What the clones share.
struct Line {
    /// Which connections of the server it was made with.
    generation: u64,
    clock: Arc<ServerClock>,
    zero: Instant,
    /// When something was sent last, in milliseconds since `zero`.
    used: AtomicU32,
    /// When it answered last, in microseconds since `zero`; 0: not yet.
    answered: AtomicU64,
}

impl Line {
    fn new(generation: u64, clock: Arc<ServerClock>) -> Self {
        Self {
            generation,
            clock,
            zero: Instant::now(),
            used: AtomicU32::new(0),
            answered: AtomicU64::new(0),
        }
    }

    fn micros(&self, now: Instant) -> u64 {
        span_micros(now.saturating_duration_since(self.zero))
    }

    fn answers(&self, now: Instant) {
        self.answered
            .store(self.micros(now).max(1), Ordering::Relaxed);
    }

    fn has_just_answered(&self, now: Instant) -> bool {
        match self.answered.load(Ordering::Relaxed) {
            0 => false,
            answered => self.micros(now).saturating_sub(answered) < JUST_NOW,
        }
    }
}

impl Connection {
    /// The clock of the server that it leads to. It was read when the connection was made.
    pub(super) fn clock(&self) -> &ServerClock {
        &self.line.clock
    }

    /// Which connections of the server it was made with.
    pub(super) fn generation(&self) -> u64 {
        self.line.generation
    }

    /// Notes that something is sent now. Tells whether nothing was for a while, in which it may have been cut.
    pub(super) fn was_quiet(&self, now: Instant) -> bool {
        let now = now.saturating_duration_since(self.line.zero).as_millis();
        // It wraps around after 49 days, and then says once that it was quiet, or was not.
        let now = now as u32;
        let used = self.line.used.load(Ordering::Relaxed);
        if now != used {
            self.line.used.store(now, Ordering::Relaxed);
        }
        now.wrapping_sub(used) >= QUIET
    }

    /// Whether it gave an answer a moment ago.
    pub(super) fn has_just_answered(&self, now: Instant) -> bool {
        self.line.has_just_answered(now)
    }

    /// Whether it is known to be dead, so that what is sent now never leaves.
    ///
    /// The client library keeps that to itself, except that a dead connection refuses a command at once. So a harmless
    /// one is offered and taken back; as a rule it is never sent.
    pub(super) fn is_dead(&mut self) -> bool {
        let offer = pin!(self.multiplexed.send_packed_command(&TIME));
        matches!(
            offer.poll(&mut Context::from_waker(Waker::noop())),
            Poll::Ready(Err(_))
        )
    }

    /// Sends a command. An error reply is a value here; an error means that there was no reply.
    pub(super) async fn send(
        &mut self,
        command: &Cmd,
        wait: Duration,
    ) -> Result<Value, RedisError> {
        // The library's own timer, so that there is but one.
        self.multiplexed.set_response_timeout(wait);
        let reply = self.multiplexed.send_packed_command(command).await;
        if reply.is_ok() {
            self.line.answers(Instant::now());
        }
        reply
    }

    /// Sends a command to a server that its slot is on its way to.
    pub(super) async fn send_asking(
        &mut self,
        command: Cmd,
        wait: Duration,
    ) -> Result<Value, RedisError> {
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.cmd("ASKING").add_command(command);
        let replies = self.send_all(&pipeline, wait).await;
        replies.map(|mut replies| replies.pop().unwrap_or(Value::Nil))
    }

    /// Sends several commands in one go. Each has its own reply.
    pub(super) async fn send_all(
        &mut self,
        commands: &Pipeline,
        wait: Duration,
    ) -> Result<Vec<Value>, RedisError> {
        self.multiplexed.set_response_timeout(wait);
        let replies = self
            .multiplexed
            .send_packed_commands(commands, 0, commands.len())
            .await?;
        if replies.len() == commands.len() {
            Ok(replies)
        } else {
            Err((ErrorKind::Parse, "not as many replies as commands").into())
        }
    }

    /// Sends several commands in one go, behind a look at the clock. `None`: the connection is known to be dead.
    ///
    /// It is the look at the clock that finds it so, and nothing else was sent then: see [`is_dead`](Self::is_dead).
    pub(super) async fn send_all_timed(
        &mut self,
        commands: &Pipeline,
        wait: Duration,
    ) -> Option<Timed> {
        let mut clock = self.clone();
        let mut time = pin!(async {
            let time = clock.send(&TIME, wait).await;
            (time, Instant::now())
        });
        let sent = Instant::now();
        let ((time, received), replies) =
            match poll_fn(|context| Poll::Ready(time.as_mut().poll(context))).await {
                Poll::Ready((Err(_), _)) => return None,
                Poll::Ready(time) => (time, self.send_all(commands, wait).await),
                Poll::Pending => join(time, self.send_all(commands, wait)).await,
            };
        Some(Timed {
            time,
            sent,
            received,
            replies,
        })
    }
}

/// Replies, and what the clock showed before them.
pub(super) struct Timed {
    pub(super) time: Result<Value, RedisError>,
    pub(super) sent: Instant,
    pub(super) received: Instant,
    pub(super) replies: Result<Vec<Value>, RedisError>,
}

/// Connects to a server, to hear what is published there.
pub(super) async fn subscribe(info: ConnectionInfo, channel: &str) -> Result<PubSub, RedisError> {
    let mut hearing = redis::Client::open(info)?.get_async_pubsub().await?;
    hearing.subscribe(channel).await?;
    Ok(hearing)
}

/// Makes the connections of a server's pool, and of the one in its place.
#[derive(Clone)]
pub(super) struct Manager {
    door: Arc<Door>,
    health: Arc<Health>,
    clocks: Arc<Clocks>,
    /// How long making one may take.
    connect: Duration,
}

/// Where the connections lead.
pub(super) enum Door {
    Server {
        info: ConnectionInfo,
        manager: RedisConnectionManager,
        name: Box<str>,
        clock: Arc<ServerClock>,
        #[cfg(feature = "tls")]
        encrypted: bool,
    },
    #[cfg(feature = "sentinel")]
    Sentinel(Sentinel),
}

impl Door {
    /// To one server, and whose clock it is.
    pub(super) fn server(
        info: ConnectionInfo,
        clock: Arc<ServerClock>,
    ) -> Result<Self, RedisError> {
        Ok(Self::Server {
            name: name(&info),
            #[cfg(feature = "tls")]
            encrypted: super::tls::is_encrypted(&info),
            manager: RedisConnectionManager::new(info.clone())?,
            info,
            clock,
        })
    }

    async fn open(&self) -> Result<(MultiplexedConnection, Arc<ServerClock>), RedisError> {
        match self {
            Self::Server {
                manager,
                name,
                clock,
                ..
            } => {
                let opened = manager.connect().await.map_err(|error| at(name, &error))?;
                Ok((opened, Arc::clone(clock)))
            }
            #[cfg(feature = "sentinel")]
            Self::Sentinel(sentinel) => sentinel.open().await,
        }
    }

    /// A connection that hears what is published there.
    async fn subscribe(&self, channel: &str) -> Result<PubSub, RedisError> {
        match self {
            Self::Server { info, .. } => subscribe(info.clone(), channel).await,
            #[cfg(feature = "sentinel")]
            Self::Sentinel(sentinel) => sentinel.subscribe(channel).await,
        }
    }

    #[cfg(feature = "tls")]
    const fn is_encrypted(&self) -> bool {
        match self {
            Self::Server { encrypted, .. } => *encrypted,
            #[cfg(feature = "sentinel")]
            Self::Sentinel(sentinel) => sentinel.is_encrypted(),
        }
    }

    /// What the operator knows the server by.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Server { name, .. } => name,
            #[cfg(feature = "sentinel")]
            Self::Sentinel(sentinel) => sentinel.name(),
        }
    }
}

impl Manager {
    pub(super) fn new(
        door: Door,
        health: Arc<Health>,
        clocks: Arc<Clocks>,
        connect: Duration,
    ) -> Self {
        Self {
            door: Arc::new(door),
            health,
            clocks,
            connect,
        }
    }

    /// A connection of its own, that hears what is published there. It counts in no pool.
    pub(super) async fn subscribe(&self, channel: &str) -> Result<PubSub, RedisError> {
        self.provide();
        let subscribed = self.door.subscribe(channel);
        match timeout(self.connect, subscribed).await {
            Ok(subscribed) => subscribed,
            Err(_) => Err(self.none_in_time()),
        }
    }

    /// Whatever encrypts, if anything has to.
    fn provide(&self) {
        #[cfg(feature = "tls")]
        if self.door.is_encrypted() {
            super::tls::provide();
        }
    }

    fn none_in_time(&self) -> RedisError {
        let name = self.door.name();
        failure(format!("{name}: no connection within {:?}", self.connect))
    }

    async fn make(&self) -> Result<Connection, RedisError> {
        let (mut multiplexed, clock) = self.door.open().await?;
        multiplexed.set_response_timeout(self.connect);
        self.clocks
            .read(&mut multiplexed, &clock)
            .await
            .map_err(|error| at(&self.door.name(), &error))?;
        Ok(Connection {
            multiplexed,
            // As of now, for the server has just answered: what was given up before is not this one.
            line: Arc::new(Line::new(self.health.generation(), clock)),
        })
    }
}

impl ManageConnection for Manager {
    type Connection = Connection;
    type Error = RedisError;

    async fn connect(&self) -> Result<Connection, RedisError> {
        let _connecting = self.health.connecting();
        if let Some(pause) = self.health.pause(Instant::now(), PACE) {
            sleep(pause).await;
        }
        self.provide();
        let made = match timeout(self.connect, self.make()).await {
            Ok(made) => made,
            Err(_) => Err(self.none_in_time()),
        };
        self.health.connected(Instant::now(), made.as_ref().err());
        made
    }

    /// No `PING`: whoever uses a connection finds out whether it works, and says so.
    async fn is_valid(&self, connection: &mut Connection) -> Result<(), RedisError> {
        if self.health.is_given_up(connection.generation()) {
            Err(failure("given up".to_owned()))
        } else {
            Ok(())
        }
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        self.health.is_given_up(connection.generation())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_answered_a_moment_ago_is_not_looked_at_and_who_did_not_is() {
        let line = Line::new(0, Arc::new(ServerClock::new(Instant::now())));
        let at = |micros| line.zero + Duration::from_micros(micros);
        assert!(!line.has_just_answered(at(0)));
        line.answers(at(0));
        assert!(line.has_just_answered(at(JUST_NOW)));
        line.answers(at(5_000_000));
        assert!(line.has_just_answered(at(5_000_000 + JUST_NOW - 1)));
        assert!(!line.has_just_answered(at(5_000_000 + JUST_NOW)));
    }
}
