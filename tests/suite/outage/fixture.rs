//! Instances of one application, each with a network to Redis of its own, and browsers that watch their cookie.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{StatusCode, header};
use sessile::record::Entry;
use sessile::store::{Health, Mode};
use sessile::{
    Bucket, Digest, Error, Handle, Kind, Live, ManualClock, Outage, RecordKey, RedisStore,
    RedisStoreBuilder, Session, SessionLayer, SessionLayerBuilder, SessionStore, Sessions,
    UserSession,
};
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tower::ServiceExt;

use crate::harness::{self, Reply, routes};
use crate::support::wait::wait_until;
use crate::support::{Proxy, Server};

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
/// Longer than any test takes on a machine that is busy.
pub(super) const LEASE: Duration = Duration::from_secs(600);

/// The characters of an id that the store knows, and of one that was made while it was away.
pub(super) const ID: usize = 47;
pub(super) const LOCAL_ID: usize = 58;

/// A process of the application, as far as sessions can tell.
pub(super) struct Instance {
    pub(super) app: Router,
    pub(super) layer: SessionLayer,
    /// By which its leases age, and the sessions that are made here; it stands still until it is moved.
    pub(super) clock: ManualClock,
}

/// A store whose deadlines are far away: what fails in these tests fails at once, and the machine may be busy.
pub(super) fn patient(url: &str) -> RedisStoreBuilder {
    RedisStore::builder(url)
        .command_timeout(5 * SECOND)
        .operation_timeout(10 * SECOND)
}

impl Instance {
    /// With leases that outlive the test, and sessions of its own while Redis is away.
    pub(super) async fn at(url: &str) -> Self {
        Self::with(url, Outage::Local { lease: LEASE }).await
    }

    pub(super) async fn with(url: &str, outage: Outage) -> Self {
        Self::set_up(url, |builder| builder.outage(outage)).await
    }

    pub(super) async fn set_up(
        url: &str,
        set: impl FnOnce(SessionLayerBuilder) -> SessionLayerBuilder,
    ) -> Self {
        Self::over(patient(url).connect().await.unwrap(), set)
    }

    pub(super) fn over(
        store: impl SessionStore,
        set: impl FnOnce(SessionLayerBuilder) -> SessionLayerBuilder,
    ) -> Self {
        let clock = ManualClock::new();
        let builder = SessionLayer::builder(store)
            .outage(Outage::Local { lease: LEASE })
            .outage_clock(clock.clone());
        let layer = set(builder).build().unwrap();
        Self {
            app: pages().layer(layer.clone()),
            layer,
            clock,
        }
    }

    pub(super) fn browser(&self) -> Browser {
        Browser(harness::Client::new(&self.app))
    }

    /// Somebody who signed in here.
    pub(super) async fn signed_in(&self, user: &str) -> Browser {
        let mut browser = self.browser();
        browser.given(&format!("/login/{user}")).await.ok();
        browser
    }

    /// The same browser, that comes here from now on, with the cookie that it has now.
    pub(super) fn also(&self, browser: &Browser) -> Browser {
        Browser(harness::Client::holding(&self.app, browser.id()))
    }

    pub(super) fn health(&self) -> Health {
        self.layer.health()
    }

    /// Waits until the instance is in this mode.
    pub(super) async fn is(&self, mode: Mode) {
        let what = format!("the instance is {}", mode.as_str());
        wait_until(&what, async || self.health().mode == mode).await;
    }

    /// Waits until the instance knows that Redis is away: by its heartbeat, or by somebody who asks.
    pub(super) async fn knows_that_it_is_away(&self) {
        let what = "the instance knows that Redis is away";
        wait_until(what, async || {
            let stranger = URL_SAFE_NO_PAD.encode([&[1][..], &[7; 34]].concat());
            let mut stranger = harness::Client::holding(&self.app, &stranger);
            stranger.get("/look").await;
            self.health().mode == Mode::Degraded
        })
        .await;
    }

    /// Waits until Redis is back, and has all that it missed.
    pub(super) async fn is_back(&self) {
        let what = "Redis has all that it missed";
        wait_until(what, async || {
            let health = self.health();
            health.mode == Mode::Healthy && health.pending == 0 && health.local == 0
        })
        .await;
    }

    /// Ends all of a user's sessions, as an administrator: `pending` or `committed`.
    pub(super) async fn revoke(&self, user: &str) -> String {
        let mut administrator = self.browser();
        administrator.post(&format!("/admin/{user}")).await.ok()
    }
}

