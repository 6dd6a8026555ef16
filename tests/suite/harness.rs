//! An application with every kind of handler, and clients that keep cookies as browsers do.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{HeaderMap, Request, StatusCode, header};
use sessile::{
    AtLimit, Error, Fresh, Handle, Key, ManualClock, MemoryStore, Outage, Outcome, Problem,
    Session, SessionLayer, SessionLayerBuilder, SessionStore, Sessions, UserSession,
};
use tower::ServiceExt;

pub(crate) const CART: Key<String> = Key::new("cart");
pub(crate) const HITS: Key<i64> = Key::new("hits");
pub(crate) const COOKIE: &str = "__Host-session";

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
/// Idle timeout and touch threshold of the default configuration.
pub(crate) const IDLE: Duration = Duration::from_secs(30 * 60);
pub(crate) const TOUCH: Duration = MINUTE;

/// A store whose time stands still until it is moved.
pub(crate) fn memory() -> (MemoryStore, ManualClock) {
    let clock = ManualClock::new();
    (MemoryStore::builder().clock(clock.clone()).build(), clock)
}

/// The application over a store, with the default settings.
pub(crate) fn app(store: impl SessionStore) -> Router {
    with(SessionLayer::builder(store))
}

/// The application over a store, where whatever fails is told: what is done without a store has tests of its own.
pub(crate) fn refusing(store: impl SessionStore) -> Router {
    routes().layer(refusal(store))
}

/// The layer of that.
pub(crate) fn refusal(store: impl SessionStore) -> SessionLayer {
    let builder = SessionLayer::builder(store).outage(Outage::Refuse);
    builder.build().unwrap()
}

/// The application with settings of its own.
pub(crate) fn with(builder: SessionLayerBuilder) -> Router {
    routes().layer(builder.build().unwrap())
}

pub(crate) fn limited(store: impl SessionStore, sessions: u32, at_limit: AtLimit) -> Router {
    with(SessionLayer::builder(store).max_sessions_per_user(sessions, at_limit))
}

/// The handlers alone.
pub(crate) fn routes() -> Router {
    Router::new()
        .route("/ping", get(async || "pong"))
        .route("/look", get(async |_: Session| "looked"))
        .route(
            "/me",
            get(async |user: UserSession| user.user_id().to_string()),
        )
        .route(
            "/who",
            get(async |user: Option<UserSession>| {
                user.map_or("nobody".into(), |u| u.user_id().to_string())
            }),
        )
        .route("/login/{user}", post(login))
        .route(
            "/logout",
            post(async |session: Session| outcome(session.logout().await)),
        )
        .route(
            "/regenerate",
            post(async |session: Session| session.regenerate_id().await),
        )
        .route(
            "/reauthenticate",
            post(async |user: UserSession| user.reauthenticate().await),
        )
        .route(
            "/fresh",
            get(async |Fresh(user): Fresh<300>| user.user_id().to_string()),
        )
        .route(
            "/handle",
            get(async |session: Session| session.handle().map_or("none".into(), |h| h.to_string())),
        )
        .route("/get/{key}", get(value))
        .route("/put/{key}/{value}", post(put))
        .route("/commit/{key}/{value}", post(put_and_commit))
        .route(
            "/remove/{key}",
            post(async |session: Session, Path(key): Path<String>| session.remove(text(&key))),
        )
        .route("/clear", post(async |session: Session| session.clear()))
        .route("/count/{key}", post(count))
        .route("/add/{key}/{by}", post(add))
        .route("/fail/{status}/{key}", post(fail))
        .route("/sessions", get(sessions))
        .route(
            "/end/{handle}",
            post(async |user: UserSession, Path(handle): Path<Handle>| {
                ended(user.end(handle).await)
            }),
        )
        .route(
            "/end-others",
            post(async |user: UserSession| ended(user.end_others().await)),
        )
        .route(
            "/end-all",
            post(async |user: UserSession| ended(user.end_all().await)),
        )
        .route("/revoke/{user}/{note}", post(revoke))
}

pub(crate) fn text(name: &str) -> Key<String> {
    Key::named(name).unwrap()
}

fn outcome(outcome: Result<Outcome, Error>) -> Result<String, Error> {
    outcome.map(|outcome| outcome.to_string())
}

fn ended(ended: Result<sessile::Ended, Error>) -> Result<String, Error> {
    ended.map(|ended| ended.count.to_string())
}

