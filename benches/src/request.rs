//! A request as a browser sends it.

use std::future::{Ready, ready};
use std::net::SocketAddr;

use actix_web::FromRequest;
use axum::body::Body;
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};

const HEADERS: [(header::HeaderName, &str); 8] = [
    (header::HOST, "www.example.org"),
    (
        header::USER_AGENT,
        "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    ),
    (
        header::ACCEPT,
        "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8",
    ),
    (header::ACCEPT_LANGUAGE, "en-US,en;q=0.5"),
    (header::ACCEPT_ENCODING, "gzip, deflate, br, zstd"),
    (header::REFERER, "https://www.example.org/"),
    (header::UPGRADE_INSECURE_REQUESTS, "1"),
    (header::CACHE_CONTROL, "max-age=0"),
];

/// The header with a request's number.
const NUMBER: &str = "x-request-id";

/// The number of a request: what handlers make user ids and values from.
pub struct Number(pub u64);

impl<S: Sync> FromRequestParts<S> for Number {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        parts
            .headers
            .get(NUMBER)
            .and_then(|id| id.to_str().ok()?.parse().ok())
            .map(Number)
            .ok_or(StatusCode::BAD_REQUEST)
    }
}

impl FromRequest for Number {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, actix_web::Error>>;

    fn from_request(
        request: &actix_web::HttpRequest,
        _: &mut actix_web::dev::Payload,
    ) -> Self::Future {
        let number = request
            .headers()
            .get(NUMBER)
            .and_then(|id| id.to_str().ok()?.parse().ok());
        ready(
            number
                .map(Number)
                .ok_or_else(|| actix_web::error::ErrorBadRequest("no number")),
        )
    }
}

/// Nine headers, with the cookie ten. Their values are shared, as a server's are with the buffer it read.
pub fn request(path: &'static str, cookie: Option<&HeaderValue>, number: u64) -> Request<Body> {
    let mut headers = HeaderMap::with_capacity(12);
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(NUMBER, HeaderValue::from(number));
    if let Some(cookie) = cookie {
        headers.insert(header::COOKIE, cookie.clone());
    }
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = Uri::from_static(path);
    *request.headers_mut() = headers;
    request
}

/// The address that a server adds for those who need it.
pub fn peer() -> ConnectInfo<SocketAddr> {
    ConnectInfo(SocketAddr::from(([203, 0, 113, 7], 40_000)))
}

/// The same for actix-web, which has a version of its own of these types.
pub fn actix_request(
    path: &'static str,
    cookie: Option<&HeaderValue>,
    number: u64,
) -> actix_http::Request {
    use actix_http::header::{HeaderName, HeaderValue};

    let mut request = actix_http::Request::new();
    request.head_mut().uri = actix_http::Uri::from_static(path);
    let headers = &mut request.head_mut().headers;
    headers.reserve(12);
    for (name, value) in &ACTIX_HEADERS {
        headers.insert(name.clone(), HeaderValue::from_static(value));
    }
    headers.insert(HeaderName::from_static(NUMBER), HeaderValue::from(number));
    if let Some(cookie) = cookie {
        let value =
            HeaderValue::from_bytes(cookie.as_bytes()).expect("it is one of the other kind");
        headers.insert(actix_http::header::COOKIE, value);
    }
    request
}

const ACTIX_HEADERS: [(actix_http::header::HeaderName, &str); 8] = {
    use actix_http::header;
    [
        (header::HOST, HEADERS[0].1),
        (header::USER_AGENT, HEADERS[1].1),
        (header::ACCEPT, HEADERS[2].1),
        (header::ACCEPT_LANGUAGE, HEADERS[3].1),
        (header::ACCEPT_ENCODING, HEADERS[4].1),
        (header::REFERER, HEADERS[5].1),
        (header::UPGRADE_INSECURE_REQUESTS, HEADERS[6].1),
        (header::CACHE_CONTROL, HEADERS[7].1),
    ]
};

/// The `Cookie` header with which a browser answers these `Set-Cookie` headers, next to a cookie of the application.
/// One that is set to nothing is one that is removed.
pub fn cookie<'a>(set: impl Iterator<Item = &'a [u8]>) -> Option<HeaderValue> {
    let mut header = String::from("theme=dark");
    let before = header.len();
    for set in set {
        let (pair, _) = std::str::from_utf8(set).ok()?.split_once(';')?;
        if !pair.ends_with('=') {
            header.push_str("; ");
            header.push_str(pair);
        }
    }
    if header.len() == before {
        return None;
    }
    HeaderValue::try_from(header).ok()
}
