//! Setting up a layer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::cookie::SameSite;
use http::HeaderName;
use ipnet::IpNet;

use super::SessionLayer;
use crate::address::{ProxyHeader, StoredAddress};
use crate::config::{Config, LimitRule, Timeouts};
use crate::demo::DemoConfig;
use crate::error::ConfigError;
use crate::id::UserId;
use crate::legacy::LegacyIds;
use crate::record::MessageBounds;
use crate::risk::{Risk, RiskAction, RiskPolicy};
use crate::session::Area;
use crate::store::{AtLimit, ErasedStore, Outage, SessionStore, Settings, Shield};

/// The cookie's name without TLS, where the prefix of the default would be a lie.
const INSECURE_COOKIE: &str = "session";

const DAY: u64 = 24 * 3600;

/// Sets up a [`SessionLayer`].
///
/// Every setter has a default that is safe; none costs a store call. [`build`](Self::build) refuses contradictions.
#[must_use = "a builder does nothing until build() is called"]
pub struct SessionLayerBuilder {
    store: Arc<dyn ErasedStore>,
    config: Config,
    demo: DemoConfig,
    cookie_name: Option<String>,
    outage: Settings,
}

impl SessionLayerBuilder {
    pub(crate) fn new(store: impl SessionStore) -> Self {
        Self {
            store: Arc::new(store),
            config: Config::default(),
            demo: DemoConfig::default(),
            cookie_name: None,
            outage: Settings::default(),
        }
    }

