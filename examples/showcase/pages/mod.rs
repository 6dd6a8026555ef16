//! The pages: plain HTML, forms that POST and are answered with a redirect. One has a script, and works without it.

mod conversation;
mod demo;
mod home;
mod list;
mod look;
mod refused;
pub(crate) mod safety;
mod security;
mod store;

use std::sync::Arc;

use axum::extract::{Form, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Router, middleware};
use serde::Deserialize;
use sessile::{Error, Handle, Session, UserSession};

use crate::{Server, identity};

pub(crate) use refused::page as refused;

pub(crate) fn routes() -> Router<Arc<Server>> {
    Router::new()
        .route("/", get(home))
        .route("/sign-in", post(sign_in))
        .route("/sign-out", post(sign_out))
        .route("/regenerate", post(regenerate))
        .route("/sessions/end", post(end))
        .route("/sessions/end-others", post(end_others))
        .route("/list/{name}/add", post(list::add))
        .route("/list/{name}/remove", post(list::remove))
        .route("/security", get(security::page))
        .route("/activity", post(security::record))
        .route("/store", get(store::page))
        .merge(demo::routes())
        .route("/style.css", get(style))
        .route("/live.js", get(script))
        .layer(middleware::from_fn(safety::refuse_foreign_forms))
}

/// Where every form leads: so that going back or reloading repeats nothing.
fn home_again() -> Redirect {
    Redirect::to("/")
}

#[derive(Deserialize)]
struct Arrival {
    /// Set by the redirect after signing in.
    #[serde(rename = "signed-in")]
    signed_in: Option<String>,
}

async fn home(
    State(server): State<Arc<Server>>,
    session: Session,
    Query(arrival): Query<Arrival>,
) -> Result<Response, Error> {
    let Some(user) = session.user() else {
        let cookie_lost = arrival.signed_in.is_some() && session.end().is_none();
        return Ok(home::for_strangers(&server, &session, cookie_lost).into_response());
    };
    if arrival.signed_in.is_some() {
        return Ok(home_again().into_response());
    }
    let devices = user.sessions().await?;
    Ok(home::for_users(&server, &user, &devices).into_response())
}

#[derive(Deserialize)]
struct SignIn {
    user: String,
    #[serde(default)]
    remember: Option<String>,
}

/// A real application checks a password first. The redirect tells the next page to look whether the cookie came back.
async fn sign_in(session: Session, Form(form): Form<SignIn>) -> Result<Redirect, Error> {
    let mut login = session.login(form.user).keep(identity::CART);
    if form.remember.is_some() {
        login = login.remember();
    }
    login.await?;
    Ok(Redirect::to("/?signed-in=1"))
}

async fn sign_out(session: Session) -> Result<Redirect, Error> {
    session.logout().await?;
    Ok(home_again())
}

async fn regenerate(session: Session) -> Result<Redirect, Error> {
    session.regenerate_id().await?;
    Ok(home_again())
}

#[derive(Deserialize)]
struct Device {
    handle: Handle,
}

/// One that is over already needs no complaint: it is not in the list any more.
async fn end(user: UserSession, Form(device): Form<Device>) -> Result<Redirect, Error> {
    user.end(device.handle).await?;
    Ok(home_again())
}

async fn end_others(user: UserSession) -> Result<Redirect, Error> {
    user.end_others().await?;
    Ok(home_again())
}

async fn script() -> impl IntoResponse {
    (
        [
            (header::CONTENT_TYPE, "text/javascript; charset=utf-8"),
            (header::CACHE_CONTROL, "max-age=300"),
        ],
        include_str!("live.js"),
    )
}

async fn style() -> impl IntoResponse {
    (
        [
            (header::CONTENT_TYPE, "text/css; charset=utf-8"),
            (header::CACHE_CONTROL, "max-age=300"),
        ],
        include_str!("style.css"),
    )
}
