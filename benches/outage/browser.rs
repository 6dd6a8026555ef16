//! Somebody with a browser: signs in, reads, writes, signs out, and knows what they were told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{Request, Response, StatusCode, header};
use axum::routing::{get, post};
use sessile::{Error, Key, Outcome, Session, SessionLayer, UserSession};
use tower::ServiceExt as _;

const VALUE: Key<u64> = Key::new("value");
/// Between two requests of one browser.
const PAUSE: Duration = Duration::from_millis(4);

pub(crate) fn app(sessions: SessionLayer) -> Router {
    Router::new()
        .route("/plain", get(async |_: Session| "ok"))
        .route("/me", get(me))
        .route("/write/{value}", post(write))
        .route("/login/{user}", post(login))
        .route("/logout", post(logout))
        .layer(sessions)
}

async fn me(user: UserSession) -> Result<String, Error> {
    let value = user.get(VALUE)?.unwrap_or_default();
    Ok(format!("{} {value}", user.user_id()))
}

async fn write(user: UserSession, Path(value): Path<u64>) -> Result<StatusCode, Error> {
    user.insert(VALUE, &value)?;
    Ok(match user.commit().await? {
        Outcome::Pending => StatusCode::ACCEPTED,
        Outcome::Committed | Outcome::Nothing => StatusCode::OK,
    })
}

async fn login(session: Session, Path(user): Path<String>) -> Result<(), Error> {
    session.login(user).await.map(|_| ())
}

async fn logout(session: Session) -> Result<String, Error> {
    Ok(session.logout().await?.to_string())
}

/// What all browsers share.
pub(crate) struct Shared {
    app: Router,
    over: AtomicBool,
}

impl Shared {
    pub(crate) const fn new(app: Router) -> Self {
        Self {
            app,
            over: AtomicBool::new(false),
        }
    }

    pub(crate) fn stop(&self) {
        self.over.store(true, Ordering::SeqCst);
    }
}

/// One request, as it went.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) what: What,
    pub(crate) at: Instant,
    pub(crate) took: Duration,
    pub(crate) answer: Answer,
    /// Why the answer was wrong.
    pub(crate) wrong: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Stranger,
    Read,
    Write,
    Login,
    Logout,
    /// With a cookie that was signed out.
    Ghost,
    /// After everything.
    LookBack,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    Pending,
    Away,
    Other,
}

pub(crate) struct Browser {
    shared: Arc<Shared>,
    user: String,
    cookie: Option<String>,
    /// Cookies that were signed out, and acknowledged as such.
    ended: Vec<String>,
    /// What the last acknowledged write wrote, and what later ones did of which nobody knows what came of them.
    value: u64,
    unknown: Vec<u64>,
    next: u64,
    pub(crate) asked: Vec<Asked>,
}

impl Browser {
    pub(crate) async fn signed_in(shared: &Arc<Shared>, number: usize) -> Self {
        let mut browser = Self {
            shared: Arc::clone(shared),
            user: format!("user{number}"),
            cookie: None,
            ended: Vec::new(),
            value: 0,
            unknown: Vec::new(),
            next: 1,
            asked: Vec::new(),
        };
        browser.login().await;
        assert!(
            browser.cookie.is_some(),
            "a login works while Redis is well"
        );
        browser
    }

    pub(crate) async fn browse(mut self) -> Self {
        let mut turn = self.user.len();
        while !self.shared.over.load(Ordering::SeqCst) {
            turn += 1;
            match turn % 40 {
                // Some sign out now and then, and in again; most stay.
                39 if self.user.ends_with('7') => {
                    self.logout().await;
                    self.ghost().await;
                    self.login().await;
                }
                10 => self.stranger().await,
                5 | 15 | 25 | 35 => self.write().await,
                30 => self.ghost().await,
                _ => self.read().await,
            }
            tokio::time::sleep(PAUSE).await;
        }
        self
    }

    /// What was acknowledged is there, and what ended is over.
    pub(crate) async fn look_back(&mut self) {
        if self.cookie.is_some() {
            self.read_as(What::LookBack).await;
        }
        for _ in 0..self.ended.len() {
            self.ghost().await;
            self.ended.rotate_left(1);
        }
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        cookie: Option<&str>,
    ) -> (Response<Body>, Instant, Duration) {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(cookie) = cookie {
            request = request.header(header::COOKIE, format!("__Host-session={cookie}"));
        }
        let request = request.body(Body::empty()).expect("the parts are valid");
        let at = Instant::now();
        let response = self.shared.app.clone().oneshot(request).await;
        let took = at.elapsed();
        (response.expect("the router does not fail"), at, took)
    }

