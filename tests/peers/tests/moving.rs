//! Sessions of other crates: each is made by that crate, moved, and opened by its old cookie where that is a plain id.

use std::collections::HashMap;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{Request, header};
use serde_json::{Value, json};
use sessile::migrate::{Migration, Report, Source};
use sessile::{Key, LegacyIds, RedisStore, Session, SessionLayer, SessionStore, UserSession};
use tempfile::TempDir;
use tower::ServiceExt;

/// A Redis of its own; it ends with this.
struct Server {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl Server {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--port", &port.to_string(), "--dir"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let server = Self {
            child,
            port,
            _folder: folder,
        };
        let client = redis::Client::open(server.url()).unwrap();
        while client.get_connection().is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        server
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    fn ask<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let mut connection = redis::Client::open(self.url())
            .unwrap()
            .get_connection()
            .unwrap();
        redis::cmd(command[0])
            .arg(&command[1..])
            .query(&mut connection)
            .unwrap()
    }

    fn keys(&self) -> Vec<String> {
        self.ask(&["KEYS", "*"])
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn migrate(store: &RedisStore, source: Source) -> Report {
    let report = Migration::new(store, source).run(|_| {}).await.unwrap();
    assert!(report.adds_up() && report.is_complete(), "{report}");
    report
}

/// What the application sees under a cookie: its user, and a value; and the cookie that it then gets.
async fn opened(
    store: &RedisStore,
    id: &str,
    value: &'static str,
) -> (String, Value, Option<String>) {
    let until = SystemTime::now() + Duration::from_secs(3600);
    let layer = SessionLayer::builder(store.clone())
        .accept_legacy(LegacyIds::until(until).cookie_name("id"))
        .build()
        .unwrap();
    let look = move |session: Session, user: Option<UserSession>| async move {
        let user = user.map_or("nobody".to_owned(), |user| user.user_id().to_string());
        let value = session
            .get(Key::<Value>::new(value))
            .unwrap()
            .unwrap_or_default();
        json!([user, value]).to_string()
    };
    let app: Router = Router::new().route("/", get(look)).layer(layer);
    let request = Request::get("/").header(header::COOKIE, format!("id={id}"));
    let response = app
        .oneshot(request.body(Body::empty()).unwrap())
        .await
        .unwrap();
    let cookie = response
        .headers()
        .get(header::SET_COOKIE)
        .map(|cookie| cookie.to_str().unwrap().to_owned());
    let body = axum::body::to_bytes(response.into_body(), usize::MAX)
        .await
        .unwrap();
    let seen: Value = serde_json::from_slice(&body).unwrap();
    (
        seen[0].as_str().unwrap().to_owned(),
        seen[1].clone(),
        cookie,
    )
}

async fn ends_within(store: &RedisStore, user: &str, span: Duration) {
    let list = store.list(user.into()).await.unwrap();
    assert_eq!(list.len(), 1, "{user}");
    let left = list[0].ends_at().duration_since(SystemTime::now()).unwrap();
    assert!(
        left <= span && left + Duration::from_secs(60) > span,
        "{left:?}"
    );
}

#[tokio::test]
async fn tower_sessions() {
    println!(
        "tower-sessions 0.14 by tower-sessions-redis-store 0.16.0, and tower-sessions-core 0.15.0"
    );
    let server = Server::start().await;
    let store = RedisStore::connect(&server.url()).await.unwrap();
    use tower_sessions::cookie::time::Duration as Span;
    use tower_sessions_redis_store::fred::prelude::{ClientLike, Config, Pool};
    let pool = Pool::new(
        Config::from_url(&server.url()).unwrap(),
        None,
        None,
        None,
        1,
    )
    .unwrap();
    let _connection = pool.connect();
    pool.wait_for_connect().await.unwrap();
    let theirs = Arc::new(tower_sessions_redis_store::RedisStore::new(pool));
    let expiry = tower_sessions::Expiry::OnInactivity(Span::hours(3));
    let session = tower_sessions::Session::new(None, theirs, Some(expiry));
    session
        .insert("cart", json!({"n": [1, 2.5, "é"]}))
        .await
        .unwrap();
    session
        .insert(
            "axum-login.data",
            json!({"user_id": 42, "auth_hash": [1, 2]}),
        )
        .await
        .unwrap();
    session.save().await.unwrap();
    let id = session.id().unwrap().to_string();
    assert_eq!(server.keys(), [id.clone()]);

    let mut newer = tower_sessions_core::session::Record {
        id: tower_sessions_core::session::Id(7),
        data: HashMap::new(),
        expiry_date: time::OffsetDateTime::now_utc() + Span::hours(2),
    };
    newer.data.insert("cart".into(), json!(null));
    newer
        .data
        .insert("axum-login.data".into(), json!({"user_id": "bob"}));
    let bytes = rmp_serde::to_vec(&newer).unwrap();
    let mut connection = redis::Client::open(server.url())
        .unwrap()
        .get_connection()
        .unwrap();
    redis::cmd("SET")
        .arg(newer.id.to_string())
        .arg(bytes)
        .arg("EX")
        .arg(9_000)
        .exec(&mut connection)
        .unwrap();

    let report = migrate(&store, Source::TowerSessions).await;
    assert_eq!(report.migrated.total(), 2);
    ends_within(&store, "42", Duration::from_secs(3 * 3600)).await;
    ends_within(&store, "bob", Duration::from_secs(2 * 3600)).await;
    let (user, cart, cookie) = opened(&store, &id, "cart").await;
    assert_eq!((&*user, cart), ("42", json!({"n": [1, 2.5, "é"]})));
    assert!(cookie.is_some_and(|cookie| !cookie.contains(&id)));
    assert!(!server.keys().contains(&id));
}

#[tokio::test]
async fn axum_session() {
    println!("axum_session 0.22.1 by axum_session_redispool 0.13.0");
    let server = Server::start().await;
    let store = RedisStore::connect(&server.url()).await.unwrap();
    use axum_session_redispool::{SessionRedisPool, SessionRedisSession};
    let client = redis::Client::open(server.url()).unwrap();
    let pool = redis_pool::SingleRedisPool::from(client);
    let config = axum_session::SessionConfig::default();
    let theirs = axum_session::SessionStore::<SessionRedisPool>::new(Some(pool.into()), config)
        .await
        .unwrap();
    let write = |session: SessionRedisSession| async move {
        session.set("cart", vec!["apple", "é"]);
        session.set("user_auth_session_id", 42);
    };
    let app: Router = Router::new()
        .route("/", get(write))
        .layer(axum_session::SessionLayer::new(theirs));
    let response = app
        .oneshot(Request::get("/").body(Body::empty()).unwrap())
        .await
        .unwrap();
    let cookies: Vec<String> = response
        .headers()
        .get_all(header::SET_COOKIE)
        .iter()
        .map(|cookie| cookie.to_str().unwrap().to_owned())
        .collect();
    let keys = server.keys();
    assert_eq!(keys.len(), 1, "{keys:?} {cookies:?}");
    let id = keys[0].strip_prefix("sessions:").unwrap().to_owned();
    assert!(
        cookies.iter().any(|cookie| cookie.contains(&id)),
        "{cookies:?}"
    );

    let report = migrate(&store, Source::AxumSession).await;
    assert_eq!(report.migrated.total(), 1);
    let (user, cart, cookie) = opened(&store, &id, "cart").await;
    assert_eq!((&*user, cart), ("42", json!(["apple", "é"])));
    assert!(cookie.is_some_and(|cookie| !cookie.contains(&id)));
}

#[tokio::test]
async fn actix_session() {
    println!("actix-session 0.11.0");
    let server = Server::start().await;
    let store = RedisStore::connect(&server.url()).await.unwrap();
    use actix_session::storage::{RedisSessionStore, SessionStore as _};
    let theirs = RedisSessionStore::new(server.url()).await.unwrap();
    let state = HashMap::from([
        ("cart".to_owned(), json!({"n": 1}).to_string()),
        (
            "actix_identity.user_id".to_owned(),
            json!("alice").to_string(),
        ),
    ]);
    let hour = actix_web::cookie::time::Duration::hours(1);
    theirs.save(state, &hour).await.unwrap();
    assert_eq!(server.keys().len(), 1);

    let report = migrate(&store, Source::ActixSession).await;
    assert_eq!(report.migrated.total(), 1);
    ends_within(&store, "alice", Duration::from_secs(3600)).await;
    let list = store.list("alice".into()).await.unwrap();
    assert_eq!(list[0].value("cart"), Some(&b"{\"n\":1}"[..]));
}
