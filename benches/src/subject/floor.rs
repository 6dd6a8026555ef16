//! No sessions: a layer that does nothing, and handlers that make the data and drop it.

use std::hint::black_box;
use std::task::{Context, Poll};

use axum::Router;
use axum::routing::get;
use tower::{Layer, Service};

use super::{data, plain, user};
use crate::request::Number;

pub(super) fn router() -> Router {
    Router::new()
        .route("/plain", get(plain))
        .route("/read", get(plain))
        .route("/write", get(write))
        .route("/create", get(create))
        .route("/login", get(login))
        .layer(Nothing)
        .with_state(())
}

async fn write(number: Number) -> &'static str {
    black_box(number.0);
    "ok"
}

async fn create() -> &'static str {
    black_box(data());
    "ok"
}

async fn login(number: Number) -> &'static str {
    black_box(user(number.0));
    "ok"
}

#[derive(Clone, Copy)]
struct Nothing;

impl<S> Layer<S> for Nothing {
    type Service = Through<S>;

    fn layer(&self, inner: S) -> Through<S> {
        Through(inner)
    }
}

#[derive(Clone)]
struct Through<S>(S);

impl<S: Service<R>, R> Service<R> for Through<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.0.call(request)
    }
}
