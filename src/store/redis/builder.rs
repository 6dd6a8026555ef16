//! Settings of a store, checked when it is built.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Client, ConnectionInfo, ProtocolVersion};

use super::clock::StoreClock;
use super::failure::Words;
use super::heart::Hearts;
use super::keys::Keyspace;
use super::near_cache::{self, NearCache};
use super::pursuit::Pursuit;
use super::servers::Servers;
use super::target::{self, Reach, Target};
use super::{Inner, RedisStore};
use crate::error::ConfigError;
use crate::event::Tally;

const COMMAND: Duration = Duration::from_millis(150);
const OPERATION: Duration = Duration::from_millis(250);
/// Making one, TLS and logging in included. No request waits for it longer than for a connection.
const CONNECT: Duration = Duration::from_secs(1);
const CONNECTIONS: u32 = 1;
const MOST_CONNECTIONS: u32 = 4;
const RECORD_LIMIT: usize = 64 * 1024;
/// More copies are no use: their records alone would take gigabytes.
const MOST_COPIES: usize = 16_000_000;
/// What a record may have at most, whatever is asked for: a script holds a few copies of it at a time.
const LARGEST_RECORD: usize = 16 * 1024 * 1024;

/// Settings for a [`RedisStore`]; [`connect`](Self::connect) checks them.
#[must_use = "a builder does nothing until `connect` is called"]
pub struct RedisStoreBuilder {
    place: Place,
    urls: Vec<String>,
    namespace: String,
    connections: u32,
    command: Duration,
    operation: Duration,
    record_limit: usize,
    near: usize,
    #[cfg(feature = "tls")]
    tls: super::tls::Certificates,
    #[cfg(feature = "sentinel")]
    login: Option<(Option<String>, String)>,
}

/// What the addresses are of.
enum Place {
    Server,
    #[cfg(feature = "cluster")]
    Cluster,
    #[cfg(feature = "sentinel")]
    Sentinel(String),
}

impl RedisStoreBuilder {
    pub(super) fn new(url: &str) -> Self {
        Self::of(Place::Server, vec![url.to_owned()])
    }

    /// A cluster, found by these nodes of it.
    #[cfg(feature = "cluster")]
    pub(super) fn cluster(urls: Vec<String>) -> Self {
        Self::of(Place::Cluster, urls)
    }

    /// The master of that name, as these sentinels say.
    #[cfg(feature = "sentinel")]
    pub(super) fn sentinel(urls: Vec<String>, master: String) -> Self {
        Self::of(Place::Sentinel(master), urls)
    }

    fn of(place: Place, urls: Vec<String>) -> Self {
        Self {
            place,
            urls,
            namespace: String::new(),
            connections: CONNECTIONS,
            command: COMMAND,
            operation: OPERATION,
            record_limit: RECORD_LIMIT,
            near: 0,
            #[cfg(feature = "tls")]
            tls: super::tls::Certificates::default(),
            #[cfg(feature = "sentinel")]
            login: None,
        }
    }

    /// What every key begins with, before a colon: services that share one Redis have one each, and never see each
    /// other's sessions. 1 to 32 of `a-z`, `0-9`, `-` and `_`, and not `demo`.
    ///
    /// Default: none.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// How many connections to each server at most, 1 to 4. All requests share them, and each has a connection only for
    /// as long as it takes to hand over a command. What one connection carries leaves in larger pieces than what several
    /// do: more of them help only where one processor cannot keep up with the answers.
    ///
    /// Default: 1.
    pub const fn connections(mut self, connections: u32) -> Self {
        self.connections = connections;
        self
    }

    /// How long a connection, and then the answer to one command, may take. What is not answered by then counts as
    /// lost, and its connection as broken.
    ///
    /// Default: 150 ms, a hundred times what a Redis in the same building takes.
    pub const fn command_timeout(mut self, timeout: Duration) -> Self {
        self.command = timeout;
        self
    }

    /// How long one operation of the store may take with all its attempts: another connection, another node of a
    /// cluster, a reply that was lost.
    ///
    /// Default: 250 ms.
    pub const fn operation_timeout(mut self, timeout: Duration) -> Self {
        self.operation = timeout;
        self
    }