    fn note(
        &mut self,
        what: What,
        asked: &(Response<Body>, Instant, Duration),
        wrong: Option<String>,
    ) {
        let answer = match asked.0.status() {
            StatusCode::OK => Answer::Done,
            StatusCode::ACCEPTED => Answer::Pending,
            StatusCode::SERVICE_UNAVAILABLE => Answer::Away,
            _ => Answer::Other,
        };
        self.asked.push(Asked {
            what,
            at: asked.1,
            took: asked.2,
            answer,
            wrong,
        });
    }

    async fn stranger(&mut self) {
        let asked = self.ask("GET", "/plain", None).await;
        let wrong = (asked.0.status() != StatusCode::OK)
            .then(|| format!("a stranger got {}", asked.0.status()));
        self.note(What::Stranger, &asked, wrong);
    }

    async fn read(&mut self) {
        self.read_as(What::Read).await;
    }

    async fn read_as(&mut self, what: What) {
        let Some(cookie) = self.cookie.clone() else {
            return self.login().await;
        };
        let mut asked = self.ask("GET", "/me", Some(&cookie)).await;
        let status = asked.0.status();
        let mut wrong = None;
        if status == StatusCode::OK {
            wrong = self.cookies(&asked.0, false);
            let body = std::mem::replace(asked.0.body_mut(), Body::empty());
            let body = axum::body::to_bytes(body, 1 << 16)
                .await
                .unwrap_or_default();
            let text = String::from_utf8_lossy(&body).into_owned();
            let value = text
                .strip_prefix(&self.user)
                .and_then(|rest| rest.trim().parse::<u64>().ok());
            match value {
                Some(value) if value == self.value || self.unknown.contains(&value) => {}
                _ => {
                    wrong = Some(format!(
                        "{} read {text:?}, not {} or one of {:?}",
                        self.user, self.value, self.unknown
                    ));
                }
            }
        } else if status != StatusCode::SERVICE_UNAVAILABLE {
            let why = asked.0.extensions().get::<sessile::Problem>().cloned();
            wrong = Some(format!(
                "{} got {status} for a live session: {why:?}, cookie of {}",
                self.user,
                cookie.len()
            ));
        } else if asked.0.headers().contains_key(header::SET_COOKIE) {
            wrong = Some("a 503 with a cookie".into());
        }
        self.note(what, &asked, wrong);
    }

    async fn write(&mut self) {
        let Some(cookie) = self.cookie.clone() else {
            return self.login().await;
        };
        let value = self.next;
        self.next += 1;
        let asked = self
            .ask("POST", &format!("/write/{value}"), Some(&cookie))
            .await;
        let mut wrong = None;
        match asked.0.status() {
            StatusCode::OK => {
                wrong = self.cookies(&asked.0, false);
                self.value = value;
                self.unknown.clear();
            }
            StatusCode::ACCEPTED => {
                // If one before it did reach Redis, that one wins, and this is said in an event: the stated rule.
                wrong = self.cookies(&asked.0, false);
                self.value = value;
            }
            StatusCode::SERVICE_UNAVAILABLE => self.unknown.push(value),
            status => wrong = Some(format!("{} wrote and got {status}", self.user)),
        }
        self.note(What::Write, &asked, wrong);
    }

    async fn login(&mut self) {
        let before = self.cookie.clone();
        let asked = self
            .ask("POST", &format!("/login/{}", self.user), before.as_deref())
            .await;
        if asked.0.status() == StatusCode::OK {
            self.cookies(&asked.0, true);
            (self.value, self.next) = (0, self.next);
            self.unknown.clear();
        }
        self.note(What::Login, &asked, None);
    }

    async fn logout(&mut self) {
        let Some(cookie) = self.cookie.clone() else {
            return;
        };
        let asked = self.ask("POST", "/logout", Some(&cookie)).await;
        if asked.0.status() == StatusCode::OK {
            self.cookie = None;
            self.ended.push(cookie);
            if self.ended.len() > 8 {
                self.ended.remove(0);
            }
        }
        self.note(What::Logout, &asked, None);
    }

    /// With a cookie that was signed out: whatever comes, not the session.
    async fn ghost(&mut self) {
        let Some(cookie) = self.ended.first().cloned() else {
            return;
        };
        let asked = self.ask("GET", "/me", Some(&cookie)).await;
        let wrong = (asked.0.status() == StatusCode::OK)
            .then(|| format!("{} was let in after signing out", self.user));
        self.note(What::Ghost, &asked, wrong);
    }

    /// Takes the cookie of a response. One that takes it away is wrong, unless it was asked for.
    fn cookies(&mut self, response: &Response<Body>, is_login: bool) -> Option<String> {
        let set = response.headers().get(header::SET_COOKIE)?.to_str().ok()?;
        let value = set.strip_prefix("__Host-session=")?.split(';').next()?;
        if value.is_empty() {
            return (!is_login).then(|| format!("{} lost the cookie", self.user));
        }
        self.cookie = Some(value.to_owned());
        None
    }
}
