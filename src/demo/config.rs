//! How a layer's demos are.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, Timeouts};
use crate::cookie::CookieConfig;
use crate::error::ConfigError;
use crate::record::MessageBounds;
use crate::session::Area;

/// Everything about demos that was set.
#[derive(Debug, Clone)]
pub(crate) struct DemoConfig {
    pub(crate) cookie_name: Option<String>,
    pub(crate) timeout: Duration,
    pub(crate) idle: Option<Duration>,
    pub(crate) steps: u32,
    pub(crate) bounds: MessageBounds,
    /// The most bytes of one message.
    pub(crate) message_bytes: usize,
    /// How many may be started from one address within an hour.
    pub(crate) budget: Option<u32>,
}

/// A layer's demos: an area of their own in the same store.
pub(crate) struct Demos {
    pub(crate) area: Arc<Area>,
    pub(crate) config: DemoConfig,
}

/// The default name: with the strongest prefix that browsers allow for the cookie's other attributes (RFC 6265bis, 4.1.3).
fn default_name(cookie: &CookieConfig) -> &'static str {
    match (cookie.secure, cookie.domain.is_none() && cookie.path == "/") {
        (true, true) => "__Host-demo",
        (true, false) => "__Secure-demo",
        (false, _) => "demo",
    }
}

impl Default for DemoConfig {
    fn default() -> Self {
        Self {
            cookie_name: None,
            timeout: Duration::from_secs(24 * 3600),
            idle: None,
            steps: 6,
            bounds: MessageBounds {
                count: 1000,
                bytes: 1 << 20,
            },
            message_bytes: 64 << 10,
            budget: None,
        }
    }
}

impl DemoConfig {
    /// The settings of the demos' own area: those of `users`, but for the cookie's name and the clocks.
    ///
    /// # Errors
    /// [`ConfigError`] for what contradicts itself.
    pub(crate) fn settle(&self, users: &Config) -> Result<Config, ConfigError> {
        let mut config = users.clone();
        config.cookie.name = match &self.cookie_name {
            Some(name) => name.clone(),
            None => default_name(&users.cookie).into(),
        };
        if config.cookie.name == users.cookie.name {
            return Err(ConfigError::new(format!(
                "users' sessions and demos cannot both have the cookie {}: choose another demo_cookie_name",
                config.cookie.name
            )));
        }
        let idle = self.idle.unwrap_or(self.timeout);
        if idle > self.timeout {
            return Err(ConfigError::new(format!(
                "a demo's idle timeout of {idle:?} is longer than its whole life of {:?}: choose a shorter one, or leave it \
                 out",
                self.timeout
            )));
        }
        config.timeouts = Timeouts {
            idle,
            absolute: self.timeout,
        };
        config.remembered = config.timeouts;
        config.limit = crate::config::LimitRule::None;
        config.touches = self.idle.is_some();
        if !config.touches {
            // Nothing moves its end, and so nothing is written down.
            config.touch = Some(Duration::ZERO);
        }
        if self.steps == 0 {
            return Err(ConfigError::new(
                "a demo of 0 steps would be completed before it began: choose 1 or more",
            ));
        }
        if self.bounds.count == 0 || self.bounds.bytes == 0 || self.message_bytes == 0 {
            return Err(ConfigError::new(
                "a demo that takes no messages is none: choose bounds of 1 or more",
            ));
        }
        if self.bounds.count > MOST_MESSAGES || self.bounds.bytes > MOST_BYTES {
            return Err(ConfigError::new(format!(
                "a demo is read in one piece: it may have at most {MOST_MESSAGES} messages and {MOST_BYTES} bytes"
            )));
        }
        config
            .settle()
            .map_err(|error| ConfigError::new(format!("of demos: {error}")))?;
        Ok(config)
    }
}

/// What reading it takes must stay far below a deadline.
const MOST_MESSAGES: usize = 10_000;
const MOST_BYTES: usize = 8 << 20;
