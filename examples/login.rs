//! Signing in with a form and a password: `cargo run --example login`, then open <http://localhost:3000>.
//!
//! alice's password is `wonderland`, bob's `builder`.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::Form;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::{Router, routing::get, routing::post};
use maud::{DOCTYPE, Markup, html};
use serde::Deserialize;
use sessile::{AtLimit, Error, Handle, Key, MemoryStore, Session, SessionLayer, UserSession};

/// What a stranger may gather, and keeps when they sign in. Everything else of before stays behind.
const CART: Key<Vec<String>> = Key::new("cart");

/// Not like this: a real application stores a hash of each password (Argon2id, with the crate `argon2`), checks it on a
/// thread for blocking work, takes as long for a name that does not exist, and counts failures.
const USERS: [(&str, &str); 2] = [("alice", "wonderland"), ("bob", "builder")];

#[derive(Deserialize)]
struct Credentials {
    user: String,
    password: String,
}

async fn sign_in(session: Session, Form(form): Form<Credentials>) -> Result<Response, Error> {
    if !USERS.contains(&(form.user.as_str(), form.password.as_str())) {
        // The same words for a wrong name and a wrong password, and the session stays what it was.
        let page = home_page(&session, Some("Name and password do not match.")).await?;
        return Ok((StatusCode::UNAUTHORIZED, page).into_response());
    }
    session.login(form.user).keep(CART).await?;
    Ok(Redirect::to("/").into_response())
}

async fn sign_out(session: Session) -> Result<Redirect, Error> {
    session.logout().await?;
    Ok(Redirect::to("/"))
}

#[derive(Deserialize)]
struct Device {
    handle: Handle,
}

/// Only the user's own sessions can be ended by this, whatever handle the form brings.
async fn end(user: UserSession, Form(device): Form<Device>) -> Result<Redirect, Error> {
    user.end(device.handle).await?;
    Ok(Redirect::to("/"))
}

#[derive(Deserialize)]
struct Item {
    item: String,
}

async fn add(session: Session, Form(form): Form<Item>) -> Result<Redirect, Error> {
    let mut cart = session.get(CART)?.unwrap_or_default();
    cart.push(form.item);
    session.insert(CART, &cart)?;
    Ok(Redirect::to("/"))
}

async fn home(session: Session) -> Result<Html<String>, Error> {
    home_page(&session, None).await
}

async fn home_page(session: &Session, complaint: Option<&str>) -> Result<Html<String>, Error> {
    let cart = session.get(CART)?.unwrap_or_default();
    let main = match session.user() {
        None => html! {
            @if let Some(end) = session.end() { p { "Your session is over: " (end.reason) "." } }
            @if let Some(complaint) = complaint { p role="alert" { (complaint) } }
            form method="post" action="/sign-in" {
                p { label { "Name " input name="user" autocomplete="username" required; } }
                p { label { "Password " input name="password" type="password" autocomplete="current-password" required; } }
                button { "Sign in" }
            }
        },
        Some(user) => html! {
            p { "You are " strong { (user.user_id()) } "." }
            form method="post" action="/sign-out" { button { "Sign out" } }
            h2 { "Where you are signed in" }
            ul { @for device in user.sessions().await? { li {
                (device.user_agent.as_deref().unwrap_or("unknown")) " at "
                (device.address.as_deref().unwrap_or("an unknown address"))
                @if device.current { " (here)" } @else {
                    form method="post" action="/end" {
                        button name="handle" value=(device.handle) { "Sign out there" }
                    }
                }
            } } }
        },
    };
    Ok(Html(page(&main, &cart).into_string()))
}

fn page(main: &Markup, cart: &[String]) -> Markup {
    html! { (DOCTYPE) html lang="en" {
        head { meta charset="utf-8"; meta name="viewport" content="width=device-width"; title { "Login" } }
        body {
            (main)
            h2 { "Cart" }
            ul { @for item in cart { li { (item) } } }
            form method="post" action="/add" { label { "Item " input name="item" required; } button { "Add" } }
        }
    } }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sessions = SessionLayer::builder(MemoryStore::new())
        .idle_timeout(Duration::from_secs(15 * 60))
        .max_sessions_per_user(5, AtLimit::EndOldest)
        .build()?;
    let app = Router::new()
        .route("/", get(home))
        .route("/sign-in", post(sign_in))
        .route("/sign-out", post(sign_out))
        .route("/end", post(end))
        .route("/add", post(add))
        .layer(sessions)
        .into_make_service_with_connect_info::<SocketAddr>();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    Ok(axum::serve(listener, app).await?)
}