    /// The most bytes that a session may have in Redis.
    ///
    /// Default: 64 KiB. At most 16 MiB.
    pub const fn record_limit(mut self, bytes: usize) -> Self {
        self.record_limit = bytes;
        self
    }

    /// Serves sessions that this instance has read from memory, up to so many, until Redis says that they changed: a read of
    /// one that is asked for often then sends nothing to Redis.
    ///
    /// - **What it gives up.** An end or a write by another instance is seen when Redis has told this one of it: at once as a
    ///   rule, and at the latest after a second and one [`command_timeout`](Self::command_timeout), also where the connection
    ///   hangs: nothing is served from memory that was not vouched for within that time. What this instance ends or writes it
    ///   never serves as it was before.
    /// - **What never uses it.** A request whose method is not a safe one (`GET`, `HEAD`, `OPTIONS`, `TRACE`), a login, a new
    ///   id, [`Session::update`](crate::Session::update), [`Live`](crate::Live) and [`Fresh`](crate::Fresh): those read from
    ///   Redis. A `GET` handler that decides on what it read, and must not miss an end of a moment ago, takes `Live`.
    /// - **What it takes.** One connection more, with RESP3 and `CLIENT TRACKING`; two `TIME` a second over it; an entry in the
    ///   tracking table of Redis for each session read (beyond its `tracking-table-max-keys`, a million, Redis says that some
    ///   have changed); and memory: copies have half of the layer's
    ///   [`outage_memory`](crate::SessionLayerBuilder::outage_memory), and leases the other half, whichever bound comes first.
    /// - **What it needs.** Redis 6 or later, one server, and a user that may `client|tracking`. Sessions of users
    ///   and strangers are kept, demo sessions are not.
    ///
    /// Default: 0, which is none.
    pub const fn near_cache(mut self, entries: usize) -> Self {
        self.near = entries;
        self
    }

