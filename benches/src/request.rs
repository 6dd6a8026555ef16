//! A request as a browser sends it.

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};

const AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0";

/// The number of a request: what handlers make user ids and values from.
pub struct Number(pub u64);

impl<S: Sync> FromRequestParts<S> for Number {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        parts
            .headers
            .get("x-request-id")
            .and_then(|id| id.to_str().ok()?.parse().ok())
            .map(Number)
            .ok_or(StatusCode::BAD_REQUEST)
    }
}

/// Nine headers, with the cookie ten. Their values are shared, as a server's are with the buffer it read.
pub fn request(path: &'static str, cookie: Option<&HeaderValue>, number: u64) -> Request<Body> {
    let mut headers = HeaderMap::with_capacity(12);
    for (name, value) in [
        (header::HOST, "www.example.org"),
        (header::USER_AGENT, AGENT),
        (
            header::ACCEPT,
            "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8",
        ),
        (header::ACCEPT_LANGUAGE, "en-US,en;q=0.5"),
        (header::ACCEPT_ENCODING, "gzip, deflate, br, zstd"),
        (header::REFERER, "https://www.example.org/"),
        (header::UPGRADE_INSECURE_REQUESTS, "1"),
        (header::CACHE_CONTROL, "max-age=0"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("x-request-id", HeaderValue::from(number));
    if let Some(cookie) = cookie {
        headers.insert(header::COOKIE, cookie.clone());
    }
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = Uri::from_static(path);
    *request.headers_mut() = headers;
    request
}

/// The `Cookie` header with which a browser answers these `Set-Cookie` headers, next to a cookie of the application.
pub fn cookie(response: &HeaderMap) -> Option<HeaderValue> {
    let set = response.get(header::SET_COOKIE)?.to_str().ok()?;
    let (pair, _) = set.split_once(';')?;
    HeaderValue::try_from(format!("theme=dark; {pair}")).ok()
}
