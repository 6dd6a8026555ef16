//! The command line, and the session layer that it asks for.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::{Parser, ValueEnum};
use ipnet::IpNet;
use sessile::{AtLimit, ConfigError, GuessableId, LegacyIds, Outage, SessionLayer, SessionStore};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A web application that shows what sessile does
#[derive(Debug, Clone, Parser)]
#[command(name = "showcase", version)]
pub(crate) struct Options {
    /// Address and port; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3000")]
    pub(crate) listen: SocketAddr,

    /// Keeps sessions in this Redis, redis://… or with TLS rediss://…, and not in memory
    #[arg(long, value_name = "URL")]
    pub(crate) redis: Option<String>,

    /// What keys in Redis begin with: applications that share one have one each
    #[arg(long, value_name = "NAME", value_parser = namespace)]
    pub(crate) namespace: Option<String>,

    /// Serves up to so many sessions that were read from Redis from memory, until Redis says that they changed
    #[arg(long, value_name = "N", requires = "redis", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) near_cache: Option<u32>,

    /// A session ends after so many seconds without a request
    #[arg(long, value_name = "S", default_value = "1800", allow_negative_numbers = true, value_parser = seconds)]
    pub(crate) idle: Duration,

    /// A session ends so many seconds after signing in
    #[arg(long, value_name = "S", default_value = "43200", allow_negative_numbers = true, value_parser = seconds)]
    pub(crate) absolute: Duration,

    /// How many sessions a user may have
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,

    /// What a login does that would be one too many
    #[arg(long, value_enum, value_name = "WHAT", default_value = "end-oldest")]
    pub(crate) at_limit: WhenFull,

    /// What happens while Redis is away
    #[arg(long, value_enum, value_name = "WHAT", default_value = "local")]
    pub(crate) outage: WhenAway,

    /// What this process has read from Redis is served so many seconds without it
    #[arg(long, value_name = "S", default_value = "60", allow_negative_numbers = true, value_parser = seconds)]
    pub(crate) lease: Duration,

    /// A demo ends so many seconds after it was started
    #[arg(long, value_name = "S", default_value = "86400", allow_negative_numbers = true, value_parser = seconds)]
    pub(crate) demo_ttl: Duration,

    /// How many demos may be started from one address within an hour
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) demo_budget: Option<u32>,

    /// Until then, sessions that were migrated open by the ids that they had: an instant such as 2026-12-01T00:00:00Z
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    pub(crate) accept_legacy: Option<SystemTime>,

    /// Danger: such ids also where they can be guessed
    #[arg(long, requires = "accept_legacy")]
    pub(crate) accept_guessable: bool,

    /// Cookies without Secure, for plain http from elsewhere than localhost
    #[arg(long)]
    pub(crate) insecure_cookies: bool,

    /// A proxy whose X-Forwarded-For is believed; may be given several times
    #[arg(long, value_name = "CIDR", value_parser = network)]
    pub(crate) trusted_proxy: Vec<IpNet>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum WhenFull {
    EndOldest,
    Refuse,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum WhenAway {
    Refuse,
    Lease,
    Local,
}

impl Options {
    /// What the layer does while Redis is away.
    const fn outage(&self) -> Outage {
        match self.outage {
            WhenAway::Refuse => Outage::Refuse,
            WhenAway::Lease => Outage::Lease(self.lease),
            WhenAway::Local => Outage::Local { lease: self.lease },
        }
    }

    /// Which ids of another system are accepted, in the cookies that it had.
    fn legacy_ids(&self) -> Option<LegacyIds> {
        let ids = LegacyIds::until(self.accept_legacy?)
            .cookie_name("session")
            .demo_cookie_name("demo");
        if !self.accept_guessable {
            return Some(ids);
        }
        let guessable = [
            GuessableId::UserAndMillis,
            GuessableId::DemoAndMillis,
            GuessableId::SessionOfUser,
            GuessableId::AnyOther,
        ];
        Some(
            guessable
                .into_iter()
                .fold(ids, LegacyIds::insecure_guessable),
        )
    }

    /// Those of the command line. What is wrong with them is said on stderr, in at most five lines.
    pub(crate) fn read() -> Result<Self, ExitCode> {
        Self::try_parse().map_err(|error| {
            if !error.use_stderr() {
                // Somebody asked for help, or for the version.
                let _ = error.print();
                return ExitCode::SUCCESS;
            }
            let mut stderr = std::io::stderr();
            let text = error.to_string();
            for line in text.lines().filter(|line| !line.is_empty()).take(5) {
                let _ = writeln!(stderr, "{line}");
            }
            ExitCode::from(2)
        })
    }

    /// The session layer. It refuses by itself what makes no sense, such as a timeout of a thousand years.
    pub(crate) fn layer(&self, store: impl SessionStore) -> Result<SessionLayer, ConfigError> {
        let mut builder = SessionLayer::builder(store)
            .idle_timeout(self.idle)
            .absolute_timeout(self.absolute)
            .outage(self.outage())
            .demo_timeout(self.demo_ttl)
            // A demo goes on in memory, whatever users' sessions do.
            .demo_outage(Outage::Local { lease: self.lease })
            .trusted_proxies(self.trusted_proxy.iter().copied());
        if let Some(limit) = self.limit {
            builder = builder.max_sessions_per_user(limit, self.at_limit.into());
        }
        if let Some(demos) = self.demo_budget {
            builder = builder.demo_budget(demos);
        }
        if self.insecure_cookies {
            builder = builder.insecure_cookies();
        }
        if let Some(ids) = self.legacy_ids() {
            builder = builder.accept_legacy(ids);
        }
        builder.build()
    }
}

impl From<WhenFull> for AtLimit {
    fn from(when: WhenFull) -> Self {
        match when {
            WhenFull::EndOldest => Self::EndOldest,
            WhenFull::Refuse => Self::Refuse,
        }
    }
}

fn seconds(text: &str) -> Result<Duration, &'static str> {
    text.parse()
        .ok()
        .filter(|&seconds: &f64| seconds > 0.0)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or("a number of seconds above 0 is needed")
}

fn instant(text: &str) -> Result<SystemTime, &'static str> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map(SystemTime::from)
        .map_err(|_| "an instant is needed, such as 2026-12-01T00:00:00Z")
}

/// What `RedisStore` takes for one. It is checked here because without Redis nobody else does, and whoever tries this in
/// memory first should not find out later.
fn namespace(text: &str) -> Result<String, String> {
    let is_fit = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_' || c == b'-';
    if text == "demo" {
        return Err("\"demo\" would have the keys of demo sessions: choose another".into());
    }
    if !(1..=32).contains(&text.len()) || !text.bytes().all(is_fit) {
        let needed = "1 to 32 of the characters a-z, 0-9, - and _";
        return Err(format!("{text:?} is not {needed}: choose another"));
    }
    Ok(text.to_owned())
}

/// A network, or one address.
fn network(text: &str) -> Result<IpNet, &'static str> {
    text.parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| "a network is needed, such as 10.0.0.0/8")
}
