//! An application that is called without a network: axum's, or actix-web's.

use std::pin::Pin;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderValue, Request, StatusCode, header};
use tower::Service;

use crate::request::{self, actix_request, cookie, request};

pub type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// An actix application as its own tests call it.
pub type ActixService =
    Box<dyn Fn(actix_http::Request) -> LocalFuture<'static, actix_web::dev::ServiceResponse>>;

pub enum App {
    Axum(Router),
    Actix(ActixService),
}

/// What its requests are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Axum,
    /// With the address of the peer, which `session-guard` does not serve without.
    AxumWithAddress,
    Actix,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Axum, Self::AxumWithAddress, Self::Actix];

    pub fn build(self, path: &'static str, cookie: Option<&HeaderValue>, number: u64) -> Ask {
        match self {
            Self::Axum => Ask::Axum(request(path, cookie, number)),
            Self::AxumWithAddress => {
                let mut request = request(path, cookie, number);
                request.extensions_mut().insert(request::peer());
                Ask::Axum(request)
            }
            Self::Actix => Ask::Actix(actix_request(path, cookie, number)),
        }
    }
}

pub enum Ask {
    Axum(Request<Body>),
    Actix(actix_http::Request),
}

pub enum Reply {
    Axum(axum::http::Response<Body>),
    Actix(actix_web::dev::ServiceResponse),
}

impl App {
    /// As a server calls it, which makes the service once.
    ///
    /// # Panics
    ///
    /// If the request is of the other kind.
    pub async fn call(&mut self, ask: Ask) -> Reply {
        match (self, ask) {
            (Self::Axum(router), Ask::Axum(request)) => Reply::Axum(call(router, request).await),
            (Self::Actix(service), Ask::Actix(request)) => Reply::Actix(service(request).await),
            _ => panic!("a request of another kind"),
        }
    }
}

impl Reply {
    pub fn status(&self) -> u16 {
        match self {
            Self::Axum(response) => response.status().as_u16(),
            Self::Actix(response) => response.status().as_u16(),
        }
    }

    pub fn is_ok(&self) -> bool {
        self.status() == StatusCode::OK.as_u16()
    }

    pub fn sets_cookie(&self) -> bool {
        match self {
            Self::Axum(response) => response.headers().contains_key(header::SET_COOKIE),
            Self::Actix(response) => response
                .headers()
                .contains_key(actix_web::http::header::SET_COOKIE),
        }
    }

    /// The `Cookie` header with which a browser answers, if a cookie was set.
    pub fn cookie(&self) -> Option<HeaderValue> {
        match self {
            Self::Axum(response) => cookie(
                response
                    .headers()
                    .get_all(header::SET_COOKIE)
                    .iter()
                    .map(HeaderValue::as_bytes),
            ),
            Self::Actix(response) => cookie(
                response
                    .headers()
                    .get_all(actix_web::http::header::SET_COOKIE)
                    .map(|value| value.as_bytes()),
            ),
        }
    }

    /// # Panics
    ///
    /// If the body is no text: handlers answer with text.
    pub async fn text(self) -> String {
        let bytes = match self {
            Self::Axum(response) => to_bytes(response.into_body(), 1 << 20)
                .await
                .expect("it is in memory"),
            Self::Actix(response) => actix_web::body::to_bytes(response.into_body())
                .await
                .unwrap_or_else(|error| panic!("it is in memory: {error}")),
        };
        String::from_utf8(bytes.into()).expect("handlers answer with text")
    }
}

/// As a server calls it, which makes the router's service once.
pub async fn call(router: &mut Router, request: Request<Body>) -> axum::http::Response<Body> {
    match router.call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
