//! How a user's sessions look: the evidence, gathered, and the judgement of the layer's policy.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::error::Error;
use crate::id::{Handle, UserId};
use crate::problem::ErrorKind;
use crate::record::{Activity, End, EndReason, HistoryEntry, UserLog};
use crate::risk::{Evidence, Risk, RiskAction};
use crate::session::{Area, Finish, SessionInfo};
use crate::sessions::Sessions;
use crate::store::EndScope;
use crate::user::UserSession;

/// A step up asks for a sign-in within this time.
const STEP_UP: Duration = Duration::from_secs(300);

/// How a user's sessions look.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Security {
    /// The judgement, with its reasons.
    pub risk: Risk,
    /// What it rests on: the live sessions, newest first.
    pub sessions: Vec<SessionInfo>,
    /// What happened to the user's sessions, newest first.
    pub history: Vec<HistoryEntry>,
    /// What the application recorded, newest first.
    pub activities: Vec<Activity>,
}

impl Sessions {
    /// How the sessions of a user look. Two store calls, at the same time.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn security(&self, user: impl Into<UserId>) -> Result<Security, Error> {
        self.area().security(user.into(), None).await
    }
}

impl UserSession {
    /// How this user's sessions look, this one as this request uses it. Two store calls, at the same time.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn security(&self) -> Result<Security, Error> {
        let context = self.session().context();
        let current = self.session().info().map(|mut info| {
            // As it is used now, also where that is not written down yet.
            let seen = context.seen();
            info.last_seen_at = info.last_seen_at.max(seen.at);
            if let Some(address) = seen.address {
                info.address = Some(address.to_string());
            }
            if let Some(agent) = seen.agent {
                info.user_agent = Some(agent.to_string());
            }
            info
        });
        let area = Arc::clone(&context.area);
        area.security(self.user_id().clone(), current).await
    }

    /// Judges this user's sessions, and does about it what [`on_risk`](crate::SessionLayerBuilder::on_risk) says: by
    /// default nothing. For routes that matter. Two store calls, at the same time; one more where the session ends.
    ///
    /// # Errors
    /// `SignInAgain` for a step up; `SessionEnded` where it ends; `StoreUnavailable`.
    pub async fn check_risk(&self) -> Result<Risk, Error> {
        let session = self.clone();
        Finish::new(async move {
            let risk = session.security().await?.risk;
            session.act(&risk).await.map(|()| risk)
        })
        .await
    }

    async fn act(&self, risk: &Risk) -> Result<(), Error> {
        let context = self.session().context();
        let area = &context.area;
        let action = (area.config.risk.action)(risk);
        if action == RiskAction::Allow {
            return Ok(());
        }
        let handle = self.session().handle();
        let (now, address) = (area.store.now(), context.seen().address);
        area.events.risk(
            now,
            (risk, action),
            handle,
            self.user_id(),
            address.as_deref(),
        );
        match action {
            RiskAction::Allow | RiskAction::Log => Ok(()),
            RiskAction::StepUp if self.signed_in_within(STEP_UP) => Ok(()),
            RiskAction::StepUp => Err(Error::new(ErrorKind::SignInAgain)),
            RiskAction::End => {
                let end = End::new(EndReason::Revoked, area.store.now()).with_note(&note(risk));
                if let Some(handle) = handle {
                    let scope = EndScope::Handle(self.user_id().clone(), handle);
                    let address = context.seen().address;
                    area.end(
                        context.store(),
                        scope,
                        end.reason,
                        end.note.clone(),
                        address.as_deref(),
                    )
                    .await?;
                }
                let error = Error::ended(&end);
                context.state().died(end);
                Err(error)
            }
        }
    }
}

/// What the holder of a session is told that ended for a risk.
fn note(risk: &Risk) -> String {
    let mut note = format!("risk {}", risk.level);
    for (n, reason) in risk.reasons.iter().enumerate() {
        note += if n == 0 { ": " } else { ", " };
        note += reason.as_str();
    }
    note
}

impl Area {
    /// `current`: the session of the request that asks, as it is used now.
    async fn security(
        &self,
        user: UserId,
        current: Option<SessionInfo>,
    ) -> Result<Security, Error> {
        let (records, log) = self.user_state(user).await?;
        let mut sessions: Vec<_> = records
            .iter()
            .map(|record| SessionInfo::of(record, false))
            .collect();
        if let Some(current) = current
            && let Some(listed) = sessions.iter_mut().find(|s| s.handle == current.handle)
        {
            *listed = current;
        }
        let evidence = self.evidence(&sessions, &log);
        Ok(Security {
            risk: self.config.risk.policy.assess(&evidence),
            sessions,
            history: log.history,
            activities: log.activities,
        })
    }

    async fn user_state(
        &self,
        user: UserId,
    ) -> Result<(Vec<crate::record::Record>, UserLog), Error> {
        let (list, log) = (self.store.list(user.clone()), self.store.log(user));
        Ok(futures_util::future::try_join(list, log).await?)
    }

    fn evidence(&self, sessions: &[SessionInfo], log: &UserLog) -> Evidence {
        let now: SystemTime = self.store.now();
        let live = sessions.iter().map(|session| session.handle);
        let requests = live.clone().map(|handle| self.requests.get(handle, now));
        let mut handles: Vec<Handle> = live.chain(Evidence::ended_handles(log)).collect();
        handles.sort_unstable();
        handles.dedup();
        let ended = handles.iter().map(|handle| self.dead_ids.get(*handle, now));
        let mut evidence = Evidence::new(now)
            .with_sessions(sessions.to_vec())
            .with_log(log.clone());
        evidence.requests = requests.fold(None, Option::max);
        evidence.ended_ids = ended.flatten().reduce(u32::saturating_add);
        evidence
    }
}
