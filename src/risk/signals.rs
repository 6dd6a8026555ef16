//! Each signal is one pure function of the evidence.

use std::time::Duration;

use super::evidence::Trail;
use super::{Evidence, Reading};
use crate::address::network_of;
use crate::record::{Activity, HistoryEvent};

/// What happens within this happens at the same time, or in a short time.
const WHILE: Duration = Duration::from_secs(600);
/// So many networks at the same time are several.
const SEVERAL: usize = 3;
/// So many changes between two networks are an alternation.
const CHANGES: usize = 3;
/// More requests of one session within a minute are a burst.
const MOST_REQUESTS: u32 = 300;
/// So many new ids in a short time are a burst.
const MANY_IDS: usize = 10;

pub(super) fn user_agent_changed(evidence: &Evidence) -> Reading {
    any(evidence.trails().iter().map(|trail| {
        let agents = trail.agents()?;
        Some(agents.iter().any(|agent| *agent != agents[0]))
    }))
}

pub(super) fn network_changed(evidence: &Evidence) -> Reading {
    any(evidence.trails().iter().map(|trail| {
        let networks = trail.networks()?;
        Some(networks.iter().any(|network| *network != networks[0]))
    }))
}

pub(super) fn networks_alternate(evidence: &Evidence) -> Reading {
    any(evidence.trails().iter().map(alternates))
}

fn alternates(trail: &Trail) -> Option<bool> {
    let mut networks = trail.networks()?;
    networks.dedup();
    let mut back = networks.windows(CHANGES + 1);
    Some(back.any(|some| some[0] != some[1] && some.windows(3).all(|three| three[0] == three[2])))
}

pub(super) fn several_networks(evidence: &Evidence) -> Reading {
    let Some(sessions) = &evidence.sessions else {
        return Reading::Unknown;
    };
    let recent = sessions.iter().filter(|session| {
        let age = evidence.now.duration_since(session.last_seen_at);
        age.unwrap_or_default() <= WHILE
    });
    let mut networks: Vec<_> = recent
        .filter_map(|session| session.address.as_deref().map(network_of))
        .collect();
    if networks.is_empty() {
        return Reading::Unknown;
    }
    networks.sort();
    networks.dedup();
    reading(networks.len() >= SEVERAL)
}

pub(super) fn ended_id_presented(evidence: &Evidence) -> Reading {
    evidence
        .ended_ids
        .map_or(Reading::Unknown, |n| reading(n > 0))
}

pub(super) fn request_burst(evidence: &Evidence) -> Reading {
    let requests = evidence.requests;
    requests.map_or(Reading::Unknown, |n| reading(n > MOST_REQUESTS))
}

pub(super) fn regeneration_burst(evidence: &Evidence) -> Reading {
    let Some(history) = &evidence.history else {
        return Reading::Unknown;
    };
    let recent = history.iter().filter(|entry| {
        let age = evidence.now.duration_since(entry.at).unwrap_or_default();
        entry.event == HistoryEvent::Regenerated && age <= WHILE
    });
    reading(recent.count() >= MANY_IDS)
}

pub(super) fn privileged_from_new_network(
    evidence: &Evidence,
    is_privileged: impl Fn(&Activity) -> bool,
) -> Reading {
    let Some(activities) = &evidence.activities else {
        return Reading::Unknown;
    };
    let mut privileged = activities.iter().filter(|a| is_privileged(a)).peekable();
    if privileged.peek().is_none() {
        return Reading::Quiet;
    }
    any(privileged.map(|activity| {
        let network = network_of(activity.address.as_deref()?);
        let known = evidence.signed_in_from(activity.at);
        (!known.is_empty()).then(|| !known.contains(&network))
    }))
}

/// Raised where one is; quiet where one at least is known not to be.
fn any(each: impl Iterator<Item = Option<bool>>) -> Reading {
    each.fold(Reading::Unknown, |so_far, one| match (so_far, one) {
        (Reading::Raised, _) | (_, Some(true)) => Reading::Raised,
        (Reading::Quiet, _) | (_, Some(false)) => Reading::Quiet,
        (Reading::Unknown, None) => Reading::Unknown,
    })
}

const fn reading(is_raised: bool) -> Reading {
    if is_raised {
        Reading::Raised
    } else {
        Reading::Quiet
    }
}
