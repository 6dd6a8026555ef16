//! The command line.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use sessile::Handle;
use sessile::migrate::{Shape, Source};

/// Sessions in Redis, for the people who run it: move the old ones in, look, end, repair, check
///
/// A session is named by its handle, a UUID that opens nothing; ids are shown nowhere.
#[derive(Debug, Parser)]
#[command(name = "sessile", version, max_term_width = 100, after_help = EXIT)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT: &str = "Exit codes: 0 done; 1 something failed, or is not there; 2 the command line cannot be meant so.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Move sessions here from another system
    #[command(after_help = MIGRATE)]
    Migrate(Migrate),
    /// A user's sessions, newest first
    List(OfUser),
    /// What is known of one session, by its handle
    Show(Show),
    /// How many sessions, demos and keys there are, and how the servers do
    #[command(after_help = STATS)]
    Stats(OfAll),
    /// What happened to a user's sessions, newest first: it outlives them for 90 days
    History(OfUser),
    /// Tell what happens to a user's sessions, or to everybody's, a line each, as it happens, until Ctrl-C
    #[command(after_help = WATCH)]
    Watch(Watch),
    /// End one session of a user
    End(End),
    /// End all sessions of a user, and every login of theirs that has begun
    EndAll(EndAll),
    /// Put lists of users' sessions right, delete conversations of demos that are gone, give keys an expiry that have none
    Cleanup(Cleanup),
    /// Check the Redis server, and a sample of what is in it; changes nothing
    #[command(after_help = DOCTOR)]
    Doctor(OfAll),
}

const MIGRATE: &str = "\
Stop the old application first: it writes back what it has read, and so would bring back what was ended here.
Begin with --dry-run. A migration may be stopped at any time, and goes on where it was when it is started again.
A session's end is its old expiry, whatever the application's timeouts are.

  sessile migrate --from legacy --redis redis://127.0.0.1/ --dry-run
  sessile migrate --from legacy --redis redis://127.0.0.1/ --yes --report report.json

Sessions open by their old ids only where the application says so: SessionLayerBuilder::accept_legacy.";

const STATS: &str = "\
Each record is read once, in small steps with a millisecond in between: a million sessions take some minutes, and Redis
hardly notices. Keys under \"other\" are of other namespaces and services.";

const WATCH: &str = "\
With USER, their history is asked for once a second. Without, the histories of all users are looked at again and again, by
SCAN, 500 keys of the server each 10 ms: what happens is told within two such passes, and with a million keys in Redis one
takes some 20 seconds and a few hundredths of the server's time. Of one user no more than the latest 200 events of a pass are
told, and demo sessions have no history. While Redis is away it waits up to 30 seconds.
With --json each line is an object.";

const DOCTOR: &str = "Exit code 1 if anything is an error; warnings and notes are none.";

/// Where the sessions are.
#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    /// The server, redis://[user:password@]host[:port][/database], or with TLS rediss://…; default: what the variable
    /// SESSILE_REDIS says, else redis://127.0.0.1:6379
    #[arg(long, value_name = "URL", default_value_t = default_redis(), hide_default_value = true)]
    pub(crate) redis: String,

    /// What keys begin with there
    #[arg(long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
}

fn default_redis() -> String {
    std::env::var("SESSILE_REDIS").unwrap_or_else(|_| "redis://127.0.0.1:6379".into())
}

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Json {
    /// For programs: JSON on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Yes {
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Migrate {
    /// The system that they come from
    #[arg(long, value_enum, value_name = "SYSTEM")]
    pub(crate) from: From,
    #[command(flatten)]
    pub(crate) place: Place,
    /// Read and count, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Leave the old keys where they are
    #[arg(long)]
    pub(crate) keep_old: bool,
    /// Only sessions of this shape; may be given several times: platform, auth, service, demo, demo-status
    #[arg(long, value_name = "SHAPE", value_parser = shape)]
    pub(crate) only: Vec<Shape>,
    /// How far old local times are ahead of UTC, such as +02:00 or -05:30; default: found out for each session
    #[arg(long, value_name = "±HH:MM", value_parser = offset, allow_hyphen_values = true)]
    pub(crate) local_offset: Option<i32>,
    /// The value that has the user, for systems whose sessions do not know users
    #[arg(long, value_name = "NAME")]
    pub(crate) user_key: Option<String>,
    /// What the old keys begin with, where the application chose something; not for legacy
    #[arg(long, value_name = "TEXT")]
    pub(crate) prefix: Option<String>,
    /// Stop when at least so many were migrated
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Write the report there, as JSON, with the whole keys of what was not migrated: readable to you alone
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) yes: Yes,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum From {
    /// The Python platform whose managers shared one Redis
    Legacy,
    /// tower-sessions with its Redis store
    TowerSessions,
    /// axum_session with its Redis pool
    AxumSession,
    /// actix-session with its Redis store
    ActixSession,
}

impl std::convert::From<From> for Source {
    fn from(from: From) -> Self {
        match from {
            From::Legacy => Self::Legacy,
            From::TowerSessions => Self::TowerSessions,
            From::AxumSession => Self::AxumSession,
            From::ActixSession => Self::ActixSession,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct OfUser {
    /// The user
    pub(crate) user: String,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The session's handle
    pub(crate) handle: Handle,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, Args)]
pub(crate) struct OfAll {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// The user; without it, everybody
    pub(crate) user: Option<String>,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, Args)]
pub(crate) struct End {
    /// The user
    pub(crate) user: String,
    /// The session's handle
    pub(crate) handle: Handle,
    /// What its holder is told
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) yes: Yes,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, Args)]
pub(crate) struct EndAll {
    /// The user
    pub(crate) user: String,
    /// What their holders are told
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) yes: Yes,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, Args)]
pub(crate) struct Cleanup {
    /// Count, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) yes: Yes,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// Those of the command line. What is wrong with them is said on stderr.
pub(crate) fn read() -> Result<Options, ExitCode> {
    Options::try_parse().map_err(|error| {
        let text = error.render();
        if error.use_stderr() {
            let _ = write!(std::io::stderr(), "{text}");
            ExitCode::from(2)
        } else {
            // Somebody asked for help, or for the version.
            let _ = write!(std::io::stdout(), "{text}");
            ExitCode::SUCCESS
        }
    })
}

fn shape(name: &str) -> Result<Shape, String> {
    Shape::from_name(name).ok_or_else(|| {
        let names: Vec<_> = Shape::ALL.iter().map(|shape| shape.as_str()).collect();
        format!("it is none of {}", names.join(", "))
    })
}

/// Minutes ahead of UTC.
fn offset(text: &str) -> Result<i32, &'static str> {
    let wrong = "an offset is needed, such as +02:00";
    let (sign, rest) = match text.split_at_checked(1) {
        Some(("+", rest)) => (1, rest),
        Some(("-", rest)) => (-1, rest),
        _ => return Err(wrong),
    };
    let (hours, minutes) = rest.split_once(':').ok_or(wrong)?;
    let number = |text: &str, most: i32| -> Option<i32> {
        let is_plain = text.len() == 2 && text.bytes().all(|c| c.is_ascii_digit());
        text.parse().ok().filter(|n| is_plain && *n <= most)
    };
    match (number(hours, 14), number(minutes, 59)) {
        (Some(hours), Some(minutes)) => Ok(sign * (hours * 60 + minutes)),
        _ => Err(wrong),
    }
}
