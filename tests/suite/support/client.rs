//! A plain HTTP client that shows everything, and keeps its two cookies as a browser would.

use std::collections::BTreeSet;

use http::{HeaderMap, Method, Request, header};
use serde_json::{Value, json};

use super::Showcase;
use super::wait::wait_for;

/// A client with at most one cookie of each kind. A clone is the same browser's other tab, until one of them gets another
/// cookie.
#[derive(Clone)]
pub(crate) struct Client {
    agent: ureq::Agent,
    base: String,
    /// The session's, `name=value`, as it is sent.
    pub(crate) cookie: Option<String>,
    /// The demo's.
    pub(crate) demo: Option<String>,
    headers: HeaderMap,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn new(base: &str) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .build()
            .into();
        Self {
            agent,
            base: base.into(),
            cookie: None,
            demo: None,
            headers: HeaderMap::new(),
        }
    }

    /// The same browser, with this showcase: as behind a load balancer. Its cookie is its own from here on.
    pub(crate) fn at(&self, showcase: &Showcase) -> Self {
        let mut client = self.clone();
        client.go_to(showcase);
        client
    }

    /// Sends everything to this showcase from now on.
    pub(crate) fn go_to(&mut self, showcase: &Showcase) {
        self.base = showcase.url().into();
    }

    /// Sends this header with every request.
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers
            .insert(name, value.parse().expect("a header of a test is valid"));
        self
    }

    pub(crate) fn get(&mut self, path: &str) -> Answer {
        self.send(Method::GET, path, None)
    }

    pub(crate) fn delete(&mut self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None)
    }

    /// POST without a body.
    pub(crate) fn post(&mut self, path: &str) -> Answer {
        self.send(Method::POST, path, Some(("text/plain", "")))
    }

    pub(crate) fn post_json(&mut self, path: &str, value: &Value) -> Answer {
        self.send_json(Method::POST, path, &value.to_string())
    }

    pub(crate) fn put(&mut self, path: &str, value: &Value) -> Answer {
        self.send_json(Method::PUT, path, &value.to_string())
    }

    pub(crate) fn send_json(&mut self, method: Method, path: &str, json: &str) -> Answer {
        self.send(method, path, Some(("application/json", json)))
    }

    pub(crate) fn post_form(&mut self, path: &str, form: &str) -> Answer {
        let body = ("application/x-www-form-urlencoded", form);
        self.send(Method::POST, path, Some(body))
    }

    pub(crate) fn login(&mut self, user: &str) -> Answer {
        self.post_json("/api/login", &json!({ "user": user }))
    }

    /// Signs in where another process has just ended all of the user's sessions. That one's clock is seen a round trip
    /// late at most, and so this may at first be taken for a login from before.
    pub(crate) fn login_after_an_end(&mut self, user: &str) {
        wait_for("the user is let in again", || {
            let answer = self.login(user);
            (answer.status == 200).then_some(()).or_else(|| {
                assert_eq!(answer.refused(), (401, "session_ended".into()));
                None
            })
        });
    }

    /// Whether it is signed in; if not, that is what it is told.
    #[track_caller]
    pub(crate) fn is_signed_in(&mut self) -> bool {
        let me = self.get("/api/me");
        me.status == 200 || {
            assert_eq!(me.refused().0, 401);
            false
        }
    }

    /// Its session's handle, which it must have.
    #[track_caller]
    pub(crate) fn handle(&mut self) -> String {
        let session = self.get("/api/session").json();
        let handle = session["handle"].as_str();
        handle.expect("the client has a session").to_owned()
    }

    /// The handles of its user's list.
    #[track_caller]
    pub(crate) fn listed(&mut self) -> BTreeSet<String> {
        let list = self.get("/api/sessions").json();
        let list = list.as_array().expect("the client is signed in");
        let handles: BTreeSet<_> = list
            .iter()
            .filter_map(|one| one["handle"].as_str().map(str::to_owned))
            .collect();
        assert_eq!(handles.len(), list.len(), "each is listed once");
        handles
    }

    pub(crate) fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Option<(&str, &str)>,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let cookies: Vec<_> = [&self.cookie, &self.demo]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect();
        if !cookies.is_empty() {
            request = request.header(header::COOKIE, cookies.join("; "));
        }
        let sent = match body {
            Some((kind, text)) => {
                let request = request.header(header::CONTENT_TYPE, kind);
                self.agent
                    .run(request.body(text).expect("a request of a test is valid"))
            }
            None => self
                .agent
                .run(request.body(()).expect("a request of a test is valid")),
        };
        let (parts, body) = sent.expect("the showcase answers").into_parts();
        let answer = Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: body
                .into_with_config()
                .limit(u64::MAX)
                .read_to_vec()
                .expect("the answer is whole"),
        };
        self.keep(&answer);
        answer
    }

    fn keep(&mut self, answer: &Answer) {
        for set in answer.set_cookies() {
            let pair = set.split(';').next().unwrap_or_default();
            let name = pair.split('=').next().unwrap_or_default();
            let kept = match name {
                "__Host-demo" | "demo" => &mut self.demo,
                _ => &mut self.cookie,
            };
            *kept = (!set.contains("Max-Age=0")).then(|| pair.to_owned());
        }
    }
}

impl Answer {
    /// The body as JSON, which it must be.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"));
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| {
            value
                .to_str()
                .expect("headers of the showcase are plain text")
        })
    }

    /// The one `Set-Cookie`, if there is one.
    pub(crate) fn set_cookie(&self) -> Option<&str> {
        assert!(self.headers.get_all(header::SET_COOKIE).iter().count() <= 1);
        self.header("set-cookie")
    }

    /// Every `Set-Cookie`, at most one of a name.
    pub(crate) fn set_cookies(&self) -> Vec<&str> {
        let all = self.headers.get_all(header::SET_COOKIE).iter();
        let all: Vec<_> = all
            .map(|value| value.to_str().expect("a cookie is plain text"))
            .collect();
        let names: BTreeSet<_> = all.iter().map(|set| set.split('=').next()).collect();
        assert_eq!(names.len(), all.len(), "a name is set once: {all:?}");
        all
    }

    /// Status and code of a refusal, which has a message, and sets no cookie.
    #[track_caller]
    pub(crate) fn refused(&self) -> (u16, String) {
        let report = self.json();
        assert!(
            report["message"]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "a refusal says what is wrong: {report}"
        );
        assert_eq!(
            self.set_cookie(),
            None,
            "a refusal sets no cookie: {report}"
        );
        let code = report["error"].as_str().expect("a refusal has a code");
        (self.status, code.to_owned())
    }
}
