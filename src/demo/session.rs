//! A demo, and what its holder may do with it.

use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use serde::Serialize;
use serde_json::{Map, Value};

use super::message::Said;
use super::status::{percentage, progress};
use super::{DemoStatus, Demos, INDUSTRY, Industry, Message, STEPS};
use crate::error::Error;
use crate::id::{Handle, UserId};
use crate::problem::ErrorKind;
use crate::record::{MessageId, NewMessage, Record};
use crate::session::{Context, Finish, Freshness, Identity, Outcome};
use crate::store::{Append, Appended, Applied};

/// A demo that is there.
///
/// As an extractor (feature `axum`) it answers 404 where there is none; `Option<DemoSession>` is `None` then. A store that
/// fails is 503 in both. Clones are the same demo.
#[derive(Clone)]
pub struct DemoSession {
    context: Arc<Context>,
    demos: Arc<Demos>,
}

impl DemoSession {
    pub(super) const fn new(context: Arc<Context>, demos: Arc<Demos>) -> Self {
        Self { context, demos }
    }

    fn record(&self) -> Result<Record, Error> {
        let live = self.context.state().live().map(|live| live.record.clone());
        live.ok_or_else(|| self.gone())
    }

    /// Why there is none.
    pub(super) fn gone(&self) -> Error {
        let error = Error::new(ErrorKind::NoDemoSession);
        match &self.context.state().identity {
            Identity::Dead(dead) => error.with_end(&dead.end),
            Identity::Unknown(unknown) => unknown.error(),
            Identity::Live(_) | Identity::Stranger => error,
        }
    }

    /// How far it is, as this request knows it: as it was read, with what this request added. No store call.
    ///
    /// # Errors
    /// `NoDemoSession` where this request has ended it.
    pub fn status(&self) -> Result<DemoStatus, Error> {
        let record = self.record()?;
        let count = record.message_count();
        let steps = steps(&record);
        let last = record.messages().last().and_then(Message::read);
        Ok(DemoStatus {
            session_id: record.handle(),
            industry: industry(&record),
            started_at: record.created_at(),
            ends_at: record.ends_at(),
            message_count: count,
            progress_percentage: percentage(count, steps),
            status: progress(count, steps),
            last_interaction: last.map(|message| message.timestamp),
        })
    }

    /// What was said, the first message first: as it was read, with what this request added. No store call.
    ///
    /// # Errors
    /// `NoDemoSession` where this request has ended it.
    pub fn messages(&self) -> Result<Vec<Message>, Error> {
        let record = self.record()?;
        Ok(record.messages().filter_map(Message::read).collect())
    }

