//! Sessions for [tower] and [axum]: one layer around the routes, and handlers that pull [`Session`], [`UserSession`] or
//! [`Sessions`].
//!
//! ```
//! use axum::{Router, extract::Path, routing::{get, post}};
//! use sessile::{Error, Key, MemoryStore, Session, SessionLayer, UserSession};
//!
//! const CART: Key<Vec<u32>> = Key::new("cart");       // a name and a type, checked by the compiler
//!
//! async fn add(session: Session, Path(item): Path<u32>) -> Result<(), Error> {
//!     let mut cart = session.get(CART)?.unwrap_or_default();
//!     cart.push(item);
//!     session.insert(CART, &cart)                     // staged: stored before the response leaves
//! }
//!
//! async fn login(session: Session, Path(user): Path<String>) -> Result<(), Error> {
//!     session.login(user).keep(CART).await?;          // awaited: a new id, and the old one is dead
//!     Ok(())
//! }
//!
//! async fn me(user: UserSession) -> String {          // 401, with the reason, for anybody else
//!     format!("hello {}", user.user_id())
//! }
//!
//! let app: Router = Router::new()
//!     .route("/cart/{item}", post(add))
//!     .route("/login/{user}", post(login))
//!     .route("/me", get(me))
//!     .layer(SessionLayer::new(MemoryStore::new()));
//! ```
//!
//! # Strangers
//!
//! A request without a cookie that writes nothing costs no store call and gets no cookie. The first value that a
//! handler inserts makes a session; the cookie goes out with that response. Reading costs one store call a request,
//! however many extractors there are, and a handler that extracts nothing costs none.
//!
//! # Data is staged, identity is awaited
//!
//! [`Session::insert`], [`remove`](Session::remove) and [`clear`](Session::clear) are synchronous. What they say is
//! stored in one call when the handler has answered, and dropped when it failed (a status of 500 or above), panicked or
//! was cancelled. [`login`](Session::login), [`logout`](Session::logout), [`regenerate_id`](Session::regenerate_id),
//! [`update`](Session::update), [`increment`](Session::increment) and [`commit`](Session::commit) have happened when
//! they return, and their cookie goes out with whatever response follows.
//!
//! Requests that run side by side and write different values all survive, since a value is stored by its name. For
//! one value that several change at once there is `update`, which loses none:
//!
//! ```
//! # use sessile::{Error, Key, Session};
//! const VISITS: Key<u64> = Key::new("visits");
//! async fn visit(session: Session) -> Result<String, Error> {
//!     let visits = session.update(VISITS, |visits| visits.unwrap_or(0) + 1).await?;
//!     Ok(format!("visit number {visits}"))
//! }
//! ```
//!
//! # What a response may become
//!
//! | what happened | the response |
//! |---|---|
//! | stored, or nothing to store | the handler's, with the cookie if there is a new one |
//! | the store failed | 503 with `Retry-After`, and no cookie but that of an identity that is stored already |
//! | the session ended meanwhile, and something was staged | 401 with the reason |
//! | its id was superseded meanwhile, and something was staged | 409; the cookie is left alone |
//! | the values are more than a record may have | 413; nothing is half stored |
//!
//! Each of these carries a [`Problem`] in its extensions, and so does every rejection of an extractor: one
//! `map_response` outside of the layer gives them the application's own look. [`Problem`] shows how.
//!
//! # Users and their sessions
//!
//! ```
//! # use sessile::{Error, Sessions, UserSession};
//! async fn devices(user: UserSession) -> Result<String, Error> {
//!     let mut page = String::new();
//!     for session in user.sessions().await? {         // newest first, exactly those that open
//!         let here = if session.current { " (here)" } else { "" };
//!         page += &format!("{}{here}\n", session.user_agent.as_deref().unwrap_or("unknown"));
//!     }
//!     Ok(page)
//! }
//! async fn sign_out_elsewhere(user: UserSession) -> Result<String, Error> {
//!     Ok(format!("{} ended", user.end_others().await?.count))
//! }
//! async fn lock(sessions: Sessions) -> Result<(), Error> {    // guard such a route
//!     sessions.revoke_all("mallory", "locked by the help desk").await?;
//!     Ok(())
//! }
//! ```
//!
//! A limit is one line, and holds under any number of parallel logins. Whoever holds the cookie of a session that
//! ended is told why, for hours: [`EndReason`].
//!
//! ```
//! # use sessile::{AtLimit, ConfigError, MemoryStore, SessionLayer};
//! use std::time::Duration;
//! # fn main() -> Result<(), ConfigError> {
//! let sessions = SessionLayer::builder(MemoryStore::new())
//!     .idle_timeout(Duration::from_secs(15 * 60))
//!     .absolute_timeout(Duration::from_secs(8 * 3600))
//!     .max_sessions_per_user(5, AtLimit::EndOldest)
//!     .build()?;                                      // contradictions fail here, and say what to change
//! # Ok(())
//! # }
//! ```
//!
//! # Demos
//!
//! A visitor who tries something before signing in has a [`Demo`]: a session of a second kind, with a cookie of its own, that
//! lasts a day. It holds a conversation, of which no message is lost however many write at once, and says how far it is.
//! [`DemoSession`] is the extractor for whoever has one; anybody else gets 404.
//!
//! ```
//! use axum::{Json, Router, extract::Path, routing::{get, post}};
//! use sessile::{Demo, DemoSession, Error, MemoryStore, Session, SessionLayer};
//!
//! async fn start(demo: Demo, Path(industry): Path<String>) -> Result<(), Error> {
//!     demo.start(industry).await.map(|_| ())          // the one that there is, if there is one
//! }
//!
//! async fn ask(demo: DemoSession, question: String) -> Result<&'static str, Error> {
//!     demo.add_message("user", question).await?;      // stored when this returns, with the store's time
//!     let answer = "Interesting. Tell me more.";
//!     demo.add_message("assistant", answer).with("confidence", 0.9).await?;
//!     Ok(answer)
//! }
//!
//! async fn progress(demo: DemoSession) -> Result<Json<f64>, Error> {
//!     Ok(Json(demo.status()?.progress_percentage))    // 100 after six messages
//! }
//!
//! async fn login(session: Session, Path(user): Path<String>) -> Result<(), Error> {
//!     session.login(user).adopt_demo().await?;        // the conversation comes along, under a new id
//!     Ok(())
//! }
//!
//! let app: Router = Router::new()
//!     .route("/demo/{industry}", post(start))
//!     .route("/ask", post(ask))
//!     .route("/progress", get(progress))
//!     .route("/login/{user}", post(login))
//!     .layer(SessionLayer::new(MemoryStore::new()));
//! ```
//!
//! Bounds, steps, timeouts and how many demos an address may start are the builder's `demo_…` settings; [`demo`] has the
//! rules.
//!
//! # Sessions in Redis
//!
//! Several instances of an application share their sessions by way of Redis, and sessions outlive each instance. The
//! store is the one line that changes:
//!
//! ```no_run
//! # #[cfg(feature = "redis")]
//! # async fn f() -> Result<(), sessile::ConfigError> {
//! use sessile::{RedisStore, SessionLayer};
//!
//! let store = RedisStore::builder("redis://127.0.0.1/").namespace("shop").connect().await?;
//! let sessions = SessionLayer::new(store);
//! # Ok(())
//! # }
//! ```
//!
//! A read is one `GET`, a change one script: atomic also on a cluster, by the clock of Redis, and never done twice.
//!
//! # When Redis is away
//!
//! This instance carries on from memory, and nothing that was ended comes back. What it has read within the last minute is
//! served; sign-ins and writes are kept and follow when Redis is back; ends hold at once. No request waits, and no cookie is
//! lost. [`Outage`] says how far this goes, `Live` keeps what matters from running on memory, and
//! [the guide](guide::when_redis_is_away) has the whole of it.
//!
//! ```
//! # use sessile::{ConfigError, MemoryStore, Outage, SessionLayer};
//! # use std::time::Duration;
//! # fn f(store: MemoryStore) -> Result<SessionLayer, ConfigError> {
//! SessionLayer::builder(store)
//!     .outage(Outage::Local { lease: Duration::from_secs(60) })       // the default
//!     .build()
//! # }
//! ```
//!
//! # Moving over
//!
//! `sessile migrate` moves the sessions of other systems here, and [`SessionLayerBuilder::accept_legacy`] lets their
//! holders' old cookies open them, once: [the guide](guide::migrating) says how.
//!
//! # Optional sign-in, and signing in again
//!
//! `Option<UserSession>` is `None` for whoever is not signed in, while a store that fails stays a failure. `Fresh<300>`
//! asks for a sign-in within five minutes; [`UserSession::reauthenticate`] makes one.
//!
//! # Streams and sockets
//!
//! A [`Session`] may outlive its response, in a stream or a socket. It still reads, writes with `update` and
//! `increment`, and logs out. What would need a cookie returns [`ErrorKind::ResponseSent`]. [`Session::ended`] resolves
//! within a second of its end, at whichever instance, and [`Session::until_ended`] stops a stream then.
//!
//! # What happens to sessions
//!
//! [`Sessions::history`] has what happened to a user's sessions, with reasons, also after they are over;
//! [`UserSession::record_activity`] adds what a user did; [`risk`] judges how all of it looks. [`event`] lists what is told
//! as it happens, [`Sessions::stats`] gives the figures, and [`SessionLayer::policy`] says in words what holds.
//!
//! # Without axum
//!
//! The layer goes around any tower service of `http` requests whose response body is `Default`; handlers get the session
//! by [`Session::from_extensions`]. Switch the default feature `axum` off.
//!
//! # In tests
//!
//! With the feature `test-util`, a clock that is moved by hand and wrappers that record, fail, slow or hold the calls
//! of a store drive a handler through everything that can happen: see `ManualClock` and `store::wrappers`.
//!
//! # Security, by default
//!
//! | default | why |
//! |---|---|
//! | 256 random bits from the operating system | ASVS 5.0, 7.2.3 asks for 128 |
//! | a store sees only the SHA-256 of the secret | a leaked dump opens no session |
//! | `__Host-session; Secure; HttpOnly; SameSite=Lax; Path=/` | bound to this host and TLS, out of reach of scripts and of other sites' forms |
//! | a cookie that ends with the browser's session | it is persistent only after `.remember()` |
//! | ids that a client made up are never adopted | session fixation |
//! | a login always makes a new id, and nothing crosses it that is not named | session fixation |
//! | idle 30 minutes, absolute 12 hours, by the store's clock | OWASP Session Management; NIST SP 800-63B-4 |
//! | ended sessions leave a tombstone | a late write cannot revive them, and their holder is told why |
//! | `Cache-Control: no-store` with our cookie, `Vary: Cookie` where a session was read | no cache hands one visitor's page to another |
//!
//! # Features
//!
//! | feature | default | |
//! |---|---|---|
//! | `axum` | yes | extractors, error responses, the peer's address |
//! | `redis` | yes | `RedisStore`: sessions in Redis |
//! | `tls` | yes | Redis by `rediss://`, with rustls and ring |
//! | `cluster` | no | Redis Cluster |
//! | `sentinel` | no | Redis Sentinel |
//! | `admin` | no | `migrate` and `admin`: moving sessions here from another system, repairing, checking |
//! | `cli` | no | the command line, `sessile` |
//! | `metrics` | no | figures for the `metrics` facade: see [`Stats`] |
//! | `test-util` | no | conformance suite, store wrappers, manual clock |
//!
//! [tower]: https://docs.rs/tower
//! [axum]: https://docs.rs/axum

