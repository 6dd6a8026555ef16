//! How a server is reached: how fast, whether it keeps time, who may listen, and whether it is one that sessions can use.

use std::time::Duration;

use super::{Level, Verdict, good};
use crate::admin::facts::Facts;

/// What the store needs: `SET … PXAT`.
const OLDEST: (u32, u32) = (6, 2);

pub(super) fn latency(facts: &Facts) -> Verdict {
    let (Some(middle), Some(most)) = (facts.latency(), facts.pings.last()) else {
        return (Level::Note, "it was not measured".into(), None);
    };
    let millis = |span: &Duration| span.as_secs_f64() * 1000.0;
    let what = format!(
        "{:.2} ms in the middle, {:.2} ms at most",
        millis(&middle),
        millis(most)
    );
    if middle > Duration::from_millis(50) {
        let advice = "operations have 250 ms: bring it nearer, or raise command_timeout and operation_timeout";
        (Level::Error, what, Some(advice))
    } else if middle > Duration::from_millis(5) {
        (
            Level::Warning,
            what,
            Some("a read costs each request that long: bring it nearer"),
        )
    } else {
        good(what)
    }
}

pub(super) fn clock(facts: &Facts) -> Verdict {
    let Some(ahead) = facts.ahead else {
        return (Level::Note, "it was not read".into(), None);
    };
    let what = match ahead {
        ahead if ahead.abs() < 0.1 => "it shows the time of this machine".to_owned(),
        ahead if ahead > 0.0 => format!("it is {ahead:.1} s ahead of this machine's"),
        behind => format!("it is {:.1} s behind this machine's", -behind),
    };
    let advice = "sessions go by the server's clock, and cookies by browsers': let both machines keep time (NTP)";
    match ahead.abs() {
        apart if apart > 60.0 => (Level::Error, what, Some(advice)),
        apart if apart > 5.0 => (Level::Warning, what, Some(advice)),
        _ => good(what),
    }
}

pub(super) fn tls(facts: &Facts) -> Verdict {
    match (facts.is_encrypted, facts.is_local) {
        (true, _) => good("the connection is encrypted"),
        (false, true) => good("it is on this machine, without TLS"),
        (false, false) => (
            Level::Warning,
            "the connection is not encrypted: whoever is in between reads users and their values"
                .into(),
            Some("use rediss://, or a network that nobody else is in"),
        ),
    }
}

pub(super) fn version(facts: &Facts) -> Verdict {
    let name = facts.version().unwrap_or_default();
    let parts = |version: &str| {
        let mut parts = version.split('.').map(str::parse::<u32>);
        Some((parts.next()?.ok()?, parts.next()?.ok()?))
    };
    match facts.field("redis_version").and_then(parts) {
        Some(version) if version < OLDEST => (
            Level::Error,
            format!("{name} is too old"),
            Some("sessions need Redis 6.2 or later, or Valkey"),
        ),
        Some(_) => good(name),
        None => (Level::Note, "it does not say its version".into(), None),
    }
}
