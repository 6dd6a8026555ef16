//! The rows of the tables: one kind of request each, and what must be true when all of them were answered.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use tower::Service;

use crate::request::{cookie, request};
use crate::subject::Subject;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row {
    NoCookie,
    NotUsed,
    Read,
    Write,
    Create,
    Login,
}

impl Row {
    pub const ALL: [Self; 6] = [
        Self::NoCookie,
        Self::NotUsed,
        Self::Read,
        Self::Write,
        Self::Create,
        Self::Login,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::NoCookie => "no cookie",
            Self::NotUsed => "not used",
            Self::Read => "read",
            Self::Write => "write",
            Self::Create => "create",
            Self::Login => "login",
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::NoCookie | Self::NotUsed => "/plain",
            Self::Read => "/read",
            Self::Write => "/write",
            Self::Create => "/create",
            Self::Login => "/login",
        }
    }

    const fn has_cookie(self) -> bool {
        match self {
            Self::NoCookie | Self::Create => false,
            Self::NotUsed | Self::Read | Self::Write | Self::Login => true,
        }
    }
}

/// One subject under the requests of one row.
pub struct Run {
    row: Row,
    router: Router,
    has_sessions: bool,
    cookies: Vec<HeaderValue>,
    sent: u64,
    set_cookies: u64,
    last: Option<HeaderValue>,
}

impl Run {
    pub fn new(subject: &Subject, row: Row) -> Self {
        Self {
            row,
            router: (subject.router)(),
            has_sessions: subject.has_sessions,
            cookies: Vec::new(),
            sent: 0,
            set_cookies: 0,
            last: None,
        }
    }

    /// Makes the sessions that the next `requests` requests come with: each a stranger's, with 200 bytes of data. They
    /// are new each time, so that none is old enough for its "last seen" to be due.
    pub async fn prepare(&mut self, requests: usize) {
        self.cookies.clear();
        if !self.row.has_cookie() {
            return;
        }
        for _ in 0..requests {
            let cookie = match self.has_sessions {
                true => {
                    let response = call(&mut self.router, request("/create", None, 0)).await;
                    cookie(response.headers()).expect("a new session has a cookie")
                }
                false => HeaderValue::from_static(
                    "theme=dark; __Host-session=AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiM",
                ),
            };
            self.cookies.push(cookie);
        }
    }

    /// The n-th request since [`prepare`](Self::prepare).
    pub fn request(&self, n: usize) -> Request<Body> {
        request(self.row.path(), self.cookies.get(n), self.sent + n as u64)
    }

    /// One request and its answer.
    pub async fn answer(&mut self, request: Request<Body>) -> Response<Body> {
        call(&mut self.router, request).await
    }

    /// Sends `requests` requests, one after the other.
    pub async fn send(&mut self, requests: usize) {
        for n in 0..requests {
            let request = self.request(n);
            let response = call(&mut self.router, request).await;
            assert_eq!(response.status(), StatusCode::OK);
            if let Some(set) = response.headers().get(header::SET_COOKIE) {
                self.set_cookies += 1;
                if n + 1 == requests {
                    self.last = HeaderValue::from_bytes(set.as_bytes()).ok();
                }
            }
        }
        self.sent += requests as u64;
    }

    /// Builds `requests` requests and sends none.
    pub fn build(&self, requests: usize) {
        for n in 0..requests {
            std::hint::black_box(self.request(n));
        }
    }

    /// That what was measured is what happened.
    pub async fn check(&mut self) {
        if !self.has_sessions {
            return;
        }
        match self.row {
            Row::NoCookie | Row::NotUsed | Row::Read => assert_eq!(self.set_cookies, 0),
            Row::Write => {
                let cookie = self.cookies.last().cloned();
                let last = self.text("/last", cookie).await;
                assert_eq!(last, (self.sent - 1).to_string());
            }
            Row::Create => {
                assert_eq!(self.set_cookies, self.sent);
                let cookie = self.new_cookie();
                assert_eq!(self.text("/read", cookie).await, "ok");
            }
            Row::Login => {
                assert_eq!(self.set_cookies, self.sent);
                let cookie = self.new_cookie();
                let user = self.text("/me", cookie).await;
                assert_eq!(user, format!("user-{}", self.sent - 1));
                let old = self.cookies.last().cloned();
                assert_ne!(self.text("/read", old).await, "ok", "the old id is dead");
            }
        }
    }

    fn new_cookie(&self) -> Option<HeaderValue> {
        let set = self.last.clone().expect("the last response set one");
        cookie(&[(header::SET_COOKIE, set)].into_iter().collect())
    }

    async fn text(&mut self, path: &'static str, cookie: Option<HeaderValue>) -> String {
        let response = call(&mut self.router, request(path, cookie.as_ref(), 0)).await;
        let body = to_bytes(response.into_body(), 1 << 20)
            .await
            .expect("it is in memory");
        String::from_utf8(body.into()).expect("handlers answer with text")
    }
}

/// As a server calls it, which makes the router's service once.
pub async fn call(router: &mut Router, request: Request<Body>) -> Response<Body> {
    match router.call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