async fn login(
    session: Session,
    Path(user): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Result<String, Error> {
    let mut login = session.login(user).keep(CART);
    if query.contains_key("remember") {
        login = login.remember();
    }
    if let Some(value) = query.get("with") {
        login = login.with(text("with"), value.as_str());
    }
    let user = login.await?;
    Ok(user.handle().unwrap().to_string())
}

async fn value(session: Session, Path(key): Path<String>) -> Result<Response, Error> {
    let key: Key<serde_json::Value> = Key::named(key).unwrap();
    Ok(match session.get(key)? {
        Some(serde_json::Value::String(text)) => text.into_response(),
        Some(value) => value.to_string().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    })
}

async fn put(session: Session, Path((key, value)): Path<(String, String)>) -> Result<(), Error> {
    session.insert(text(&key), value.as_str())
}

async fn put_and_commit(
    session: Session,
    Path((key, value)): Path<(String, String)>,
) -> Result<String, Error> {
    session.insert(text(&key), value.as_str())?;
    outcome(session.commit().await)
}

async fn count(session: Session, Path(key): Path<String>) -> Result<String, Error> {
    let key: Key<i64> = Key::named(key).unwrap();
    let value = session.update(key, |value| value.unwrap_or(0) + 1).await?;
    Ok(value.to_string())
}

async fn add(session: Session, Path((key, by)): Path<(String, i64)>) -> Result<String, Error> {
    let sum = session.increment(Key::named(key).unwrap(), by).await?;
    Ok(sum.to_string())
}

async fn fail(
    session: Session,
    Path((status, key)): Path<(u16, String)>,
) -> Result<StatusCode, Error> {
    session.insert(text(&key), "staged")?;
    Ok(StatusCode::from_u16(status).unwrap())
}

async fn sessions(user: UserSession) -> Result<String, Error> {
    let mut lines = String::new();
    for info in user.sessions().await? {
        lines += &format!(
            "{} {} {} {}\n",
            info.handle,
            if info.current { "current" } else { "other" },
            info.address.as_deref().unwrap_or("-"),
            info.user_agent.as_deref().unwrap_or("-")
        );
    }
    Ok(lines)
}

async fn revoke(
    sessions: Sessions,
    Path((user, note)): Path<(String, String)>,
) -> Result<String, Error> {
    ended(sessions.revoke_all(user, &note).await)
}

/// A browser: sends the cookies that it was given.
#[derive(Clone)]
pub(crate) struct Client {
    app: Router,
    pub(crate) cookies: BTreeMap<String, String>,
    pub(crate) agent: Option<String>,
    pub(crate) address: Option<std::net::IpAddr>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    pub(crate) problem: Option<Problem>,
}

impl Client {
    pub(crate) fn new(app: &Router) -> Self {
        Self {
            app: app.clone(),
            cookies: BTreeMap::new(),
            agent: None,
            address: None,
        }
    }

    /// One that presents this id and no other.
    pub(crate) fn holding(app: &Router, id: &str) -> Self {
        let mut client = Self::new(app);
        client.cookies.insert(COOKIE.into(), id.into());
        client
    }

    /// One that has signed in.
    pub(crate) async fn signed_in(app: &Router, user: &str) -> Self {
        let mut client = Self::new(app);
        let reply = client.post(&format!("/login/{user}")).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
        client
    }

    pub(crate) fn id(&self) -> Option<&str> {
        self.cookies.get(COOKIE).map(String::as_str)
    }

    pub(crate) async fn get(&mut self, path: &str) -> Reply {
        self.send(self.request("GET", path)).await
    }

    pub(crate) async fn post(&mut self, path: &str) -> Reply {
        self.send(self.request("POST", path)).await
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> Request<Body> {
        let mut request = Request::builder().method(method).uri(path);
        if !self.cookies.is_empty() {
            let pairs: Vec<_> = self
                .cookies
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            request = request.header(header::COOKIE, pairs.join("; "));
        }
        if let Some(agent) = &self.agent {
            request = request.header(header::USER_AGENT, agent);
        }
        let mut request = request.body(Body::empty()).unwrap();
        if let Some(address) = self.address {
            request
                .extensions_mut()
                .insert(sessile::ClientAddress(address));
        }
        request
    }

    pub(crate) async fn send(&mut self, request: Request<Body>) -> Reply {
        let reply = reply(self.app.clone().oneshot(request).await.unwrap()).await;
        for (name, value) in reply.cookies() {
            if value.is_empty() {
                self.cookies.remove(&name);
            } else {
                self.cookies.insert(name, value);
            }
        }
        reply
    }
}

pub(crate) async fn reply(response: Response) -> Reply {
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let reply = Reply {
        status: parts.status,
        headers: parts.headers,
        body: String::from_utf8(bytes.to_vec()).unwrap(),
        problem: parts.extensions.get().cloned(),
    };
    for (_, value) in reply.cookies() {
        crate::on_redis::was_sent(&value);
    }
    reply
}

impl Reply {
    /// Every `Set-Cookie`, as text.
    pub(crate) fn set_cookies(&self) -> Vec<&str> {
        self.headers
            .get_all(header::SET_COOKIE)
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect()
    }

    /// Name and value of every `Set-Cookie`.
    pub(crate) fn cookies(&self) -> Vec<(String, String)> {
        self.set_cookies()
            .into_iter()
            .map(|text| {
                let pair = text.split(';').next().unwrap();
                let (name, value) = pair.split_once('=').unwrap();
                (name.to_owned(), value.to_owned())
            })
            .collect()
    }

    pub(crate) fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The problem's code and reason.
    #[track_caller]
    pub(crate) fn problem(&self) -> (&'static str, Option<&'static str>) {
        let problem = self
            .problem
            .as_ref()
            .unwrap_or_else(|| panic!("no problem in {self:?}"));
        (
            problem.kind.as_str(),
            problem.reason.map(|reason| reason.as_str()),
        )
    }

    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert!(self.status.is_success(), "{self:?}");
        self.body
    }
}

/// Waits until what happens in the background has happened.
///
/// # Panics
/// When it has not after a generous while.
pub(crate) async fn settled(mut done: impl AsyncFnMut() -> bool) {
    for _ in 0..10_000 {
        if done().await {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it did not happen");
}