    /// The authorities that vouch for the server, in PEM, in place of the system's. For `rediss://`.
    #[cfg(feature = "tls")]
    pub fn root_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.tls.authority = Some(pem.into());
        self
    }

    /// What to show a server that asks who is there: a certificate with its chain, and its key, in PEM. For `rediss://`.
    #[cfg(feature = "tls")]
    pub fn client_certificate(
        mut self,
        certificate: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
    ) -> Self {
        self.tls.identity = Some((certificate.into(), key.into()));
        self
    }

    /// How to log in to the servers that sentinels name; what stands in the sentinels' addresses is for the sentinels.
    ///
    /// Default: no user, no password.
    #[cfg(feature = "sentinel")]
    pub fn server_login(mut self, user: Option<&str>, password: &str) -> Self {
        self.login = Some((user.map(str::to_owned), password.to_owned()));
        self
    }

    /// Checks the settings and makes the store.
    ///
    /// It is there also while Redis is away. Reaching it is tried once, within the operation's timeout, so that the log
    /// says at the start if it cannot be, and that Redis has the scripts before a request needs one.
    ///
    /// # Errors
    /// [`ConfigError`] with a sentence that says what to change; also where the server refuses what a
    /// [`near_cache`](Self::near_cache) needs. One that is asked for later, because Redis was away, is told of in the log
    /// then, and every read is sent to Redis.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn connect(self) -> Result<RedisStore, ConfigError> {
        let store = self.build()?;
        if let Err(error) = store.reach().await {
            store.0.servers.do_not_answer();
            tracing::warn!(target: "sessile", %error, "the store starts without Redis");
        } else if let Err(error) = near_cache::line::open(&store.0).await
            && near_cache::line::is_refused(&error)
        {
            return Err(ConfigError::new(format!(
                "Redis refuses what a near cache needs: {}. It needs Redis 6 or later, and a user that may \
                 `client|tracking`: allow that, or leave near_cache out",
                Words(&error)
            )));
        }
        near_cache::line::keep_open(&store.0);
        Ok(store)
    }

    fn build(self) -> Result<RedisStore, ConfigError> {
        let keys = Keyspace::new(&self.namespace)?;
        if self.connections == 0 || self.connections > MOST_CONNECTIONS {
            return Err(ConfigError::new(format!(
                "{} connections to Redis: choose 1 to {MOST_CONNECTIONS}, for requests share them",
                self.connections
            )));
        }
        for (what, timeout) in [("command", self.command), ("operation", self.operation)] {
            if timeout < Duration::from_millis(1) || timeout > Duration::from_secs(60) {
                return Err(ConfigError::new(format!(
                    "the {what} timeout is {timeout:?}: choose one from a millisecond to a minute"
                )));
            }
        }
        if self.command > self.operation {
            return Err(ConfigError::new(format!(
                "the command timeout {:?} is longer than that of the whole operation, {:?}: choose a shorter one",
                self.command, self.operation
            )));
        }
        if !(1024..=LARGEST_RECORD).contains(&self.record_limit) {
            return Err(ConfigError::new(format!(
                "a record limit of {} bytes: choose one from 1 KiB to 16 MiB",
                self.record_limit
            )));
        }
        if self.urls.is_empty() {
            return Err(ConfigError::new(
                "no address of Redis was given: give at least one",
            ));
        }
        let infos = self
            .urls
            .iter()
            .map(|url| self.parse(url))
            .collect::<Result<Vec<_>, _>>()?;
        let near = self.near(&keys, &infos)?;
        let clock = Arc::new(StoreClock::new());
        let reach = Reach {
            target: self.target(infos)?,
            connections: self.connections,
            checkout: self.command,
            command: self.command,
            connect: CONNECT,
        };
        Ok(RedisStore(Arc::new(Inner {
            keys,
            servers: Servers::new(reach, Arc::clone(&clock)),
            clock,
            pursuit: Pursuit::default(),
            hearts: Hearts::default(),
            near,
            malformed: Tally::default(),
            budget: self.operation,
            record_limit: self.record_limit,
        })))
    }

    fn near(
        &self,
        keys: &Keyspace,
        infos: &[ConnectionInfo],
    ) -> Result<Option<Arc<NearCache>>, ConfigError> {
        if self.near == 0 {
            return Ok(None);
        }
        if self.near > MOST_COPIES {
            return Err(ConfigError::new(format!(
                "a near cache of {} entries: choose one of at most {MOST_COPIES}",
                self.near
            )));
        }
        match &self.place {
            Place::Server => {}
            #[cfg(feature = "cluster")]
            Place::Cluster => return Err(alone()),
            #[cfg(feature = "sentinel")]
            Place::Sentinel(_) => return Err(alone()),
        }
        let settings = infos[0].redis_settings().clone();
        let info = infos[0]
            .clone()
            .set_redis_settings(settings.set_protocol(ProtocolVersion::RESP3));
        let client = Client::open(info).expect("an address that was read is one");
        let cache = NearCache::new(keys.clone(), client, self.near, self.command);
        Ok(Some(Arc::new(cache)))
    }

    fn parse(&self, url: &str) -> Result<ConnectionInfo, ConfigError> {
        let info = target::parse(url)?;
        // An instance's name there is worth less than another command at every connection, and another right.
        let settings = info.redis_settings().clone().set_skip_set_lib_name();
        let info = info.set_redis_settings(settings);
        #[cfg(feature = "tls")]
        if self.tls.authority.is_some() || self.tls.identity.is_some() {
            return self.tls.apply(info);
        }
        Ok(info)
    }

    fn target(&self, mut infos: Vec<ConnectionInfo>) -> Result<Target, ConfigError> {
        match &self.place {
            Place::Server => Ok(Target::Server(infos.swap_remove(0))),
            #[cfg(feature = "cluster")]
            Place::Cluster => {
                if infos.iter().any(|info| info.redis_settings().db() != 0) {
                    return Err(ConfigError::new(
                        "an address of the cluster names a database: a cluster has but one, leave it out",
                    ));
                }
                Ok(Target::Cluster(infos))
            }
            #[cfg(feature = "sentinel")]
            Place::Sentinel(master) => Ok(Target::Sentinel {
                node: self.node(&infos[0]),
                sentinels: infos,
                master: master.clone(),
            }),
        }
    }
}

/// Why there is no near cache over several servers: after a failover, or while a slot is on its way, the server that a copy
/// came from may answer on and be told of no change any more.
#[cfg(any(feature = "cluster", feature = "sentinel"))]
fn alone() -> ConfigError {
    ConfigError::new(
        "a near cache is for one server, and here there are several that may take each other's place, after which the \
         one that was read from says nothing of changes: leave near_cache out",
    )
}

