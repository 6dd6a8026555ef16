//! What is known of a user.

use std::sync::Arc;
use std::time::SystemTime;

use crate::address::{Network, network_of};
use crate::id::Handle;
use crate::record::{Activity, HistoryEntry, HistoryEvent, UserLog};
use crate::session::SessionInfo;

/// What is known of a user, for a [`RiskPolicy`](super::RiskPolicy) to judge. What is `None` is not known.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Evidence {
    /// Now.
    pub now: SystemTime,
    /// The live sessions. That of the request that asks is as this request uses it.
    pub sessions: Option<Vec<SessionInfo>>,
    /// What happened to the user's sessions, newest first.
    pub history: Option<Vec<HistoryEntry>>,
    /// What the application recorded, newest first.
    pub activities: Option<Vec<Activity>>,
    /// The most requests that one of the sessions sent to this instance within a minute, this one or the last.
    pub requests: Option<u32>,
    /// How often an id of a session of this user that had ended was presented to this instance within about an hour.
    pub ended_ids: Option<u32>,
}

impl Evidence {
    /// Nothing is known but the time.
    #[must_use]
    pub const fn new(now: SystemTime) -> Self {
        Self {
            now,
            sessions: None,
            history: None,
            activities: None,
            requests: None,
            ended_ids: None,
        }
    }

    /// With what a store keeps of the user.
    #[must_use]
    pub fn with_log(mut self, log: UserLog) -> Self {
        self.history = Some(log.history);
        self.activities = Some(log.activities);
        self
    }

    /// With the live sessions.
    #[must_use]
    pub fn with_sessions(mut self, sessions: Vec<SessionInfo>) -> Self {
        self.sessions = Some(sessions);
        self
    }

    /// How each live session was used, in the order of time.
    pub(super) fn trails(&self) -> Vec<Trail> {
        let sessions = self.sessions.as_deref().unwrap_or_default();
        let trails = sessions.iter().map(|session| self.trail(session));
        trails.collect()
    }

    fn trail(&self, session: &SessionInfo) -> Trail {
        let history = self.history.iter().flatten();
        let mut uses: Vec<Use> = history
            .filter(|entry| entry.handle == session.handle)
            // With an end comes what was known before it.
            .filter(|entry| !matches!(entry.event, HistoryEvent::Ended { .. }))
            .map(|entry| Use::new(entry.at, &entry.address, &entry.user_agent))
            .collect();
        let activities = self.activities.iter().flatten();
        let activities = activities.filter(|activity| activity.handle == Some(session.handle));
        uses.extend(activities.map(|a| Use::new(a.at, &a.address, &a.user_agent)));
        uses.sort_by_key(|one| one.at);
        uses.push(Use {
            at: session.last_seen_at,
            network: session.address.as_deref().map(network_of),
            agent: session.user_agent.as_deref().map(family),
        });
        Trail { uses }
    }

    /// The networks that the user signed in from until then, this sign-in included.
    pub(super) fn signed_in_from(&self, until: SystemTime) -> Vec<Network> {
        let history = self.history.iter().flatten();
        history
            .filter(|entry| entry.at <= until)
            .filter(|entry| {
                matches!(
                    entry.event,
                    HistoryEvent::SignedIn | HistoryEvent::Reauthenticated
                )
            })
            .filter_map(|entry| entry.address.as_deref().map(network_of))
            .collect()
    }

    /// The handles of the user's sessions of which the history tells that they ended.
    pub(crate) fn ended_handles(log: &UserLog) -> impl Iterator<Item = Handle> {
        log.history
            .iter()
            .filter(|entry| matches!(entry.event, HistoryEvent::Ended { .. }))
            .map(|entry| entry.handle)
    }
}

/// How one session was used.
pub(super) struct Trail {
    uses: Vec<Use>,
}

struct Use {
    at: SystemTime,
    network: Option<Network>,
    agent: Option<String>,
}

impl Use {
    fn new(at: SystemTime, address: &Option<Arc<str>>, agent: &Option<Arc<str>>) -> Self {
        Self {
            at,
            network: address.as_deref().map(network_of),
            agent: agent.as_deref().map(family),
        }
    }
}

impl Trail {
    /// The networks in order, where they are known. At least two, or there is nothing to compare.
    pub(super) fn networks(&self) -> Option<Vec<&Network>> {
        let networks: Vec<_> = self
            .uses
            .iter()
            .filter_map(|u| u.network.as_ref())
            .collect();
        (networks.len() > 1).then_some(networks)
    }

    /// The families of user agents in order, likewise.
    pub(super) fn agents(&self) -> Option<Vec<&str>> {
        let agents: Vec<_> = self
            .uses
            .iter()
            .filter_map(|u| u.agent.as_deref())
            .collect();
        (agents.len() > 1).then_some(agents)
    }
}

/// What kind of program it is, whatever its version: a browser's name, or the first product of anything else.
pub(super) fn family(agent: &str) -> String {
    // In this order, for most of them also name the others.
    const BROWSERS: [(&str, &str); 8] = [
        ("Edg", "edge"),
        ("OPR/", "opera"),
        ("SamsungBrowser/", "samsung"),
        ("Firefox/", "firefox"),
        ("FxiOS/", "firefox"),
        ("CriOS/", "chrome"),
        ("Chrome/", "chrome"),
        ("Safari/", "safari"),
    ];
    if agent.starts_with("Mozilla/")
        && let Some((_, name)) = BROWSERS.iter().find(|(mark, _)| agent.contains(mark))
    {
        return (*name).to_owned();
    }
    let product = agent.split_ascii_whitespace().next().unwrap_or(agent);
    let name = product.split('/').next().unwrap_or(product);
    name.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::family;

    #[test]
    fn a_family_is_a_browser_or_the_first_product() {
        let chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36";
        for (agent, name) in [
            ("app/1", "app"),
            ("APP/2.7 (linux)", "app"),
            ("curl/9", "curl"),
            ("Mozilla/5.0", "mozilla"),
            (
                "Mozilla/5.0 (X11; rv:132.0) Gecko/20100101 Firefox/132.0",
                "firefox",
            ),
            (chrome, "chrome"),
            (&format!("{chrome} Edg/130.0"), "edge"),
            ("", ""),
        ] {
            assert_eq!(family(agent), name, "{agent}");
        }
    }
}
