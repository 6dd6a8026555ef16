//! The rows of the tables: one kind of request each, and what must be true when all of them were answered.

use axum::http::HeaderValue;

use crate::app::{App, Ask, Kind, Reply};
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

    pub const fn path(self) -> &'static str {
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

    /// Builds requests of this row without an application: what that alone takes.
    pub fn build_alone(self, kind: Kind, requests: usize) {
        let cookie = self.has_cookie().then_some(SOME_COOKIE);
        for n in 0..requests {
            std::hint::black_box(kind.build(self.path(), cookie.as_ref(), n as u64));
        }
    }
}

const SOME_COOKIE: HeaderValue = HeaderValue::from_static(
    "theme=dark; __Host-session=AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiM",
);

/// One subject under the requests of one row.
pub struct Run {
    row: Row,
    subject: &'static Subject,
    app: App,
    cookies: Vec<HeaderValue>,
    sent: u64,
    set_cookies: u64,
    /// Which cookie the last response set.
    last: Option<HeaderValue>,
}

impl Run {
    /// `url` is where Redis is, for those that use it.
    pub async fn new(subject: &'static Subject, row: Row, url: &str) -> Self {
        Self {
            row,
            subject,
            app: (subject.open)(url).await,
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
            let cookie = if self.subject.has_sessions {
                let ask = self.subject.kind.build(self.subject.made_by, None, 0);
                let reply = self.app.call(ask).await;
                reply.cookie().expect("a new session has a cookie")
            } else {
                SOME_COOKIE
            };
            self.cookies.push(cookie);
        }
    }

    /// The n-th request since [`prepare`](Self::prepare).
    pub fn request(&self, n: usize) -> Ask {
        let number = self.sent + n as u64;
        self.subject
            .kind
            .build(self.row.path(), self.cookies.get(n), number)
    }

    /// One request and its answer.
    pub async fn answer(&mut self, ask: Ask) -> Reply {
        self.app.call(ask).await
    }

    /// Sends `requests` requests, one after the other.
    ///
    /// # Panics
    ///
    /// If one was not answered with 200.
    pub async fn send(&mut self, requests: usize) {
        for n in 0..requests {
            let ask = self.request(n);
            let reply = self.app.call(ask).await;
            assert!(reply.is_ok(), "{}: {}", self.subject.name, reply.status());
            if reply.sets_cookie() {
                self.set_cookies += 1;
                if n + 1 == requests {
                    self.last = reply.cookie();
                }
            }
        }
        self.sent += requests as u64;
    }

    /// That what was measured is what happened.
    ///
    /// # Panics
    ///
    /// If it is not.
    pub async fn check(&mut self) {
        if !self.subject.has_sessions {
            return;
        }
        let name = self.subject.name;
        match self.row {
            Row::NoCookie | Row::NotUsed | Row::Read => {
                let always = self.subject.sets_cookie_always;
                assert_eq!(
                    self.set_cookies,
                    if always { self.sent } else { 0 },
                    "{name}"
                );
            }
            Row::Write => {
                let cookie = self.last.clone().or_else(|| self.cookies.last().cloned());
                let last = self.text("/last", cookie).await;
                assert_eq!(last, (self.sent - 1).to_string(), "{name}");
            }
            Row::Create => {
                assert_eq!(self.set_cookies, self.sent, "{name}");
                let cookie = self.new_cookie();
                assert_eq!(self.text("/read", cookie).await, "ok", "{name}");
            }
            Row::Login => {
                assert_eq!(self.set_cookies, self.sent, "{name}");
                let cookie = self.new_cookie();
                let user = self.text("/me", cookie).await;
                assert_eq!(user, format!("user-{}", self.sent - 1), "{name}");
                let old = self.cookies.last().cloned();
                let is_dead = self.text("/read", old).await != "ok";
                assert_eq!(is_dead, self.subject.ends_old_id, "{name}: the old id");
            }
        }
    }

    fn new_cookie(&self) -> Option<HeaderValue> {
        Some(self.last.clone().expect("the last response set one"))
    }

    async fn text(&mut self, path: &'static str, cookie: Option<HeaderValue>) -> String {
        let ask = self.subject.kind.build(path, cookie.as_ref(), 0);
        self.app.call(ask).await.text().await
    }
}
