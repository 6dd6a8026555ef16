//! The policies that are there.

use super::signals::{
    ended_id_presented, network_changed, networks_alternate, privileged_from_new_network,
    regeneration_burst, request_burst, several_networks, user_agent_changed,
};
use super::{Evidence, Reading, Risk, RiskLevel, RiskPolicy, Signal};
use crate::record::Activity;

/// From this sum of weights on a risk is medium…
const MEDIUM: u32 = 30;
/// …and from this on it is high.
const HIGH: u32 = 70;

/// The default: adds up the weights of the signals in the [table](super).
#[derive(Debug, Clone, Copy)]
pub struct Weighted {
    is_privileged: fn(&Activity) -> bool,
}

impl Weighted {
    /// The weight of a signal.
    #[must_use]
    pub const fn weight(signal: Signal) -> u32 {
        match signal {
            Signal::UserAgentChanged | Signal::NetworksAlternate => 40,
            Signal::NetworkChanged | Signal::RequestBurst => 20,
            Signal::SeveralNetworks | Signal::EndedIdPresented | Signal::RegenerationBurst => 30,
            Signal::PrivilegedFromNewNetwork => 50,
            Signal::ManyActivities => 0,
        }
    }

    /// What is privileged. Default: whatever has `admin` in the name of its kind or of a segment of its resource.
    #[must_use]
    pub const fn privileged(mut self, is_privileged: fn(&Activity) -> bool) -> Self {
        self.is_privileged = is_privileged;
        self
    }
}

impl Default for Weighted {
    fn default() -> Self {
        Self {
            is_privileged: is_admins,
        }
    }
}

fn is_admins(activity: &Activity) -> bool {
    let names = |text: &str| {
        text.split(|c: char| !c.is_ascii_alphanumeric())
            .any(|word| word.eq_ignore_ascii_case("admin"))
    };
    names(&activity.kind) || names(&activity.resource)
}

impl RiskPolicy for Weighted {
    fn assess(&self, evidence: &Evidence) -> Risk {
        let privileged = privileged_from_new_network(evidence, self.is_privileged);
        let readings = [
            (Signal::UserAgentChanged, user_agent_changed(evidence)),
            (Signal::NetworkChanged, network_changed(evidence)),
            (Signal::NetworksAlternate, networks_alternate(evidence)),
            (Signal::SeveralNetworks, several_networks(evidence)),
            (Signal::EndedIdPresented, ended_id_presented(evidence)),
            (Signal::RequestBurst, request_burst(evidence)),
            (Signal::RegenerationBurst, regeneration_burst(evidence)),
            (Signal::PrivilegedFromNewNetwork, privileged),
        ];
        let of = |what| {
            let some = readings.iter().filter(move |(_, reading)| *reading == what);
            some.map(|(signal, _)| *signal)
        };
        let score: u32 = of(Reading::Raised).map(Self::weight).sum();
        Risk {
            level: match score {
                HIGH.. => RiskLevel::High,
                MEDIUM.. => RiskLevel::Medium,
                _ => RiskLevel::Low,
            },
            reasons: of(Reading::Raised).collect(),
            unknown: of(Reading::Unknown).collect(),
        }
    }
}

/// The number of recorded activities is the risk: more than 10 is medium, more than 20 high.
///
/// The rule of a system that sessile replaces, for those who have thresholds built on it.
#[derive(Debug, Clone, Copy, Default)]
pub struct ActivityCount;

impl ActivityCount {
    /// More than this is medium.
    pub const MEDIUM: usize = 10;
    /// More than this is high.
    pub const HIGH: usize = 20;
}

impl RiskPolicy for ActivityCount {
    fn assess(&self, evidence: &Evidence) -> Risk {
        let signal = vec![Signal::ManyActivities];
        let Some(activities) = &evidence.activities else {
            return Risk {
                unknown: signal,
                ..Risk::default()
            };
        };
        let level = match activities.len() {
            n if n > Self::HIGH => RiskLevel::High,
            n if n > Self::MEDIUM => RiskLevel::Medium,
            _ => return Risk::default(),
        };
        Risk {
            level,
            reasons: signal,
            unknown: Vec::new(),
        }
    }
}
