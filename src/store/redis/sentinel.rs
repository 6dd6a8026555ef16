//! Redis Sentinel: who the primary is at the moment.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bb8::ManageConnection;
use bb8_redis::RedisConnectionManager;
use redis::aio::{MultiplexedConnection, PubSub};
use redis::{ConnectionInfo, RedisError, ServerErrorKind, Value};
use tokio::time::timeout;

use super::beat::Clocks;
use super::clock::ServerClock;
use super::failure::{at, failure};
use super::target::{at_place, name};

/// The sentinels, and the primary that they know.
///
/// They are asked for every new connection: after a failover the connections to the old primary are cut, or refuse to
/// write, and the new ones lead to the new primary.
pub(super) struct Sentinel {
    sentinels: Vec<(RedisConnectionManager, Box<str>)>,
    master: Box<str>,
    node: ConnectionInfo,
    /// Which one is asked first: the one that told last.
    first: AtomicUsize,
    /// Whose clock it is that was read last.
    primary: Mutex<Option<(Box<str>, Arc<ServerClock>)>>,
    clocks: Arc<Clocks>,
    #[cfg(feature = "tls")]
    encrypted: bool,
    /// How long each step may take: a server that is away must not use up the time for the others.
    step: Duration,
}

impl Sentinel {
    pub(super) fn new(
        sentinels: Vec<ConnectionInfo>,
        master: &str,
        node: ConnectionInfo,
        clocks: Arc<Clocks>,
        connect: Duration,
    ) -> Result<Self, RedisError> {
        #[cfg(feature = "tls")]
        let encrypted = sentinels
            .iter()
            .chain([&node])
            .any(super::tls::is_encrypted);
        let sentinels = sentinels
            .into_iter()
            .map(|info| {
                let name = name(&info);
                Ok((RedisConnectionManager::new(info)?, name))
            })
            .collect::<Result<_, RedisError>>()?;
        Ok(Self {
            sentinels,
            master: master.into(),
            node,
            first: AtomicUsize::new(0),
            primary: Mutex::default(),
            clocks,
            #[cfg(feature = "tls")]
            encrypted,
            step: connect / 4,
        })
    }

    /// A connection to the primary.
    pub(super) async fn open(
        &self,
    ) -> Result<(MultiplexedConnection, Arc<ServerClock>), RedisError> {
        let (opened, server) = self.find(|info| self.connect(info)).await?;
        Ok((opened, self.clock(server)))
    }

    /// A connection to the primary that hears what is published there.
    pub(super) async fn subscribe(&self, channel: &str) -> Result<PubSub, RedisError> {
        let found = self.find(|info| super::connection::subscribe(info, channel));
        found.await.map(|(hearing, _)| hearing)
    }

    /// What comes of connecting to the primary, and the primary's name.
    async fn find<T, F: Future<Output = Result<T, RedisError>>>(
        &self,
        connect: impl Fn(ConnectionInfo) -> F,
    ) -> Result<(T, Box<str>), RedisError> {
        let first = self.first.load(Ordering::Relaxed);
        let mut failed = None;
        let mut away: Vec<(String, u16)> = Vec::new();
        for n in 0..self.sentinels.len() {
            let n = first.wrapping_add(n) % self.sentinels.len();
            let (sentinel, asked) = &self.sentinels[n];
            let place = match self.within(asked, self.ask(sentinel)).await {
                Ok(place) => place,
                Err(error) => {
                    // It is asked last from now on: those that hang must not use up the time of every attempt.
                    self.first.store(n.wrapping_add(1), Ordering::Relaxed);
                    failed.get_or_insert(error);
                    continue;
                }
            };
            if away.contains(&place) {
                continue;
            }
            let info = at_place(&self.node, &place.0, place.1);
            let server = name(&info);
            match self.within(&server, connect(info)).await {
                Ok(opened) => {
                    self.first.store(n, Ordering::Relaxed);
                    return Ok((opened, server));
                }
                Err(error) => {
                    // It says more than that some sentinel is away.
                    failed = Some(error);
                    away.push(place);
                }
            }
        }
        Err(failed.unwrap_or_else(|| failure("no sentinel was named".to_owned())))
    }

    async fn within<T>(
        &self,
        name: &str,
        step: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, RedisError> {
        match timeout(self.step, step).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(at(&name, &error)),
            Err(_) => Err(failure(format!("{name}: no answer within {:?}", self.step))),
        }
    }

    /// Asks a sentinel where the primary is.
    async fn ask(&self, sentinel: &RedisConnectionManager) -> Result<(String, u16), RedisError> {
        let mut connection = sentinel.connect().await?;
        let mut command = redis::cmd("SENTINEL");
        command.arg("get-master-addr-by-name").arg(&*self.master);
        let reply = connection
            .send_packed_command(&command)
            .await?
            .extract_error()?;
        let place: Option<(String, u16)> = redis::from_redis_value(reply)?;
        place.ok_or_else(|| failure(format!("it knows no primary named {}", self.master)))
    }

    /// Connects to what a sentinel named, and looks whether it is a primary: just after a failover a sentinel may not
    /// know yet.
    async fn connect(&self, info: ConnectionInfo) -> Result<MultiplexedConnection, RedisError> {
        let mut connection = RedisConnectionManager::new(info)?.connect().await?;
        let role = connection.send_packed_command(&redis::cmd("ROLE")).await?;
        match role.extract_error() {
            Ok(Value::Array(role)) => match role.first() {
                Some(Value::BulkString(role)) if role == b"master" => Ok(connection),
                _ => Err(failure("it is not a primary, or no more".to_owned())),
            },
            Ok(_) => Err(failure("it does not know its role".to_owned())),
            // Who may not ask finds out by writing.
            Err(error) if error.kind() == ServerErrorKind::NoPerm.into() => Ok(connection),
            Err(error) => Err(error),
        }
    }

    /// The primary's clock. Another server has another.
    fn clock(&self, server: Box<str>) -> Arc<ServerClock> {
        let mut primary = self.primary.lock().unwrap_or_else(PoisonError::into_inner);
        match &*primary {
            Some((known, clock)) if *known == server => Arc::clone(clock),
            _ => {
                let clock = self.clocks.add();
                *primary = Some((server, Arc::clone(&clock)));
                clock
            }
        }
    }

    /// Whether any of the connections is one with TLS.
    #[cfg(feature = "tls")]
    pub(super) const fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// What the operator knows it by.
    pub(super) fn name(&self) -> &str {
        &self.master
    }
}
