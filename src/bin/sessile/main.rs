//! `sessile`: sessions in Redis, for the people who run it.
//!
//! | file | has |
//! |---|---|
//! | `options.rs` | the command line |
//! | `output.rs` | tables for people, JSON for programs |
//! | `ask.rs` | "are you sure?" |
//! | `bar.rs` | how far it is |
//! | `look.rs` | list, show, stats |
//! | `past.rs` | history, watch |
//! | `end.rs` | end, end-all |
//! | `migrate.rs` | migrate, with its progress |
//! | `check.rs` | cleanup, doctor |
//!
//! Nothing here prints an id or a digest: a session is known by its handle.

mod ask;
mod bar;
mod check;
mod end;
mod look;
mod migrate;
mod options;
mod output;
mod past;

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use sessile::{Outage, RedisStore, SessionLayer, Sessions, StoreError};

use options::{Command, Options, Place};

/// What a command came to.
pub(crate) enum Outcome {
    Done,
    /// It failed, or what was asked for is not there; that was said.
    Failed,
    /// The command line cannot be meant so; that was said.
    Usage,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::SUCCESS,
            Outcome::Failed => Self::from(1),
            Outcome::Usage => Self::from(2),
        }
    }
}

/// Why a command failed, in words for people.
#[derive(Debug)]
pub(crate) enum Failure {
    Failed(String),
    /// The command line cannot be meant so.
    Usage(String),
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.to_string())
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = match options::read() {
        Ok(options) => options,
        Err(code) => return code,
    };
    match run(options).await {
        Ok(outcome) => outcome.into(),
        Err(Failure::Failed(words)) => {
            complain(&words);
            Outcome::Failed.into()
        }
        Err(Failure::Usage(words)) => {
            complain(&words);
            Outcome::Usage.into()
        }
    }
}

async fn run(options: Options) -> Result<Outcome, Failure> {
    match options.command {
        Command::Migrate(options) => migrate::run(options).await,
        Command::List(options) => look::list(options).await,
        Command::Show(options) => look::show(options).await,
        Command::Stats(options) => look::stats(options).await,
        Command::History(options) => past::history(options).await,
        Command::Watch(options) => past::watch(options).await,
        Command::End(options) => end::one(options).await,
        Command::EndAll(options) => end::all(options).await,
        Command::Cleanup(options) => check::cleanup(options).await,
        Command::Doctor(options) => check::doctor(options).await,
    }
}

/// The store that is asked for. Whoever waits for an answer here waits longer than a request does.
pub(crate) async fn store(place: &Place) -> Result<RedisStore, Failure> {
    let mut builder = RedisStore::builder(&place.redis)
        .command_timeout(Duration::from_secs(2))
        .operation_timeout(Duration::from_secs(10));
    if let Some(namespace) = &place.namespace {
        builder = builder.namespace(namespace);
    }
    // A server that is away is told by the first command; what is told here is an address or a namespace that is none.
    let connected = builder.connect().await;
    connected.map_err(|error| Failure::Usage(error.to_string()))
}

/// Administration, where whatever fails is told and nothing is kept for later.
pub(crate) fn sessions(store: &RedisStore) -> Result<Sessions, Failure> {
    let layer = SessionLayer::builder(store.clone())
        .outage(Outage::Refuse)
        .build()?;
    Ok(layer.sessions())
}

/// What is wrong, on stderr. Not `eprintln!`: a closed stderr must not turn this into a panic.
pub(crate) fn complain(error: &dyn Display) {
    let _ = writeln!(std::io::stderr(), "error: {error}");
}

/// What a layer's error hides from clients is for whoever runs this.
pub(crate) fn detail(error: &sessile::Error) -> Failure {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(store) = inner.downcast_ref::<StoreError>() {
            return Failure::Failed(store.to_string());
        }
        source = inner.source();
    }
    Failure::Failed(error.to_string())
}
