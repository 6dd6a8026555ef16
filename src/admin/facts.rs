//! What a server says of itself.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::store::StoreError;
use crate::store::redis::admin::Direct;

/// So often the latency is measured.
const PINGS: usize = 20;

/// Everything that findings on one server rest on.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Its address as the operator wrote it has TLS.
    pub(super) is_encrypted: bool,
    /// It is on this machine.
    pub(super) is_local: bool,
    /// Fields of `INFO`; empty where it may not be asked.
    pub(super) info: HashMap<String, String>,
    /// Fields of `CLUSTER INFO`, of a cluster.
    pub(super) cluster: HashMap<String, String>,
    /// How long it took to answer, each time, the shortest first.
    pub(super) pings: Vec<Duration>,
    /// How far its clock is ahead of this machine's (or behind, if negative), in seconds.
    pub(super) ahead: Option<f64>,
}

impl Facts {
    /// `clock`: what its clock is compared with.
    pub(super) async fn collect(
        server: &Direct,
        url: &str,
        clock: &dyn Clock,
    ) -> Result<Self, StoreError> {
        let mut facts = Self {
            is_encrypted: url.starts_with("rediss://") || url.starts_with("valkeys://"),
            is_local: is_local(server.name()) || url.starts_with("unix:") || url.contains("+unix:"),
            ..Self::default()
        };
        for _ in 0..PINGS {
            let sent = Instant::now();
            let time = server.time().await?;
            let took = sent.elapsed();
            facts.pings.push(took);
            let here = clock.now() - took / 2;
            let ahead = match time.duration_since(here) {
                Ok(ahead) => ahead.as_secs_f64(),
                Err(behind) => -behind.duration().as_secs_f64(),
            };
            // That of the shortest round trip says most.
            if facts.pings.iter().all(|other| took <= *other) {
                facts.ahead = Some(ahead);
            }
        }
        facts.pings.sort_unstable();
        let info: Option<String> = server.ask(&redis::cmd("INFO")).await.ok();
        facts.info = fields(&info.unwrap_or_default());
        if facts.is("cluster_enabled", "1") {
            let info: Option<String> = server.ask(redis::cmd("CLUSTER").arg("INFO")).await.ok();
            facts.cluster = fields(&info.unwrap_or_default());
        }
        Ok(facts)
    }

    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.info.get(name).map(String::as_str)
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.field(name)?.parse().ok()
    }

    /// What it is, and of which version.
    pub(super) fn version(&self) -> Option<String> {
        match (self.field("valkey_version"), self.field("redis_version")) {
            (Some(version), _) => Some(format!("Valkey {version}")),
            (None, Some(version)) => Some(format!("Redis {version}")),
            (None, None) => None,
        }
    }

    /// How long it takes to answer: the middle one.
    pub(super) fn latency(&self) -> Option<Duration> {
        self.pings.get(self.pings.len() / 2).copied()
    }

    pub(super) fn is(&self, name: &str, value: &str) -> bool {
        self.field(name) == Some(value)
    }
}

/// The fields of an `INFO`.
fn fields(info: &str) -> HashMap<String, String> {
    info.lines()
        .filter_map(|line| line.trim_end().split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn is_local(name: &str) -> bool {
    let host = name.rsplit_once(':').map_or(name, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.starts_with('/')
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
