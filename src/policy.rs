//! What a layer holds sessions to, for people to read.

use std::fmt;
use std::time::Duration;

use crate::config::{Config, LimitRule};
use crate::store::{AtLimit, Outage};

/// What a layer holds sessions to: timeouts, limit, and what happens while the store is away.
///
/// [`describe`](Self::describe) says it in words, for the documentation that ASVS 5.0 asks for (7.1.1, 7.1.2), and for
/// a page that tells users.
///
/// ```
/// use sessile::{AtLimit, MemoryStore, SessionLayer};
/// # fn main() -> Result<(), sessile::ConfigError> {
/// let layer = SessionLayer::builder(MemoryStore::new())
///     .aal2()
///     .max_sessions_per_user(3, AtLimit::Refuse)
///     .build()?;
/// let policy = layer.policy().describe();
/// assert!(policy.contains("59 minutes") && policy.contains("24 hours") && policy.contains("at most 3 sessions"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// How long a session lives without a request.
    pub idle_timeout: Duration,
    /// How long it lives in all, from signing in.
    pub absolute_timeout: Duration,
    /// How long one that was remembered lives without a request.
    pub remembered_idle_timeout: Duration,
    /// How long such a one lives in all.
    pub remembered_absolute_timeout: Duration,
    /// How late an idle end may come.
    pub touch_threshold: Duration,
    /// How many sessions a user may have.
    pub limit: LimitPolicy,
    /// What is done while the store is away; `None`: it is in this process, and never away.
    pub outage: Option<Outage>,
    /// The cookie's name.
    pub cookie_name: String,
}

/// How many sessions a user may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LimitPolicy {
    /// As many as the store takes.
    Unlimited,
    /// So many each.
    Fixed(u32, AtLimit),
    /// By a function of the user.
    EachUser(AtLimit),
}

impl Policy {
    pub(crate) fn of(config: &Config, outage: Option<Outage>) -> Self {
        let at_most = |idle| config.touch_threshold(idle);
        let (timeouts, remembered) = (config.timeouts, config.remembered);
        Self {
            idle_timeout: timeouts.idle,
            absolute_timeout: timeouts.absolute,
            remembered_idle_timeout: remembered.idle,
            remembered_absolute_timeout: remembered.absolute,
            touch_threshold: at_most(timeouts.idle).max(at_most(remembered.idle)),
            limit: match &config.limit {
                LimitRule::None => LimitPolicy::Unlimited,
                LimitRule::Fixed(sessions, at_limit) => LimitPolicy::Fixed(*sessions, *at_limit),
                LimitRule::Each(_, at_limit) => LimitPolicy::EachUser(*at_limit),
            },
            outage,
            cookie_name: config.cookie.name.clone(),
        }
    }

    /// The policy in words, a sentence a line.
    #[must_use]
    pub fn describe(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "A session ends {} after its last request, and {} after signing in, whatever happens.",
            Span(self.idle_timeout),
            Span(self.absolute_timeout)
        )?;
        writeln!(
            f,
            "One that is remembered by the browser ends {} after its last request, and {} after signing in.",
            Span(self.remembered_idle_timeout),
            Span(self.remembered_absolute_timeout)
        )?;
        writeln!(
            f,
            "Requests are noted down at most every {}: an end for want of requests may come later by as much, and never \
             earlier.",
            Span(self.touch_threshold)
        )?;
        match self.limit {
            LimitPolicy::Unlimited => writeln!(f, "A user may have any number of sessions."),
            LimitPolicy::Fixed(1, at_limit) => {
                writeln!(
                    f,
                    "A user has at most 1 session at a time. {}",
                    at(at_limit)
                )
            }
            LimitPolicy::Fixed(sessions, at_limit) => {
                let at = at(at_limit);
                writeln!(f, "A user has at most {sessions} sessions at a time. {at}")
            }
            LimitPolicy::EachUser(at_limit) => writeln!(
                f,
                "How many sessions a user has at a time is limited for each user. {}",
                at(at_limit)
            ),
        }?;
        match self.outage {
            None => f.write_str("Sessions are kept in this process, and end with it."),
            Some(Outage::Refuse) => {
                f.write_str("While the store is away nobody's session is served.")
            }
            Some(Outage::Lease(lease)) => write!(
                f,
                "While the store is away, sessions that were read within {} are served, and nothing is written.",
                Span(lease)
            ),
            Some(Outage::Local { lease }) => write!(
                f,
                "While the store is away, sessions that were read within {} are served, and new ones are made here and \
                 brought to it afterwards.",
                Span(lease)
            ),
        }
    }
}

const fn at(limit: AtLimit) -> &'static str {
    match limit {
        AtLimit::EndOldest => {
            "Signing in once more ends the session that was signed in longest ago."
        }
        AtLimit::Refuse => "Signing in once more is refused.",
    }
}

/// A duration for people: in the largest unit that gives a whole number.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        if self.0.subsec_nanos() != 0 || seconds == 0 {
            return write!(f, "{} milliseconds", self.0.as_millis());
        }
        let units = [
            (86_400, "day"),
            (3_600, "hour"),
            (60, "minute"),
            (1, "second"),
        ];
        let whole = units.into_iter().find(|(unit, _)| {
            // A day is "24 hours": that is how the standards say it.
            seconds.is_multiple_of(*unit) && (*unit < 86_400 || seconds > 86_400)
        });
        let (unit, name) = whole.unwrap_or((1, "second"));
        let n = seconds / unit;
        write!(f, "{n} {name}{}", if n == 1 { "" } else { "s" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_in_the_largest_unit_that_is_whole() {
        let text = |seconds| Span(Duration::from_secs(seconds)).to_string();
        assert_eq!(text(1), "1 second");
        assert_eq!(text(90), "90 seconds");
        assert_eq!(text(3_540), "59 minutes");
        assert_eq!(text(43_200), "12 hours");
        assert_eq!(text(86_400), "24 hours");
        assert_eq!(text(30 * 86_400), "30 days");
        assert_eq!(
            Span(Duration::from_millis(1_500)).to_string(),
            "1500 milliseconds"
        );
    }
}