/// The handlers of every test, and those that tell on what an answer rests.
fn pages() -> Router {
    routes()
        .route(
            "/freshness",
            get(async |session: Session| {
                session
                    .freshness()
                    .map_or("none", sessile::Freshness::as_str)
            }),
        )
        .route(
            "/wrong-password",
            post(async |_: Session| StatusCode::UNAUTHORIZED),
        )
        .route(
            "/live",
            get(async |Live(user): Live<UserSession>| user.user_id().to_string()),
        )
        .route(
            "/end-one/{handle}",
            post(async |user: UserSession, Path(handle): Path<Handle>| {
                ended(user.end(handle).await)
            }),
        )
        .route(
            "/end-the-others",
            post(async |user: UserSession| ended(user.end_others().await)),
        )
        .route(
            "/end-all-of-them",
            post(async |user: UserSession| ended(user.end_all().await)),
        )
        .route(
            "/admin/{user}",
            post(async |sessions: Sessions, Path(user): Path<String>| {
                ended(sessions.revoke_all(user, "why").await)
            }),
        )
}

fn ended(ended: Result<sessile::Ended, Error>) -> Result<String, Error> {
    ended.map(|ended| ended.outcome.to_string())
}

/// A browser that sees to it that nobody touches its cookie without being asked: every response is looked at.
#[derive(Clone)]
pub(super) struct Browser(harness::Client);

impl Browser {
    pub(super) fn id(&self) -> &str {
        self.0.id().expect("the browser has a cookie")
    }

    pub(super) async fn get(&mut self, path: &str) -> Reply {
        self.keeping("GET", path).await
    }

    pub(super) async fn post(&mut self, path: &str) -> Reply {
        self.keeping("POST", path).await
    }

    /// The cookie stays as it is.
    async fn keeping(&mut self, method: &str, path: &str) -> Reply {
        let reply = self.0.send(self.0.request(method, path)).await;
        assert_eq!(reply.set_cookies(), [""; 0], "{path}: {reply:?}");
        reply
    }

    /// Whatever comes back, but no cookie is taken away.
    pub(super) async fn any(&mut self, method: &str, path: &str) -> Reply {
        let reply = self.0.send(self.0.request(method, path)).await;
        for (_, value) in reply.cookies() {
            assert!(!value.is_empty(), "{path}: {reply:?}");
        }
        reply
    }

    /// POST, with which a cookie comes.
    pub(super) async fn given(&mut self, path: &str) -> Reply {
        self.replaced("POST", path).await
    }

    /// With which another cookie comes.
    pub(super) async fn replaced(&mut self, method: &str, path: &str) -> Reply {
        let reply = self.0.send(self.0.request(method, path)).await;
        let cookies = reply.cookies();
        assert!(
            matches!(&*cookies, [(_, value)] if !value.is_empty()),
            "{path}: {reply:?}"
        );
        reply
    }

    /// POST to sign out: the user wants the cookie gone.
    pub(super) async fn signs_out(&mut self) -> Reply {
        let reply = self.0.send(self.0.request("POST", "/logout")).await;
        let cookies = reply.cookies();
        assert!(
            matches!(&*cookies, [(_, value)] if value.is_empty()),
            "{reply:?}"
        );
        reply
    }

    /// Ends by this path: what it came to.
    pub(super) async fn any_end(&mut self, path: &str) -> String {
        match path {
            "/logout" => self.signs_out().await.ok(),
            _ => self.post(path).await.ok(),
        }
    }

    pub(super) async fn freshness(&mut self) -> String {
        self.get("/freshness").await.ok()
    }

    /// Signed in, as this user, whatever that rests on.
    pub(super) async fn is(&mut self, user: &str) {
        assert_eq!(self.get("/me").await.ok(), user);
    }

    /// Refused as ended, for this reason.
    pub(super) async fn is_refused(&mut self, reason: &str) {
        let reply = self.get("/me").await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{reply:?}");
        assert_eq!(reply.problem(), ("session_ended", Some(reason)));
    }

    /// It opens nothing, or not now.
    pub(super) async fn not_opened(&mut self) {
        let reply = self.get("/me").await;
        assert!([401, 503].contains(&reply.status.as_u16()), "{reply:?}");
    }

    /// Presents this id from now on.
    pub(super) fn set_id(&mut self, id: &str) {
        self.0.cookies.insert(harness::COOKIE.into(), id.into());
    }

    /// Waits until the next request opens a session that the store knows, under an id as any other.
    pub(super) async fn settles(&mut self, user: &str) {
        let what = "a session that was made here has an id as any other";
        let before = self.id().to_owned();
        wait_until(what, async || {
            let reply = self.any("GET", "/me").await;
            assert_eq!(reply.ok(), user);
            self.id() != before
        })
        .await;
        assert_eq!(self.id().len(), ID);
    }

    pub(super) fn request(&self, method: &str, path: &str) -> http::Request<axum::body::Body> {
        self.0.request(method, path)
    }
}

impl Reply {
    /// Not now: the cookie stays, and the browser is told when to come again.
    #[track_caller]
    pub(super) fn not_now(self) {
        assert_eq!(self.status, StatusCode::SERVICE_UNAVAILABLE, "{self:?}");
        assert_eq!(self.set_cookies(), [""; 0], "{self:?}");
        let after = self.header(header::RETRY_AFTER).map(str::parse::<u64>);
        assert!(matches!(after, Some(Ok(1..))), "{self:?}");
        assert_eq!(self.problem(), ("store_unavailable", None));
    }
}

