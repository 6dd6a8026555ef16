//! How much a user's sessions look like somebody else's: a level, and why.
//!
//! [`UserSession::security`](crate::UserSession::security) and [`Sessions::security`](crate::Sessions::security) gather
//! what is known, the [`Evidence`], and a [`RiskPolicy`] judges it. The default, [`Weighted`], looks for these signals and
//! adds up the weights of those that are raised:
//!
//! | signal | raised when | weight |
//! |---|---|---|
//! | `user_agent_changed` | a session is used with another family of user agent than it was before | 40 |
//! | `network_changed` | a session is used from another network than it was before | 20 |
//! | `networks_alternate` | a session goes back and forth between two networks: three changes | 40 |
//! | `several_networks` | sessions were used from three networks or more within ten minutes | 30 |
//! | `ended_id_presented` | the id of a session of this user that had ended was presented here within the hour | 30 |
//! | `request_burst` | more than 300 requests of one session came here within a minute | 20 |
//! | `regeneration_burst` | ten new ids or more within ten minutes | 30 |
//! | `privileged_from_new_network` | something privileged was done from a network that no session had signed in from | 50 |
//!
//! 30 or more is medium, 70 or more is high. So a change of the network alone, which every commuter has, is low; a change
//! of the user agent, which no browser has without an update, is medium by itself; and an administrator's page that is
//! opened from a new network is medium, and high where the session signed in elsewhere.
//!
//! A signal whose input is missing is *unknown*: it is listed, and adds nothing. A session that has only begun is low.
//!
//! Nothing ends by itself. The level is there to be shown; an application that wants more says so with
//! [`on_risk`](crate::SessionLayerBuilder::on_risk), and asks with
//! [`UserSession::check_risk`](crate::UserSession::check_risk) where it matters.
//!
//! ```
//! use sessile::risk::{Evidence, RiskLevel, RiskPolicy, Weighted};
//!
//! let nothing_is_known = Evidence::new(std::time::SystemTime::now());
//! let risk = Weighted::default().assess(&nothing_is_known);
//! assert_eq!(risk.level, RiskLevel::Low);
//! assert!(risk.reasons.is_empty() && !risk.unknown.is_empty());
//! ```

mod evidence;
mod policy;
pub(crate) mod rates;
mod signals;
#[cfg(test)]
mod tests;

use std::fmt;

pub use evidence::Evidence;
pub use policy::{ActivityCount, Weighted};

/// How much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum RiskLevel {
    /// Nothing out of the ordinary.
    #[default]
    Low,
    /// Worth a look: a notice to the user, a line in the log.
    Medium,
    /// Worth asking who it is.
    High,
}

impl RiskLevel {
    /// Its name in responses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

impl fmt::Display for RiskLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What can be out of the ordinary: see the [table](self).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Signal {
    /// Another family of user agent than before.
    UserAgentChanged,
    /// Another network than before.
    NetworkChanged,
    /// Back and forth between two networks.
    NetworksAlternate,
    /// Many networks at the same time.
    SeveralNetworks,
    /// Somebody has an id that is over.
    EndedIdPresented,
    /// Many requests in a short time.
    RequestBurst,
    /// Many new ids in a short time.
    RegenerationBurst,
    /// Something privileged, from where the user never signed in.
    PrivilegedFromNewNetwork,
    /// Many recorded activities: of [`ActivityCount`] alone.
    ManyActivities,
}

impl Signal {
    /// Its name in responses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UserAgentChanged => "user_agent_changed",
            Self::NetworkChanged => "network_changed",
            Self::NetworksAlternate => "networks_alternate",
            Self::SeveralNetworks => "several_networks",
            Self::EndedIdPresented => "ended_id_presented",
            Self::RequestBurst => "request_burst",
            Self::RegenerationBurst => "regeneration_burst",
            Self::PrivilegedFromNewNetwork => "privileged_from_new_network",
            Self::ManyActivities => "many_activities",
        }
    }

    /// A sentence for people.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::UserAgentChanged => "A session is used with another browser than before.",
            Self::NetworkChanged => "A session is used from another network than before.",
            Self::NetworksAlternate => "A session goes back and forth between two networks.",
            Self::SeveralNetworks => "Sessions are used from several networks at the same time.",
            Self::EndedIdPresented => "Somebody came with the key of a session that had ended.",
            Self::RequestBurst => "A session sends very many requests.",
            Self::RegenerationBurst => "A session changed its id very often.",
            Self::PrivilegedFromNewNetwork => "Something privileged was done from a new network.",
            Self::ManyActivities => "There is a lot of activity.",
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a signal is raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// It is.
    Raised,
    /// It is not.
    Quiet,
    /// What it would be seen by is not known.
    Unknown,
}

/// A level with its reasons.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Risk {
    /// How much.
    pub level: RiskLevel,
    /// The signals that were raised.
    pub reasons: Vec<Signal>,
    /// Those of which nothing is known, and which add nothing.
    pub unknown: Vec<Signal>,
}

/// Judges evidence. Set it with [`risk_policy`](crate::SessionLayerBuilder::risk_policy).
///
/// It is pure and quick: what it needs to know is in the evidence.
pub trait RiskPolicy: Send + Sync + 'static {
    /// How much of a risk this is, and why.
    fn assess(&self, evidence: &Evidence) -> Risk;
}

impl<F: Fn(&Evidence) -> Risk + Send + Sync + 'static> RiskPolicy for F {
    fn assess(&self, evidence: &Evidence) -> Risk {
        self(evidence)
    }
}

/// What [`check_risk`](crate::UserSession::check_risk) does about a risk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RiskAction {
    /// Nothing: the request goes on.
    Allow,
    /// The event `risk`; the request goes on.
    Log,
    /// The event `risk`; and 401 "sign in again", unless the user did so within the last five minutes.
    StepUp,
    /// The event `risk`; and the session ends, with the reason `revoked` and a note.
    End,
}

impl RiskAction {
    /// Its name in events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Log => "log",
            Self::StepUp => "step_up",
            Self::End => "end",
        }
    }
}
