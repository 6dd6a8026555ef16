//! history, watch.

use std::time::Duration;

use serde::Serialize;
use sessile::admin::Admin;
use sessile::{Handle, HistoryEntry, HistoryEvent, RedisStore, UserId};

use crate::options::{OfUser, Watch};
use crate::output::{self, Table, instant, when};
use crate::{Failure, Outcome, detail, sessions, store};

/// How often a user's history is asked for, and how long a pass over everybody's takes at least.
const PACE: Duration = Duration::from_secs(1);
/// Whoever watches everybody waits so long for a Redis that is away.
const PATIENCE: Duration = Duration::from_secs(30);

/// Something that happened, for programs.
#[derive(Debug, Serialize)]
struct Row {
    at: String,
    event: &'static str,
    reason: Option<&'static str>,
    note: Option<String>,
    handle: Handle,
    address: Option<String>,
    user_agent: Option<String>,
}

/// The same of somebody.
#[derive(Debug, Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(flatten)]
    row: Row,
}

impl From<&HistoryEntry> for Row {
    fn from(entry: &HistoryEntry) -> Self {
        let (reason, note) = match &entry.event {
            HistoryEvent::Ended { reason, note } => {
                (Some(reason.as_str()), note.as_deref().map(str::to_owned))
            }
            _ => (None, None),
        };
        Self {
            at: instant(entry.at),
            event: entry.event.as_str(),
            reason,
            note,
            handle: entry.handle,
            address: entry.address.as_deref().map(str::to_owned),
            user_agent: entry.user_agent.as_deref().map(str::to_owned),
        }
    }
}

impl Row {
    /// For people: what stands behind the instant.
    fn cells(self) -> Vec<String> {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        vec![
            self.event.to_owned(),
            self.reason.unwrap_or("-").to_owned(),
            self.handle.to_string(),
            or_dash(self.address),
            or_dash(self.note),
        ]
    }
}

pub(crate) async fn history(options: OfUser) -> Result<Outcome, Failure> {
    let store = store(&options.place).await?;
    let user = options.user.as_str();
    let entries = sessions(&store)?.history(user).await;
    let entries = entries.map_err(|error| detail(&error))?;
    if options.json.json {
        output::json(&entries.iter().map(Row::from).collect::<Vec<_>>())?;
        return Ok(Outcome::Done);
    }
    if entries.is_empty() {
        output::line(&format!("Nothing is known of {user}."))?;
        return Ok(Outcome::Done);
    }
    let mut table = Table::new(&["AT", "EVENT", "REASON", "HANDLE", "ADDRESS", "NOTE"]);
    for entry in &entries {
        let mut cells = vec![when(entry.at)];
        cells.extend(Row::from(entry).cells());
        table.row(cells);
    }
    table.print()?;
    Ok(Outcome::Done)
}

/// Tells what happens, a line each, until it is stopped, or nobody reads it any more. What happened before is not told.
pub(crate) async fn watch(options: Watch) -> Result<Outcome, Failure> {
    let store = store(&options.place).await?;
    let as_json = options.json.json;
    let watching = async {
        match &options.user {
            Some(user) => one(&store, user, as_json).await,
            None => everybody(&store, as_json).await,
        }
    };
    tokio::select! {
        ended = watching => ended.map(|()| Outcome::Done),
        stopped = tokio::signal::ctrl_c() => {
            stopped?;
            Ok(Outcome::Done)
        }
    }
}

async fn one(store: &RedisStore, user: &str, as_json: bool) -> Result<(), Failure> {
    let sessions = sessions(store)?;
    let mut known: Option<Vec<HistoryEntry>> = None;
    loop {
        let entries = sessions.history(user).await;
        let entries = entries.map_err(|error| detail(&error))?;
        if let Some(known) = &known {
            // The oldest of the new ones first.
            for entry in fresh(known, &entries).into_iter().rev() {
                if !tell(None, entry, as_json)? {
                    return Ok(());
                }
            }
        }
        known = Some(entries);
        tokio::time::sleep(PACE).await;
    }
}

async fn everybody(store: &RedisStore, as_json: bool) -> Result<(), Failure> {
    let mut follow = Admin::new(store).follow(PATIENCE).await?;
    loop {
        let next = tokio::time::Instant::now() + PACE;
        let mut told = Ok(true);
        let pass = follow.pass(|user, entry| {
            if matches!(told, Ok(true)) {
                told = tell(Some(&user), &entry, as_json);
            }
        });
        pass.await?;
        if !told? {
            return Ok(());
        }
        tokio::time::sleep_until(next).await;
    }
}

/// Those that were not there the last time.
fn fresh<'a>(known: &[HistoryEntry], entries: &'a [HistoryEntry]) -> Vec<&'a HistoryEntry> {
    let new = entries.iter().filter(|entry| !known.contains(entry));
    new.collect()
}

/// `user`: where it is not clear who it is about. `false`: nobody reads it.
fn tell(user: Option<&UserId>, entry: &HistoryEntry, as_json: bool) -> Result<bool, Failure> {
    let row = Row::from(entry);
    if as_json {
        let line = Line {
            user: user.map(UserId::as_str),
            row,
        };
        return output::wanted_line(&serde_json::to_string(&line)?);
    }
    let mut cells = vec![when(entry.at)];
    cells.extend(user.map(ToString::to_string));
    cells.extend(row.cells());
    output::wanted_line(&output::plain(&cells.join("  ")))
}