/// A handler that stages a write and then waits until it is let go.
pub(super) struct Gate {
    app: Router,
    reached: Arc<Notify>,
    open: Arc<Notify>,
}

/// A request that waits at the gate.
pub(super) struct Waiting {
    request: JoinHandle<Reply>,
    open: Arc<Notify>,
}

impl Gate {
    pub(super) fn in_front_of(instance: &Instance) -> Self {
        let (reached, open) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (tell, wait) = (Arc::clone(&reached), Arc::clone(&open));
        let handler = async move |session: Session| {
            session.insert(harness::text("late"), "late")?;
            tell.notify_one();
            wait.notified().await;
            Ok::<_, Error>(())
        };
        let app = Router::new().route("/", post(handler));
        Self {
            app: app.layer(instance.layer.clone()),
            reached,
            open,
        }
    }

    /// One whose handler waits, and then signs alice in.
    pub(super) fn before_a_login_at(instance: &Instance) -> Self {
        let (reached, open) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (tell, wait) = (Arc::clone(&reached), Arc::clone(&open));
        let handler = async move |session: Session| {
            tell.notify_one();
            wait.notified().await;
            session.login("alice").await?;
            Ok::<_, Error>(())
        };
        let app = Router::new().route("/", post(handler));
        Self {
            app: app.layer(instance.layer.clone()),
            reached,
            open,
        }
    }

    /// Sends a request, that is at the gate when this returns.
    pub(super) async fn begin(&self, browser: &Browser) -> Waiting {
        let request = browser.request("POST", "/");
        let app = self.app.clone();
        let request =
            tokio::spawn(async move { harness::reply(app.oneshot(request).await.unwrap()).await });
        self.reached.notified().await;
        Waiting {
            request,
            open: Arc::clone(&self.open),
        }
    }
}

impl Waiting {
    pub(super) async fn let_go(self) -> Reply {
        self.open.notify_one();
        self.request.await.unwrap()
    }
}

/// A Redis, and a network to it that a test can cut.
pub(super) struct Network {
    // Before the server.
    pub(super) proxy: Proxy,
    pub(super) server: Server,
}

impl Network {
    pub(super) fn start() -> Self {
        let server = Server::start();
        Self {
            proxy: Proxy::start(server.address()),
            server,
        }
    }

    pub(super) fn url(&self) -> String {
        self.proxy.url()
    }

    pub(super) fn cut(&self) {
        cut(&self.proxy);
    }

    pub(super) fn heal(&self) {
        self.proxy.allow();
    }

    /// Cuts it, and waits until the instance knows.
    pub(super) async fn cut_off(&self, instance: &Instance) {
        self.cut();
        instance.knows_that_it_is_away().await;
    }

    /// Heals it, and waits until Redis has all that it missed.
    pub(super) async fn reconnect(&self, instance: &Instance) {
        self.heal();
        instance.is_back().await;
    }
}

/// Nobody comes through any more.
pub(super) fn cut(proxy: &Proxy) {
    proxy.refuse();
    proxy.cut();
}

/// Where the session of a cookie is kept.
pub(super) fn key_of(cookie: &str) -> RecordKey {
    let bytes = URL_SAFE_NO_PAD.decode(cookie).unwrap();
    RecordKey {
        kind: Kind::User,
        bucket: Bucket::from(u16::from_be_bytes([bytes[1], bytes[2]])),
        digest: Digest::from_bytes(Sha256::digest(&bytes[3..35]).into()),
    }
}

/// What Redis has under a cookie's key.
pub(super) fn stands(server: &Server, cookie: &str) -> Option<Entry> {
    let key = key_of(cookie);
    let name = format!("session:{{{}}}:{}", key.bucket, key.digest.to_text());
    let found: Option<Vec<u8>> = redis::cmd("GET")
        .arg(name)
        .query(&mut server.connection())
        .unwrap();
    found.map(|bytes| Entry::from_bytes(&bytes).unwrap())
}

/// Whether what is under a cookie's key opens a session.
pub(super) fn is_live(server: &Server, cookie: &str) -> bool {
    matches!(stands(server, cookie), Some(Entry::Live(_)))
}

/// The keys of sessions, of lists and of ends.
pub(super) fn keys(server: &Server) -> Vec<String> {
    let keys = server.dump().into_iter();
    keys.map(|entry| String::from_utf8(entry.key).unwrap())
        .filter(|key| !key.starts_with("beat:"))
        .collect()
}

/// Sends a command past everybody.
pub(super) fn admin(server: &Server, command: &[&str]) {
    let _: redis::Value = redis::cmd(command[0])
        .arg(&command[1..])
        .query(&mut server.connection())
        .unwrap();
}
