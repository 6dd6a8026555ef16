//! What is compared: the same routes, with different layers around them. Each is set up as its own documentation does
//! it, at the place that its file cites.
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

pub mod actix;
mod alone;
pub mod axum_session;
mod floor;
mod hand;
pub mod own;
pub mod session_guard;
mod tower;
mod tower_redis;
mod tower_routes;

use axum::Router;

use crate::app::{App, Kind, LocalFuture};
use crate::row::Row;

/// The data of a session: 200 bytes as JSON.
pub const DATA_BYTES: usize = 198;

pub struct Subject {
    pub name: &'static str,
    /// Makes the application. The address is Redis's, for those that use it.
    pub open: fn(&str) -> LocalFuture<'_, App>,
    pub kind: Kind,
    /// Whether it has sessions at all.
    pub has_sessions: bool,
    /// What it is measured against: the same framework without sessions.
    pub floor: &'static str,
    /// The route that makes the sessions that requests come with.
    pub made_by: &'static str,
    /// Rows for which it has no function.
    pub lacks: &'static [Row],
    /// Sets its cookie with every response, and makes a session for every request without one.
    pub sets_cookie_always: bool,
    /// Whether the id from before a login is refused afterwards.
    pub ends_old_id: bool,
}

impl Subject {
    /// With sessions, on axum, and as one would expect.
    const fn new(name: &'static str, open: fn(&str) -> LocalFuture<'_, App>) -> Self {
        Self {
            name,
            open,
            kind: Kind::Axum,
            has_sessions: true,
            floor: "floor",
            made_by: "/create",
            lacks: &[],
            sets_cookie_always: false,
            ends_old_id: true,
        }
    }

    pub fn has(&self, row: Row) -> bool {
        !self.lacks.contains(&row)
    }
}

static FLOOR: Subject = Subject {
    has_sessions: false,
    ..Subject::new("floor", |_| axum(async { floor::router() }))
};

pub static OWN: Subject = Subject::new("sessile", |_| axum(async { own::router() }));

/// Everything in this process. In the order of the tables.
pub static SUBJECTS: [&Subject; 7] = [
    &FLOOR,
    &OWN,
    &Subject::new("tower-sessions", |_| axum(async { tower::router() })),
    &Subject {
        sets_cookie_always: true,
        ..Subject::new("axum_session", |_| axum(axum_session::in_memory()))
    },
    &Subject {
        kind: Kind::AxumWithAddress,
        made_by: "/enter",
        lacks: session_guard::LACKS,
        ..Subject::new("session-guard", |_| {
            axum(async { session_guard::in_memory() })
        })
    },
    &Subject {
        kind: Kind::Actix,
        has_sessions: false,
        floor: "floor, actix-web",
        ..Subject::new("floor, actix-web", |_| Box::pin(actix::floor()))
    },
    // It has no store in memory: what it has without Redis keeps the data in the cookie.
    &Subject {
        kind: Kind::Actix,
        floor: "floor, actix-web",
        ends_old_id: false,
        ..Subject::new("actix-session, cookie", |_| Box::pin(actix::in_cookie()))
    },
];

/// Over Redis. In the order of the tables.
pub static REDIS_SUBJECTS: [&Subject; 9] = [
    &FLOOR,
    &Subject::new("hand-written", |url| axum(hand::router(url))),
    &Subject::new("sessile", |url| axum(own::over_redis(url))),
    &Subject::new("sessile-near", |url| axum(own::near_redis(url))),
    &Subject::new("sessile-alone", |url| axum(alone::over_redis(url))),
    &Subject::new("tower-sessions", |url| axum(tower_redis::router(url))),
    &Subject {
        sets_cookie_always: true,
        ..Subject::new("axum_session", |url| axum(axum_session::over_redis(url)))
    },
    &Subject {
        kind: Kind::AxumWithAddress,
        made_by: "/enter",
        lacks: session_guard::LACKS,
        ..Subject::new("session-guard", |url| axum(session_guard::over_redis(url)))
    },
    &Subject {
        kind: Kind::Actix,
        floor: "floor, actix-web",
        ..Subject::new("actix-session", |url| Box::pin(actix::over_redis(url)))
    },
];

fn axum<'a>(router: impl Future<Output = Router> + 'a) -> LocalFuture<'a, App> {
    Box::pin(async { App::Axum(router.await) })
}

/// What every handler that succeeds answers.
pub type Answer = Result<&'static str, axum::http::StatusCode>;

const FAILED: axum::http::StatusCode = axum::http::StatusCode::INTERNAL_SERVER_ERROR;

fn data() -> String {
    "x".repeat(DATA_BYTES)
}

fn user(number: u64) -> String {
    format!("user-{number}")
}

async fn plain() -> &'static str {
    "ok"
}