mod address;
#[cfg(feature = "admin")]
pub mod admin;
mod clock;
mod config;
mod cookie;
pub mod demo;
mod error;
pub mod event;
#[cfg(feature = "axum")]
mod extract;
mod history;
mod id;
mod key;
mod layer;
mod legacy;
#[cfg(feature = "admin")]
pub mod migrate;
mod policy;
mod problem;
pub mod record;
pub mod risk;
mod security;
pub mod session;
mod sessions;
mod stats;
pub mod store;
mod user;

pub use ::cookie::SameSite;

pub use address::{AddressKey, ClientAddress, ProxyHeader, StoredAddress};
#[cfg(feature = "test-util")]
pub use clock::ManualClock;
pub use clock::{Clock, SystemClock};
pub use demo::{Demo, DemoSession, Industry};
pub use error::{ConfigError, Error};
#[cfg(feature = "axum")]
pub use extract::{Fresh, Live};
pub use id::{Bucket, Digest, Handle, Kind, RecordKey, UserId};
pub use key::{DataName, InvalidName, Key};
pub use layer::{ResponseFuture, SessionLayer, SessionLayerBuilder, SessionService};
pub use legacy::{GuessableId, LegacyIds};
pub use policy::{LimitPolicy, Policy};
pub use problem::{ErrorKind, Problem};
pub use record::{Activity, End, EndReason, HistoryEntry, HistoryEvent};
pub use security::Security;
pub use session::{
    Freshness, Login, LoginFuture, Outcome, Passive, Remaining, Session, SessionInfo,
};
pub use sessions::Sessions;
pub use stats::{Latency, Stats};
pub use store::{
    AtLimit, Health, MemoryStore, MemoryStoreBuilder, Mode, Outage, SessionStore, StoreError,
};
#[cfg(feature = "redis")]
pub use store::{RedisStore, RedisStoreBuilder};
pub use user::{Ended, UserSession};

/// Longer texts.
pub mod guide {
    #[doc = include_str!("guide.md")]
    pub mod when_redis_is_away {}

    #[doc = include_str!("guide_migrating.md")]
    pub mod migrating {}

    #[doc = include_str!("guide_costs.md")]
    pub mod what_it_costs {}
}

/// The README's program compiles.
#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../README.md")]
struct Readme;
