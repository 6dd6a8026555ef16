//! What an application can set, and what is refused.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use ::cookie::SameSite;
use http::HeaderName;
use ipnet::IpNet;

use crate::address::{ProxyHeader, StoredAddress};
use crate::cookie::CookieConfig;
use crate::error::ConfigError;
use crate::id::UserId;
use crate::legacy::LegacyIds;
use crate::risk::{Risk, RiskAction, RiskPolicy, Weighted};
use crate::store::{AtLimit, Limit};

/// The default name: bound to this host, this path and TLS by its prefix, and no clue to what made it (OWASP).
const DEFAULT_COOKIE: &str = "__Host-session";
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
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) cookie: CookieConfig,
    pub(crate) timeouts: Timeouts,
    pub(crate) remembered: Timeouts,
    pub(crate) touch: Option<Duration>,
    /// Whether activity is written down: not where it moves no end.
    pub(crate) touches: bool,
    pub(crate) limit: LimitRule,
    pub(crate) passive_header: Option<HeaderName>,
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) legacy: Option<LegacyIds>,
    pub(crate) proxy_header: ProxyHeader,
    pub(crate) stored_address: StoredAddress,
    /// The idle end comes after this at the latest, touch threshold included.
    pub(crate) idle_at_most: Option<Duration>,
    pub(crate) remaining_header: Option<HeaderName>,
    pub(crate) risk: RiskRule,
}

/// Who judges risk, and what follows.
#[derive(Clone)]
pub(crate) struct RiskRule {
    pub(crate) policy: Arc<dyn RiskPolicy>,
    pub(crate) action: Arc<dyn Fn(&Risk) -> RiskAction + Send + Sync>,
}

impl Default for RiskRule {
    fn default() -> Self {
        Self {
            policy: Arc::new(Weighted::default()),
            action: Arc::new(|_| RiskAction::Allow),
        }
    }
}

/// How many sessions each user may have.
#[derive(Clone)]
pub(crate) enum LimitRule {
    None,
    Fixed(u32, AtLimit),
    Each(EachLimit, AtLimit),
}

pub(crate) type EachLimit = Arc<dyn Fn(&UserId) -> Option<u32> + Send + Sync>;

impl Config {
    /// Checks the settings, which are final from here on.
    pub(crate) fn settle(&mut self) -> Result<(), ConfigError> {
        self.cookie.settle()?;
        if let Some(most) = self.idle_at_most {
            for timeouts in [&mut self.timeouts, &mut self.remembered] {
                let idle = timeouts.idle.min(most);
                let touch = self
                    .touch
                    .unwrap_or_else(|| (idle / TOUCH_SHARE).min(TOUCH_MOST));
                timeouts.idle = idle.min(most.saturating_sub(touch));
            }
        }
        for (what, timeout) in [
            ("idle timeout", self.timeouts.idle),
            ("absolute timeout", self.timeouts.absolute),
            ("idle timeout of remembered sessions", self.remembered.idle),
            (
                "absolute timeout of remembered sessions",
                self.remembered.absolute,
            ),
        ] {
            if timeout < Duration::from_millis(1) || timeout > LONGEST {
                return Err(ConfigError::new(format!(
                    "the {what} is {timeout:?}: choose one from a millisecond to a hundred years"
                )));
            }
        }
        if let Some(touch) = self.touch
            && touch > self.timeouts.idle.min(self.remembered.idle)
        {
            return Err(ConfigError::new(format!(
                "the touch threshold {touch:?} is longer than an idle timeout: a session would end later than twice \
                 what was asked for; choose a tenth of the idle timeout or less"
            )));
        }
        if let LimitRule::Fixed(0, _) = self.limit {
            return Err(ConfigError::new(
                "a limit of 0 sessions per user would let nobody sign in: leave the limit out, or choose 1 or more",
            ));
        }
        Ok(())
    }

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

impl Default for Config {
    fn default() -> Self {
        Self {
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
            touches: true,
            limit: LimitRule::None,
            passive_header: None,
            trusted_proxies: Vec::new(),
            legacy: None,
            proxy_header: ProxyHeader::default(),
            stored_address: StoredAddress::default(),
            idle_at_most: None,
            remaining_header: None,
            risk: RiskRule::default(),
        }
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
