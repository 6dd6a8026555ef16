//! How often a request allocates, over the same request without a session layer.
//!
//! What costs nothing to a stranger and little to a reader is held to the number; the rest may only get better.

use allocation_counter::measure;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use axum::routing::get;
use sessile::{Key, MemoryStore, Session, SessionLayer};
use tokio::runtime::Runtime;
use tower::Service;

const DATA: Key<String> = Key::new("data");
const LAST: Key<u32> = Key::new("last");
/// Two quotes make it 200 bytes of JSON.
const DATA_BYTES: usize = 198;

const REQUESTS: usize = 100;
/// Until everything is set up that is set up once.
const WARM_UP: usize = 20;

struct Bench {
    runtime: Runtime,
    router: Router,
}

impl Bench {
    /// Both routers have the same routes, so that finding one costs the same.
    fn new(layer: Option<SessionLayer>) -> Self {
        let router = match layer {
            Some(layer) => Router::new()
                .route("/plain", get(plain))
                .route("/read", get(read))
                .route("/write", get(write))
                .route("/create", get(create))
                .route("/login", get(login))
                .layer(layer),
            None => Router::new()
                .route("/plain", get(plain))
                .route("/read", get(plain))
                .route("/write", get(plain))
                .route("/create", get(floor_create))
                .route("/login", get(floor_login))
                .layer(tower::layer::util::Identity::new()),
        };
        Self {
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .unwrap(),
            router: router.with_state(()),
        }
    }

    fn with_sessions() -> Self {
        Self::new(Some(SessionLayer::new(MemoryStore::new())))
    }

    /// The allocations of each of some requests, least first; none of it for building the request.
    fn count(&mut self, path: &'static str, cookies: &[Option<HeaderValue>]) -> Vec<u64> {
        let mut counts: Vec<u64> = cookies
            .iter()
            .map(|cookie| {
                let mut request = Some(request(path, cookie.as_ref()));
                let mut status = None;
                let info = measure(|| {
                    let answer = self.router.call(request.take().unwrap());
                    status = Some(self.runtime.block_on(answer).unwrap().status());
                });
                assert_eq!(status, Some(StatusCode::OK), "{path}");
                info.count_total
            })
            .skip(WARM_UP)
            .collect();
        counts.sort_unstable();
        counts
    }

    /// Strangers' sessions, each with 200 bytes of data.
    fn sessions(&mut self) -> Vec<Option<HeaderValue>> {
        (0..WARM_UP + REQUESTS)
            .map(|_| {
                let answer = self.router.call(request("/create", None));
                let response = self.runtime.block_on(answer).unwrap();
                let set = response.headers()[header::SET_COOKIE].to_str().unwrap();
                let (pair, _) = set.split_once(';').unwrap();
                Some(HeaderValue::try_from(format!("theme=dark; {pair}")).unwrap())
            })
            .collect()
    }
}

fn request(path: &'static str, cookie: Option<&HeaderValue>) -> Request<Body> {
    let mut headers = HeaderMap::with_capacity(12);
    for (name, value) in [
        (header::HOST, "www.example.org"),
        (header::USER_AGENT, "Mozilla/5.0 (X11; Linux x86_64)"),
        (header::ACCEPT, "text/html,*/*;q=0.8"),
        (header::ACCEPT_LANGUAGE, "en-US,en;q=0.5"),
        (header::ACCEPT_ENCODING, "gzip, deflate, br"),
        (header::REFERER, "https://www.example.org/"),
        (header::CACHE_CONTROL, "max-age=0"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Some(cookie) = cookie {
        headers.insert(header::COOKIE, cookie.clone());
    }
    let mut request = Request::builder().uri(path).body(Body::empty()).unwrap();
    *request.headers_mut() = headers;
    request
}

async fn plain() -> &'static str {
    "ok"
}

async fn read(session: Session) -> &'static str {
    assert_eq!(session.get(DATA).unwrap().unwrap().len(), DATA_BYTES);
    "ok"
}

async fn write(session: Session) -> &'static str {
    session.insert(LAST, &7).unwrap();
    "ok"
}

async fn create(session: Session) -> &'static str {
    session.insert(DATA, &"x".repeat(DATA_BYTES)).unwrap();
    "ok"
}

async fn floor_create() -> &'static str {
    drop(std::hint::black_box("x".repeat(DATA_BYTES)));
    "ok"
}

async fn login(session: Session) -> &'static str {
    session.login(user()).await.unwrap();
    "ok"
}

async fn floor_login() -> &'static str {
    drop(std::hint::black_box(user()));
    "ok"
}

fn user() -> String {
    "alice".to_owned()
}

/// No cookie, for each request.
fn none() -> Vec<Option<HeaderValue>> {
    vec![None; WARM_UP + REQUESTS]
}

fn floor(path: &'static str) -> u64 {
    let counts = Bench::new(None).count(path, &none());
    assert_eq!(counts.first(), counts.last(), "the floor is flat");
    counts[0]
}

/// Every request allocates so many times more than the floor, to the number.
#[track_caller]
fn exactly(over: u64, path: &'static str, counts: &[u64]) {
    assert_eq!(counts.len(), REQUESTS);
    assert_eq!(counts, [floor(path) + over; REQUESTS], "{path}");
}

/// The middle one of the requests allocates at most so many times more; some meet a table that grows.
#[track_caller]
fn at_most(over: u64, path: &'static str, counts: &[u64]) {
    assert_eq!(counts.len(), REQUESTS);
    let median = counts[REQUESTS / 2] - floor(path);
    assert!(median <= over, "{path}: {median} over the floor");
}

#[test]
fn a_request_without_a_cookie_allocates_three_times() {
    // The context, its place in the extensions, and the extensions' table that grows for it.
    let counts = Bench::with_sessions().count("/plain", &none());
    exactly(3, "/plain", &counts);
}

#[test]
fn a_session_that_is_not_used_allocates_no_more_than_none() {
    let mut bench = Bench::with_sessions();
    let cookies = bench.sessions();
    exactly(3, "/plain", &bench.count("/plain", &cookies));
}

#[test]
fn reading_allocates_for_the_record_and_for_the_value() {
    let mut bench = Bench::with_sessions();
    let cookies = bench.sessions();
    exactly(5, "/read", &bench.count("/read", &cookies));
}

#[test]
fn writing_creating_and_signing_in_stay_within_their_bounds() {
    let mut bench = Bench::with_sessions();
    // The store has many small tables: most must have grown before a request is like the next.
    for _ in 0..20 {
        bench.sessions();
    }
    let cookies = bench.sessions();
    at_most(12, "/create", &bench.count("/create", &none()));
    // With two lines of the user's history.
    at_most(24, "/login", &bench.count("/login", &cookies));
    for _ in 0..20 {
        let cookies = bench.sessions();
        bench.count("/write", &cookies);
    }
    let cookies = bench.sessions();
    at_most(10, "/write", &bench.count("/write", &cookies));
}