    /// A session ends when no request came from it for so long. Default: 30 minutes, the upper end of what OWASP
    /// gives for low-risk applications.
    pub const fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.config.timeouts.idle = timeout;
        self.config.idle_at_most = None;
        self
    }

    /// A session ends so long after signing in, whatever happens (for a stranger's: after its first write). Default:
    /// 12 hours, a working day; NIST SP 800-63B-4 allows at most 24 hours at AAL2 and 12 at AAL3.
    pub const fn absolute_timeout(mut self, timeout: Duration) -> Self {
        self.config.timeouts.absolute = timeout;
        self
    }

    /// The idle and absolute timeouts after `.remember()`. Default: 14 days and 30 days, the most that NIST SP
    /// 800-63B-4 allows at AAL1 without signing in again.
    pub const fn remember_timeouts(mut self, idle: Duration, absolute: Duration) -> Self {
        self.config.idle_at_most = None;
        self.config.remembered = Timeouts { idle, absolute };
        self
    }

    /// Activity is written down at most so often; the idle end is later by as much, so that it is never early.
    /// Default: a tenth of the idle timeout, at most 60 s. A smaller one costs more writes: one a session and threshold.
    pub const fn touch_threshold(mut self, threshold: Duration) -> Self {
        self.config.touch = Some(threshold);
        self
    }

    /// A user has at most so many sessions. Default: no limit. It is checked within the login's own store call, and
    /// holds under any number of parallel logins.
    pub fn max_sessions_per_user(mut self, sessions: u32, at_limit: AtLimit) -> Self {
        self.config.limit = LimitRule::Fixed(sessions, at_limit);
        self
    }

    /// The same, by a function of the user; `None` is no limit. It is called at each login and must be quick.
    pub fn max_sessions_per_user_by(
        mut self,
        rule: impl Fn(&UserId) -> Option<u32> + Send + Sync + 'static,
        at_limit: AtLimit,
    ) -> Self {
        self.config.limit = LimitRule::Each(Arc::new(rule), at_limit);
        self
    }

    /// The cookie's name. Default: `__Host-session`. The `__Host-` prefix makes browsers refuse it from other hosts
    /// and without TLS; a name without it gives that up.
    pub fn cookie_name(mut self, name: impl Into<String>) -> Self {
        self.cookie_name = Some(name.into());
        self
    }

    /// Below which path browsers send the cookie. Default: `/`, which `__Host-` demands.
    pub fn cookie_path(mut self, path: impl Into<String>) -> Self {
        self.config.cookie.path = path.into();
        self
    }

    /// With which hosts the cookie is shared: this domain and all below it. Default: none, this host alone. Needs a
    /// name without `__Host-`.
    pub fn cookie_domain(mut self, domain: impl Into<String>) -> Self {
        self.config.cookie.domain = Some(domain.into());
        self
    }

    /// Whether browsers send the cookie with requests from other sites. Default: `Lax`: on following a link, and not
    /// with a form of somebody else.
    pub const fn same_site(mut self, same_site: SameSite) -> Self {
        self.config.cookie.same_site = same_site;
        self
    }

    /// Keeps the cookie apart for each top-level site that embeds this one (CHIPS). Default: no.
    pub const fn partitioned(mut self, partitioned: bool) -> Self {
        self.config.cookie.partitioned = partitioned;
        self
    }

    /// Danger: cookies without `Secure`, that anybody on the network can read. The name becomes `session`, unless one is
    /// set. For plain http from elsewhere than localhost, in development.
    pub const fn insecure_cookies(mut self) -> Self {
        self.config.cookie.secure = false;
        self
    }

    /// Requests with this header do not count as activity: polls. Those that say `Sec-Purpose: prefetch`, and those
    /// that carry the extension [`Passive`](crate::Passive), never do. Default: none.
    pub fn passive_header(mut self, name: HeaderName) -> Self {
        self.config.passive_header = Some(name);
        self
    }

    /// Proxies whose `X-Forwarded-For` or `Forwarded` is believed: see [`proxy_header`](Self::proxy_header). Default: none,
    /// the address is the peer's.
    pub fn trusted_proxies(mut self, proxies: impl IntoIterator<Item = IpNet>) -> Self {
        self.config.trusted_proxies.extend(proxies);
        self
    }

    /// Opens sessions that were migrated from another system by the ids that they had there, in the cookie of this layer
    /// or in that which [`LegacyIds::cookie_name`] names. Each once: that request gives the session an id of this
    /// crate's, and its cookie. Default: none. Costs a request that brings such an id, and none of ours, one store call
    /// more.
    pub fn accept_legacy(mut self, ids: LegacyIds) -> Self {
        self.config.legacy = Some(ids);
        self
    }

    /// In which header they say whom they speak for. Default: in whichever of the two is there.
    pub const fn proxy_header(mut self, header: ProxyHeader) -> Self {
        self.config.proxy_header = header;
        self
    }

    /// What is kept of clients' addresses. Default: all of it, which is what people know their devices by.
    pub fn stored_addresses(mut self, stored: StoredAddress) -> Self {
        self.config.stored_address = stored;
        self
    }

    /// Says with every response for which a session was read how many whole seconds it has left, as
    /// `idle=1799, absolute=43199`: for a page that warns its reader in time. Reading that extends nothing by itself;
    /// the request may, unless it is [passive](Self::passive_header). Default: none. No store call.
    pub fn remaining_header(mut self, name: HeaderName) -> Self {
        self.config.remaining_header = Some(name);
        self
    }

    /// NIST SP 800-63B-4, AAL1: signing in again after 30 days. It asks for no idle end; here it is the same 30 days.
    pub const fn aal1(self) -> Self {
        self.assurance(30 * DAY, 30 * DAY)
    }

    /// NIST SP 800-63B-4, AAL2: signing in again after 24 hours, or after 1 hour without a request. Also after `.remember()`.
    pub const fn aal2(self) -> Self {
        self.assurance(3600, DAY)
    }

    /// NIST SP 800-63B-4, AAL3: signing in again after 12 hours, or after 15 minutes without a request. Also after
    /// `.remember()`.
    pub const fn aal3(self) -> Self {
        self.assurance(15 * 60, DAY / 2)
    }

    /// The touch threshold is taken off the idle timeout, since the idle end may be late by as much: `build()` knows it.
    const fn assurance(mut self, idle: u64, absolute: u64) -> Self {
        let timeouts = Timeouts {
            idle: Duration::from_secs(idle),
            absolute: Duration::from_secs(absolute),
        };
        self.config.idle_at_most = Some(timeouts.idle);
        self.config.timeouts = timeouts;
        self.config.remembered = timeouts;
        self
    }

    /// Who judges risk. Default: [`Weighted`](crate::risk::Weighted), which observes.
    pub fn risk_policy(mut self, policy: impl RiskPolicy) -> Self {
        self.config.risk.policy = Arc::new(policy);
        self
    }

    /// What [`UserSession::check_risk`](crate::UserSession::check_risk) does about a risk. Default: nothing.
    pub fn on_risk(mut self, action: impl Fn(&Risk) -> RiskAction + Send + Sync + 'static) -> Self {
        self.config.risk.action = Arc::new(action);
        self
    }

    /// What happens while the store is away. Default: `Local`, with leases of a minute. A store in this process is never
    /// away.
    pub const fn outage(mut self, outage: Outage) -> Self {
        self.outage.outage = outage;
        self
    }

    /// The name of the demos' cookie. Default: `__Host-demo`; `__Secure-demo` where the cookies have a domain or a path, for
    /// browsers refuse the other prefix then; `demo` with [`insecure_cookies`](Self::insecure_cookies). All else of it is as
    /// users' sessions have it.
    pub fn demo_cookie_name(mut self, name: impl Into<String>) -> Self {
        self.demo.cookie_name = Some(name.into());
        self
    }

    /// A demo ends so long after it was started, whatever happens. Default: 24 hours.
    pub const fn demo_timeout(mut self, timeout: Duration) -> Self {
        self.demo.timeout = timeout;
        self
    }

    /// A demo also ends when no request came to it for so long. Default: none, nothing moves its end, and activity is not
    /// written down. With it, one write a demo and tenth of that time, at most one a minute.
    pub const fn demo_idle_timeout(mut self, timeout: Duration) -> Self {
        self.demo.idle = Some(timeout);
        self
    }

    /// How many messages complete a demo that is started from now on. Default: 6.
    pub const fn demo_steps(mut self, steps: u32) -> Self {
        self.demo.steps = steps;
        self
    }

    /// What a demo's conversation may have: messages, bytes of one of them, and bytes together, each message counted as the
    /// JSON text that it is kept as. Default: 1,000, 64 KiB and 1 MiB. What is more is refused with 413. A demo is read in
    /// one piece: at most 10,000 messages and 8 MiB.
    pub const fn demo_messages(mut self, count: usize, each: usize, bytes: usize) -> Self {
        self.demo.bounds = MessageBounds { count, bytes };
        self.demo.message_bytes = each;
        self
    }

    /// So many demos may be started from one client address within an hour, on all instances together; one more is refused
    /// with 429 and `Retry-After`. Default: no such limit. Costs one store call for each demo that is started. Of an
    /// address that is not known there is nothing to count; behind a proxy, set
    /// [`trusted_proxies`](Self::trusted_proxies), or all clients are one.
    pub const fn demo_budget(mut self, demos: u32) -> Self {
        self.demo.budget = Some(demos);
        self
    }

    /// What happens to demos while the store is away. Default: `Local`, with leases of a minute, whatever
    /// [`outage`](Self::outage) says of users' sessions: a demo that goes on is worth more than one that is certain.
    pub const fn demo_outage(mut self, outage: Outage) -> Self {
        self.outage.demo_outage = outage;
        self
    }

    /// For how long a session that was made while the store was away lives on its instance, and is waited for by the
    /// others. Default: an hour, which is also the most: the store remembers for 15 minutes more whom it must not let in.
    pub const fn local_ttl(mut self, ttl: Duration) -> Self {
        self.outage.local_ttl = ttl;
        self
    }

    /// What leases may take of memory, in bytes; as much again, for each, is the bound of sessions that are made while the
    /// store is away, and of what is written meanwhile. Over a store with a
    /// near cache (`RedisStoreBuilder::near_cache`), leases have the half of it, and copies the other: of several layers
    /// over one store, half of the smallest. Default: 64 MiB, some 100,000 sessions of 200 bytes.
    pub const fn outage_memory(mut self, bytes: usize) -> Self {
        self.outage.memory = bytes;
        self
    }

    /// A file that carries the ends that wait for the store over a crash: with it, an end is acknowledged as pending when
    /// the disk has it. One file for each layer and process, on a local disk; users' names are in it, no secrets, and it is
    /// readable to its owner alone. It is opened by [`build`](Self::build). Default: none, what waits is in memory alone.
    pub fn journal_file(mut self, path: impl Into<std::path::PathBuf>) -> Self {
        self.outage.journal = Some(path.into());
        self
    }

    /// Where this instance's time comes from, for the length of leases: for tests. Default: the operating system.
    #[cfg(feature = "test-util")]
    pub fn outage_clock(mut self, clock: impl crate::Clock) -> Self {
        self.outage.clock = Arc::new(clock);
        self
    }

    /// The layer.
    ///
    /// # Errors
    /// [`ConfigError`], with a sentence that says what to change: for timeouts of nothing or of more than a hundred
    /// years, a limit of 0, whatever browsers refuse about a cookie, and a journal that cannot be opened.
    pub fn build(mut self) -> Result<SessionLayer, ConfigError> {
        let config = &mut self.config;
        match self.cookie_name {
            Some(name) => config.cookie.name = name,
            None if !config.cookie.secure => config.cookie.name = INSECURE_COOKIE.into(),
            None => {}
        }
        config.settle()?;
        let store = Shield::around(self.store, &self.outage)?;
        let area = Area::new(store, self.config, self.demo, self.outage.events)?;
        Ok(SessionLayer::from_area(area))
    }
}

impl fmt::Debug for SessionLayerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionLayerBuilder")
            .field("config", &self.config)
            .field("demo", &self.demo)
            .finish_non_exhaustive()
    }
}
