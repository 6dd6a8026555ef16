//! What an application can set, and what is refused.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use ::cookie::SameSite;
use http::HeaderName;
use ipnet::IpNet;

use crate::cookie::CookieConfig;
use crate::id::UserId;
use crate::layer::{Area, SessionLayer};
use crate::store::{AtLimit, ErasedStore, Limit, SessionStore};

/// The default name: bound to this host, this path and TLS by its prefix, and no clue to what made it (OWASP).
const DEFAULT_COOKIE: &str = "__Host-session";
/// Its name without TLS, where the prefix would be a lie.
const INSECURE_COOKIE: &str = "session";
/// The largest timeout: a hundred years, so that instants stay far from overflow.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// A touch is due after this share of the idle time…
const TOUCH_SHARE: u32 = 10;
/// …and at the latest after this: "last seen" is shown to people.
const TOUCH_MOST: Duration = Duration::from_secs(60);

/// The two clocks of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timeouts {
    pub(crate) idle: Duration,
    pub(crate) absolute: Duration,
}

/// Everything that was set.
pub(crate) struct Config {
    pub(crate) cookie: CookieConfig,
    pub(crate) timeouts: Timeouts,
    pub(crate) remembered: Timeouts,
    pub(crate) touch: Option<Duration>,
    pub(crate) limit: LimitRule,
    pub(crate) passive_header: Option<HeaderName>,
    pub(crate) trusted_proxies: Vec<IpNet>,
}

/// How many sessions each user may have.
pub(crate) enum LimitRule {
    None,
    Fixed(u32, AtLimit),
    Each(EachLimit, AtLimit),
}

type EachLimit = Arc<dyn Fn(&UserId) -> Option<u32> + Send + Sync>;

impl Config {
    pub(crate) const fn timeouts(&self, persistent: bool) -> Timeouts {
        if persistent {
            self.remembered
        } else {
            self.timeouts
        }
    }

    /// How long after a touch the next one is due.
    pub(crate) fn touch_threshold(&self, idle: Duration) -> Duration {
        self.touch
            .unwrap_or_else(|| (idle / TOUCH_SHARE).min(TOUCH_MOST))
    }

    pub(crate) fn limit(&self, user: &UserId) -> Option<Limit> {
        let (sessions, at_limit) = match &self.limit {
            LimitRule::None => return None,
            LimitRule::Fixed(sessions, at_limit) => (Some(*sessions), *at_limit),
            LimitRule::Each(rule, at_limit) => (rule(user), *at_limit),
        };
        // A rule that says 0 for a user means that they may not sign in twice, not that they can never sign in.
        sessions.map(|sessions| Limit {
            sessions: NonZeroU32::new(sessions).unwrap_or(NonZeroU32::MIN),
            at_limit,
        })
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("cookie", &self.cookie)
            .field("timeouts", &self.timeouts)
            .field("remembered", &self.remembered)
            .finish_non_exhaustive()
    }
}

/// Sets up a [`SessionLayer`].
///
/// Every setter has a default that is safe; none costs a store call. [`build`](Self::build) refuses contradictions.
#[must_use = "a builder does nothing until build() is called"]
pub struct SessionLayerBuilder {
    store: Arc<dyn ErasedStore>,
    config: Config,
    cookie_name: Option<String>,
}

impl SessionLayerBuilder {
    pub(crate) fn new(store: impl SessionStore) -> Self {
        Self {
            store: Arc::new(store),
            config: Config {
                cookie: CookieConfig {
                    name: DEFAULT_COOKIE.into(),
                    path: "/".into(),
                    domain: None,
                    same_site: SameSite::Lax,
                    secure: true,
                    partitioned: false,
                    attributes: String::new(),
                },
                timeouts: Timeouts {
                    idle: Duration::from_secs(30 * 60),
                    absolute: Duration::from_secs(12 * 3600),
                },
                remembered: Timeouts {
                    idle: Duration::from_secs(14 * 24 * 3600),
                    absolute: Duration::from_secs(30 * 24 * 3600),
                },
                touch: None,
                limit: LimitRule::None,
                passive_header: None,
                trusted_proxies: Vec::new(),
            },
            cookie_name: None,
        }
    }

    /// A session ends when no request came from it for so long. Default: 30 minutes, the upper end of what OWASP
    /// gives for low-risk applications.
    pub const fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.config.timeouts.idle = timeout;
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

    /// Proxies whose `X-Forwarded-For` is believed. Default: none, the address is the peer's.
    pub fn trusted_proxies(mut self, proxies: impl IntoIterator<Item = IpNet>) -> Self {
        self.config.trusted_proxies.extend(proxies);
        self
    }

    /// The layer.
    ///
    /// # Errors
    /// [`ConfigError`], with a sentence that says what to change: for timeouts of nothing or of more than a hundred
    /// years, a limit of 0, and whatever browsers refuse about a cookie.
    pub fn build(mut self) -> Result<SessionLayer, ConfigError> {
        let config = &mut self.config;
        match self.cookie_name {
            Some(name) => config.cookie.name = name,
            None if !config.cookie.secure => config.cookie.name = INSECURE_COOKIE.into(),
            None => {}
        }
        config.cookie.settle()?;
        for (what, timeout) in [
            ("idle timeout", config.timeouts.idle),
            ("absolute timeout", config.timeouts.absolute),
            (
                "idle timeout of remembered sessions",
                config.remembered.idle,
            ),
            (
                "absolute timeout of remembered sessions",
                config.remembered.absolute,
            ),
        ] {
            if timeout < Duration::from_millis(1) || timeout > LONGEST {
                return Err(ConfigError::new(format!(
                    "the {what} is {timeout:?}: choose one from a millisecond to a hundred years"
                )));
            }
        }
        if let Some(touch) = config.touch
            && touch > config.timeouts.idle.min(config.remembered.idle)
        {
            return Err(ConfigError::new(format!(
                "the touch threshold {touch:?} is longer than an idle timeout: a session would end later than twice \
                 what was asked for; choose a tenth of the idle timeout or less"
            )));
        }
        if let LimitRule::Fixed(0, _) = config.limit {
            return Err(ConfigError::new(
                "a limit of 0 sessions per user would let nobody sign in: leave the limit out, or choose 1 or more",
            ));
        }
        Ok(SessionLayer::from_area(Area::new(self.store, self.config)))
    }
}

impl fmt::Debug for SessionLayerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionLayerBuilder")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// A configuration that cannot work, in a sentence that says what to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    sentence: String,
}

impl ConfigError {
    pub(crate) fn new(sentence: impl Into<String>) -> Self {
        Self {
            sentence: sentence.into(),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for ConfigError {}