#[cfg(feature = "sentinel")]
impl RedisStoreBuilder {
    /// How to log in to a server that the sentinels name; TLS is as with the sentinels.
    fn node(&self, sentinel: &ConnectionInfo) -> ConnectionInfo {
        let mut login = redis::RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some((user, password)) = &self.login {
            if let Some(user) = user {
                login = login.set_username(user);
            }
            login = login.set_password(password);
        }
        sentinel.clone().set_redis_settings(login)
    }
}

impl fmt::Debug for RedisStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the addresses: there may be passwords in them.
        f.debug_struct("RedisStoreBuilder")
            .field("namespace", &self.namespace)
            .field("connections", &self.connections)
            .field("command_timeout", &self.command)
            .field("operation_timeout", &self.operation)
            .field("record_limit", &self.record_limit)
            .field("near_cache", &self.near)
            .finish_non_exhaustive()
    }
}

impl RedisStore {
    /// A Redis Cluster, found by any of these nodes of it (feature `cluster`): see [`connect`](Self::connect) for what
    /// an address looks like. User, password and TLS of the first are those of all nodes.
    ///
    /// All of one user is in one slot, so that every operation is as atomic as on one server. While that slot is moved to
    /// another node, what needs a new key, as signing in and every new id, or several that are not on the same node yet,
    /// waits for it, and fails when that takes longer than an operation may. After a failover the new master may lack
    /// the last writes of the old one, ends among them: Redis replicates after it has answered.
    #[cfg(feature = "cluster")]
    pub fn cluster<U: Into<String>>(urls: impl IntoIterator<Item = U>) -> RedisStoreBuilder {
        RedisStoreBuilder::cluster(urls.into_iter().map(Into::into).collect())
    }

    /// The server that is the master of that name, as any of these sentinels says (feature `sentinel`).
    ///
    /// After a failover the next operations go to the new master. It may lack the last writes of the old one: Redis
    /// replicates after it has answered.
    #[cfg(feature = "sentinel")]
    pub fn sentinel<U: Into<String>>(
        urls: impl IntoIterator<Item = U>,
        master: impl Into<String>,
    ) -> RedisStoreBuilder {
        RedisStoreBuilder::sentinel(urls.into_iter().map(Into::into).collect(), master.into())
    }

    async fn reach(&self) -> Result<(), super::StoreError> {
        let until = Instant::now() + self.0.budget;
        let mut memory = redis::cmd("INFO");
        memory.arg("memory");
        for primary in self.0.servers.primaries().await? {
            primary.send(until, &redis::cmd("TIME")).await?;
            primary.keep_scripts(until).await;
            // Whoever may not ask is not warned.
            let info = primary.send(until, &memory).await.ok();
            let info: Option<String> = info.and_then(|info| redis::from_redis_value(info).ok());
            if let Some(policy) = info.as_deref().and_then(evicting) {
                tracing::warn!(
                    target: "sessile",
                    event = "evicting",
                    policy,
                    "Redis may evict sessions, and what ended them, when its memory is full: set maxmemory-policy to noeviction"
                );
            }
        }
        Ok(())
    }
}

/// The policy by which a server drops what it was told to keep, by its `INFO memory`; `None`: it does not.
fn evicting(info: &str) -> Option<&str> {
    let field = |name: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    };
    let policy = field("maxmemory_policy").filter(|policy| *policy != "noeviction")?;
    (field("maxmemory")? != "0").then_some(policy)
}

#[cfg(test)]
mod tests {
    use super::evicting;

    #[test]
    fn r73_only_a_policy_with_a_limit_evicts() {
        let info = |limit: &str, policy: &str| {
            format!(
                "# Memory\r\nmaxmemory:{limit}\r\nmaxmemory_human:1M\r\nmaxmemory_policy:{policy}\r\n"
            )
        };
        assert_eq!(
            evicting(&info("1048576", "allkeys-lru")),
            Some("allkeys-lru")
        );
        assert_eq!(
            evicting(&info("1048576", "volatile-ttl")),
            Some("volatile-ttl")
        );
        assert_eq!(evicting(&info("1048576", "noeviction")), None);
        assert_eq!(evicting(&info("0", "allkeys-lru")), None);
        assert_eq!(evicting(""), None);
    }
}