    /// Adds a message, after adding to it what else is known of it. Await it: it is stored when that returns. Its time is the
    /// store's. One store call, which does not grow with the conversation.
    ///
    /// # Errors
    /// `InvalidMessage` without a role or a content, or with metadata that names `role`, `content` or `timestamp`; `TooLarge` with a
    /// role of more than 64 bytes, or over a bound of the layer; `NoDemoSession` where it has ended meanwhile; `SessionMoved`
    /// where a login has just given it a new id; `StoreUnavailable`, after which the message may be there or not.
    pub fn add_message(
        &self,
        role: impl Into<String>,
        content: impl Into<String>,
    ) -> AddMessage<'_> {
        AddMessage {
            demo: self,
            said: Said {
                role: role.into(),
                content: content.into(),
                metadata: Map::new(),
            },
            failed: None,
        }
    }

    /// Ends it, now: nothing of it is left but that it was. The response removes the cookie. One store call.
    ///
    /// # Errors
    /// `StoreUnavailable`: it may still be there, and the cookie stays.
    ///
    /// # Cancel safety
    /// Dropped, it is carried through.
    pub async fn end(&self) -> Result<Outcome, Error> {
        Arc::clone(&self.context).log_out().await
    }

    /// Whose it is, if it is anybody's beside its holder's.
    #[must_use]
    pub fn user_id(&self) -> Option<UserId> {
        self.record().ok()?.user().map(UserId::from)
    }

    /// Its public name, by which nothing can be opened. `None`: this request has ended it.
    #[must_use]
    pub fn handle(&self) -> Option<Handle> {
        self.record().ok().map(|record| record.handle())
    }

    /// On what rests what this request knows of it. `None`: this request has ended it.
    #[must_use]
    pub fn freshness(&self) -> Option<Freshness> {
        self.context.state().live().map(|live| live.freshness)
    }

    async fn say(self, said: Said) -> Result<Message, Error> {
        let config = &self.demos.config;
        let body = said.to_json(config.message_bytes)?;
        let live = match &self.context.state().identity {
            Identity::Live(live) => Some((live.key, live.record.clone())),
            Identity::Dead(dead) if dead.moved => return Err(Error::new(ErrorKind::SessionMoved)),
            Identity::Dead(_) | Identity::Stranger | Identity::Unknown(_) => None,
        };
        let (key, record) = live.ok_or_else(|| self.gone())?;
        let append = Append {
            key,
            message: NewMessage {
                id: MessageId::random()?,
                body: body.into(),
            },
            bounds: config.bounds,
            at: None,
            again: false,
        };
        let message = append.message.clone();
        match self.context.store().append(append).await?.value {
            Appended::Added { at, count } => {
                self.context.said(&key, &message, at);
                if u32::try_from(count) == Ok(steps(&record)) {
                    let area = &self.context.area;
                    area.events.demo_completed(area.store.now(), &record);
                }
                Ok(said.at(at))
            }
            Appended::Moved => Err(self.context.refused(&key, Applied::Moved)),
            Appended::Ended(end) => {
                self.context.refused(&key, Applied::Ended(end.clone()));
                Err(Error::new(ErrorKind::NoDemoSession).with_end(&end))
            }
            Appended::Full => Err(Error::new(ErrorKind::TooLarge)
                .with_detail("the demo has as many messages, or bytes, as the layer allows")),
        }
    }
}

fn industry(record: &Record) -> Industry {
    // Of a damaged one nothing is known; what was said is more than that.
    read(record, INDUSTRY.name()).unwrap_or_default()
}

fn steps(record: &Record) -> u32 {
    read(record, STEPS.name()).unwrap_or(1)
}

fn read<T: serde::de::DeserializeOwned>(record: &Record, name: &str) -> Option<T> {
    serde_json::from_slice(record.value(name)?).ok()
}

impl fmt::Debug for DemoSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DemoSession")
            .field("handle", &self.handle())
            .finish_non_exhaustive()
    }
}

/// A message that is being put together; awaiting it adds it.
#[derive(Debug)]
#[must_use = "a message is not added until it is awaited"]
pub struct AddMessage<'a> {
    demo: &'a DemoSession,
    said: Said,
    failed: Option<Error>,
}

impl AddMessage<'_> {
    /// Something else that is known of it, under a name of its own.
    pub fn with(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
        match serde_json::to_value(value) {
            Ok(value) => {
                self.said.metadata.insert(name.into(), value);
            }
            Err(error) => {
                self.failed = Some(
                    Error::new(ErrorKind::InvalidValue)
                        .with_detail("metadata did not encode as JSON")
                        .with_source(error),
                );
            }
        }
        self
    }

    /// All of this, too.
    pub fn metadata(mut self, metadata: Map<String, Value>) -> Self {
        self.said.metadata.extend(metadata);
        self
    }
}

impl IntoFuture for AddMessage<'_> {
    type Output = Result<Message, Error>;
    type IntoFuture = AddMessageFuture;

    fn into_future(self) -> AddMessageFuture {
        let (demo, said, failed) = (self.demo.clone(), self.said, self.failed);
        AddMessageFuture(Finish::new(async move {
            match failed {
                Some(error) => Err(error),
                None => demo.say(said).await,
            }
        }))
    }
}

/// The future of an [`AddMessage`].
///
/// # Cancel safety
/// Dropped before its first poll it has done nothing; dropped later it is carried through.
#[must_use = "futures do nothing until they are polled"]
pub struct AddMessageFuture(Finish<Result<Message, Error>>);

impl Future for AddMessageFuture {
    type Output = Result<Message, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl fmt::Debug for AddMessageFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddMessageFuture").finish_non_exhaustive()
    }
}
