//! What a request may do about a demo.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Extensions;

use super::{DemoSession, Demos, INDUSTRY, Industry, STEPS};
use crate::error::Error;
use crate::id::{Digest, UserId, sha256};
use crate::problem::ErrorKind;
use crate::session::{Context, Current, Finish, Identity, NewSession, encode, missing_layer};
use crate::store::{Spend, Spent};

/// Within so long the demos that one address starts are counted.
const BUDGET_SPAN: Duration = Duration::from_secs(3600);

/// The demo of a request, whether there is one or not: an extractor that is always there (feature `axum`).
///
/// Getting it reads the demo with its conversation, once a request however many ask: one store call, none without a demo's
/// cookie.
#[derive(Clone)]
pub struct Demo {
    context: Arc<Context>,
    demos: Arc<Demos>,
}

impl Demo {
    /// The demo of a request, by its extensions: for services without axum.
    ///
    /// # Errors
    /// `Misconfigured` without a layer; `StoreUnavailable` when it cannot be read.
    pub fn from_extensions(
        extensions: &Extensions,
    ) -> impl Future<Output = Result<Self, Error>> + Send + use<> {
        let current = Current::of(extensions);
        async move {
            let (context, demos) = current
                .and_then(|current| {
                    Some((current.demo()?, Arc::clone(current.area.demos.as_ref()?)))
                })
                .ok_or_else(|| missing_layer("Demo"))?;
            context.load().await?;
            Ok(Self { context, demos })
        }
    }

    /// The demo, if there is one.
    #[must_use]
    pub fn get(&self) -> Option<DemoSession> {
        self.context.state().live()?;
        Some(self.session())
    }

    /// Starts a demo; the one that there is, if there is one, as it is. An empty name is `general`. One store call, two where
    /// the layer has a budget.
    ///
    /// # Errors
    /// `InvalidDemo` for an industry of more than 64 bytes; `TooManyDemos` where the client's address has started as many
    /// as the layer allows; `SessionMoved` where another request has just given the demo a new id; `StoreUnavailable`;
    /// `ResponseSent`.
    ///
    /// # Cancel safety
    /// Dropped, it is carried through, and a demo whose cookie nobody gets is ended.
    pub async fn start(&self, industry: impl AsRef<str>) -> Result<DemoSession, Error> {
        self.begin(Industry::new(industry.as_ref())?, None).await
    }

    /// The same, for a demo that belongs to this user from the beginning. It is in none of the user's lists, and only the
    /// holder of its cookie opens it.
    ///
    /// # Errors
    /// As [`start`](Self::start); `InvalidUser`.
    ///
    /// # Cancel safety
    /// As [`start`](Self::start).
    pub async fn start_for(
        &self,
        industry: impl AsRef<str>,
        user: impl Into<UserId>,
    ) -> Result<DemoSession, Error> {
        let user = user.into();
        if !user.is_valid() {
            return Err(Error::new(ErrorKind::InvalidUser));
        }
        self.begin(Industry::new(industry.as_ref())?, Some(user))
            .await
    }

    async fn begin(&self, industry: Industry, user: Option<UserId>) -> Result<DemoSession, Error> {
        let demo = self.clone();
        Finish::new(async move {
            let context = &demo.context;
            let _turn = context.turn().await;
            context.must_be_open()?;
            match &context.state().identity {
                Identity::Live(_) => return Ok(demo.session()),
                Identity::Dead(dead) if dead.moved => {
                    return Err(Error::new(ErrorKind::SessionMoved));
                }
                // The one that there may be is not replaced because it cannot be looked up.
                Identity::Unknown(unknown) => return Err(unknown.error()),
                Identity::Dead(_) | Identity::Stranger => {}
            }
            demo.spend().await?;
            let values = vec![
                (INDUSTRY.into_name(), encode(&industry)?),
                (STEPS.into_name(), encode(&demo.demos.config.steps)?),
            ];
            let mut new = NewSession {
                user,
                persistent: false,
                values,
                demo: None,
            };
            context.create(&mut new).await?;
            Ok(demo.session())
        })
        .await
    }

    /// One demo less for the client's address. Of an address that is not known there is nothing to count.
    async fn spend(&self) -> Result<(), Error> {
        let (Some(most), Some(address)) = (self.demos.config.budget, self.context.address()) else {
            return Ok(());
        };
        let spend = Spend {
            // Nobody is told from the store who was here.
            whose: Digest::from_bytes(sha256(&[b"demo", address.to_string().as_bytes()])),
            most,
            within: BUDGET_SPAN,
        };
        match self.context.store().spend(spend).await? {
            Spent::Granted => Ok(()),
            Spent::Exhausted(until) => {
                let now = self.context.area.store.now();
                self.context.area.events.demo_refused(now);
                let after = until.duration_since(now).unwrap_or(Duration::from_secs(1));
                Err(Error::new(ErrorKind::TooManyDemos).with_retry_after(after))
            }
        }
    }

    fn session(&self) -> DemoSession {
        DemoSession::new(Arc::clone(&self.context), Arc::clone(&self.demos))
    }

    /// Why there is none.
    pub(super) fn gone(&self) -> Error {
        self.session().gone()
    }

    /// The demo, or why there is none: what the extractor [`DemoSession`] does, for services without axum.
    ///
    /// # Errors
    /// `NoDemoSession`, with the reason where the cookie is a dead one's.
    pub fn require(&self) -> Result<DemoSession, Error> {
        self.get().ok_or_else(|| self.gone())
    }
}

impl fmt::Debug for Demo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Demo")
            .field("session", &self.get())
            .finish_non_exhaustive()
    }
}
