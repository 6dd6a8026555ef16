//! What is compared: the same routes, with different layers around them.
//!
//! | route | does |
//! |---|---|
//! | `/plain` | nothing |
//! | `/read` | reads the 200 bytes of data; 404 where there are none |
//! | `/write` | stores the request's number |
//! | `/create` | stores the 200 bytes |
//! | `/login` | signs in the user with the request's number |
//! | `/enter` | signs in and stores the 200 bytes |
//! | `/last` | tells which number was stored |
//! | `/me` | tells who is signed in |

mod floor;
mod others;
pub mod own;

use axum::Router;

/// The data of a session: 200 bytes as JSON.
pub const DATA_BYTES: usize = 198;

pub struct Subject {
    pub name: &'static str,
    pub router: fn() -> Router,
    /// Whether it has sessions at all.
    pub has_sessions: bool,
}

pub const FLOOR: Subject = Subject {
    name: "floor",
    router: floor::router,
    has_sessions: false,
};

pub const OWN: Subject = Subject {
    name: "sessile",
    router: own::router,
    has_sessions: true,
};

pub const TOWER_SESSIONS: Subject = Subject {
    name: "tower-sessions",
    router: others::router,
    has_sessions: true,
};

/// In the order of the tables.
pub const SUBJECTS: [Subject; 3] = [FLOOR, OWN, TOWER_SESSIONS];

/// What every handler that succeeds answers.
pub type Answer = Result<&'static str, axum::http::StatusCode>;

fn data() -> String {
    "x".repeat(DATA_BYTES)
}

fn user(number: u64) -> String {
    format!("user-{number}")
}

async fn plain() -> &'static str {
    "ok"
}
