//! list, show, stats.

use serde::Serialize;
use sessile::admin::{Admin, Found, FoundState, ServerFigures};
use sessile::{Handle, Kind, SessionInfo};

use crate::bar::Bar;
use crate::options::{OfAll, OfUser, Show};
use crate::output::{self, Table, instant, when};
use crate::{Failure, Outcome, complain, detail, sessions, store};

/// A session, for programs.
#[derive(Debug, Serialize)]
struct Row {
    handle: Handle,
    user: Option<String>,
    created_at: String,
    signed_in_at: Option<String>,
    last_seen_at: String,
    ends_at: String,
    idle_ends_at: String,
    address: Option<String>,
    user_agent: Option<String>,
    persistent: bool,
}

impl From<&SessionInfo> for Row {
    fn from(info: &SessionInfo) -> Self {
        Self {
            handle: info.handle,
            user: info.user.as_ref().map(ToString::to_string),
            created_at: instant(info.created_at),
            signed_in_at: info.signed_in_at.map(instant),
            last_seen_at: instant(info.last_seen_at),
            ends_at: instant(info.ends_at),
            idle_ends_at: instant(info.idle_ends_at),
            address: info.address.clone(),
            user_agent: info.user_agent.clone(),
            persistent: info.persistent,
        }
    }
}

pub(crate) async fn list(options: OfUser) -> Result<Outcome, Failure> {
    let store = store(&options.place).await?;
    let list = sessions(&store)?
        .list(options.user.as_str())
        .await
        .map_err(|error| detail(&error))?;
    if options.json.json {
        output::json(&list.iter().map(Row::from).collect::<Vec<_>>())?;
        return Ok(Outcome::Done);
    }
    if list.is_empty() {
        output::line(&format!("{} has no sessions.", options.user))?;
        return Ok(Outcome::Done);
    }
    let mut table = Table::new(&[
        "HANDLE",
        "CREATED",
        "LAST SEEN",
        "ENDS",
        "ADDRESS",
        "USER AGENT",
    ]);
    for info in &list {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
        table.row(vec![
            info.handle.to_string(),
            when(info.created_at),
            when(info.last_seen_at),
            when(info.ends_at.min(info.idle_ends_at)),
            or_dash(&info.address),
            or_dash(&info.user_agent),
        ]);
    }
    table.print()?;
    Ok(Outcome::Done)
}

/// What `show` says, for programs.
#[derive(Debug, Serialize)]
struct Shown {
    kind: &'static str,
    state: &'static str,
    #[serde(flatten)]
    session: Option<Row>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    values: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<Ended>,
}

#[derive(Debug, Serialize)]
struct Value {
    name: String,
    bytes: usize,
}

#[derive(Debug, Serialize)]
struct Ended {
    handle: Handle,
    reason: &'static str,
    at: String,
    note: Option<String>,
}

const fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::User => "user",
        Kind::Demo => "demo",
    }
}

impl From<Found> for Shown {
    fn from(found: Found) -> Self {
        let kind = kind(found.kind);
        match found.state {
            FoundState::Live { info, values } => Self {
                kind,
                state: "live",
                session: Some(Row::from(&*info)),
                values: values
                    .into_iter()
                    .map(|(name, bytes)| Value { name, bytes })
                    .collect(),
                end: None,
            },
            FoundState::Ended(end) => Self {
                kind,
                state: "ended",
                session: None,
                values: Vec::new(),
                end: Some(Ended {
                    handle: found.handle,
                    reason: end.reason.as_str(),
                    at: instant(end.at),
                    note: end.note.map(|note| note.to_string()),
                }),
            },
        }
    }
}

pub(crate) async fn show(options: Show) -> Result<Outcome, Failure> {
    let store = store(&options.place).await?;
    let Some(found) = Admin::new(&store).find(options.handle).await? else {
        complain(&"there is no session of that handle, and none that ended within the last day");
        return Ok(Outcome::Failed);
    };
    if options.json.json {
        output::json(&Shown::from(found))?;
        return Ok(Outcome::Done);
    }
    let mut table = Table::new(&["WHAT", "IS"]);
    let mut row = |what: &str, is: String| table.row(vec![what.to_owned(), is]);
    row("handle", found.handle.to_string());
    row("kind", kind(found.kind).into());
    match found.state {
        FoundState::Live { info, values } => {
            row("state", "live".into());
            let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".into());
            row("user", or_none(info.user.map(|user| user.to_string())));
            row("created", when(info.created_at));
            row("signed in", or_none(info.signed_in_at.map(when)));
            row("last seen", when(info.last_seen_at));
            row("ends", when(info.ends_at));
            row("without a request", when(info.idle_ends_at));
            row("address", or_none(info.address));
            row("user agent", or_none(info.user_agent));
            row(
                "cookie",
                if info.persistent {
                    "persistent"
                } else {
                    "until the browser is closed"
                }
                .into(),
            );
            for (name, bytes) in values {
                row("value", format!("{name}: {bytes} bytes"));
            }
        }
        FoundState::Ended(end) => {
            row("state", "ended".into());
            row("reason", end.reason.to_string());
            row("at", when(end.at));
            if let Some(note) = end.note {
                row("note", note.to_string());
            }
        }
    }
    table.print()?;
    Ok(Outcome::Done)
}

pub(crate) async fn stats(options: OfAll) -> Result<Outcome, Failure> {
    let store = store(&options.place).await?;
    let bar = Bar::new();
    let figures = Admin::new(&store)
        .figures(|done| bar.show(done, String::new()))
        .await;
    bar.clear();
    let figures = figures?;
    if options.json.json {
        output::json(&figures)?;
        return Ok(Outcome::Done);
    }
    let mut table = Table::new(&["WHAT", "NUMBER"]);
    let mut row = |what: &str, number: u64| table.row(vec![what.to_owned(), number.to_string()]);
    row("live sessions", figures.user_sessions);
    row("  of strangers", figures.strangers);
    row("live demos", figures.demo_sessions);
    row("  active", figures.demos_active);
    row("  completed", figures.demos_completed);
    row("  adopted by a user", figures.demos_adopted);
    row("ended, reason known", figures.ended);
    row("over, not dropped yet", figures.over);
    row("keys that hold no session", figures.malformed);
    for family in figures.keys.iter().filter(|family| family.keys > 0) {
        row(&format!("keys {}", family.name), family.keys);
    }
    table.print()?;
    for server in &figures.servers {
        output::line(&output::plain(&about(server)))?;
    }
    output::line(&format!(
        "Counted just now, in {:.1} s.",
        figures.took.as_secs_f64()
    ))?;
    if let Some(last) = figures.last_count {
        output::line(&format!(
            "An application counted {} sessions and {} demos {} s ago.",
            last.user_sessions,
            last.demo_sessions,
            last.age.as_secs()
        ))?;
    }
    Ok(Outcome::Done)
}

/// How a server does, in one line.
fn about(server: &ServerFigures) -> String {
    let mut words = vec![
        server
            .version
            .clone()
            .unwrap_or_else(|| "it does not say what it is".into()),
    ];
    words.extend(server.role.clone());
    if let Some(used) = server.memory_bytes {
        words.push(match server.memory_limit_bytes {
            Some(most) => format!("{} of {} MiB used", used >> 20, most >> 20),
            None => format!("{} MiB used", used >> 20),
        });
    }
    words.extend(server.clients.map(|clients| format!("{clients} clients")));
    words.push(format!(
        "answers in {:.2} ms",
        server.latency.as_secs_f64() * 1000.0
    ));
    format!("{}: {}", server.server, words.join(", "))
}
