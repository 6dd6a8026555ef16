//! The demo for people: choose an industry, converse, watch how far it is, sign in and keep it.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Form, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use sessile::{Demo, DemoSession, Error, ErrorKind, Session, UserSession};

use super::conversation;
use crate::problems::Refusal;
use crate::{Server, assistant, identity};

/// The longest message, in characters.
pub(super) const LONGEST: usize = 2000;

pub(super) fn routes() -> Router<Arc<Server>> {
    Router::new()
        .route("/demo", get(show))
        .route("/demo/start", post(start))
        .route("/demo/say", post(say))
        .route("/demo/keep", post(keep))
        .route("/demo/end", post(end))
}

/// Where every form leads.
fn demo_again() -> Redirect {
    Redirect::to("/demo")
}

#[derive(Deserialize)]
struct Arrival {
    /// Set by the redirect after starting one.
    started: Option<String>,
    /// Set by the redirect after signing in.
    #[serde(rename = "signed-in")]
    signed_in: Option<String>,
}

async fn show(
    State(server): State<Arc<Server>>,
    session: Session,
    demo: Demo,
    Query(arrival): Query<Arrival>,
) -> Result<Response, Error> {
    let user = session.user();
    let gone = demo.require().err();
    let is_new = gone.as_ref().is_some_and(|gone| gone.reason().is_none());
    // What worked, and yet the browser did not keep the cookie of.
    let lost = if arrival.started.is_some() && is_new {
        Some("You started a demo")
    } else if arrival.signed_in.is_some() && user.is_none() && session.end().is_none() {
        Some("You signed in")
    } else {
        None
    };
    if lost.is_none() && (arrival.started.is_some() || arrival.signed_in.is_some()) {
        return Ok(demo_again().into_response());
    }
    let page = match (demo.get(), gone) {
        (Some(demo), _) if is_anothers(&demo, &session) => {
            conversation::somebodys(&server, &demo.status()?, lost)
        }
        (Some(demo), _) => {
            let whose = conversation::Whose {
                demos: demo.user_id(),
                here: user.map(|user| user.user_id().clone()),
            };
            let (status, messages) = (demo.status()?, demo.messages()?);
            conversation::page(&server, &status, &messages, &whose, lost)
        }
        (None, gone) => conversation::choice(&server, gone.as_ref(), lost),
    };
    Ok(page.into_response())
}

/// Whoever holds its cookie may read a demo, as far as sessile is concerned. Here it is more than that: what a user took
/// along is not shown to the next one who sits down at the same browser.
fn is_anothers(demo: &DemoSession, session: &Session) -> bool {
    let here = session.user();
    demo.user_id()
        .is_some_and(|whose| here.is_none_or(|user| *user.user_id() != whose))
}

#[derive(Deserialize)]
struct Wish {
    industry: String,
}

/// Who is signed in has it from the beginning.
async fn start(
    demo: Demo,
    user: Option<UserSession>,
    Form(wish): Form<Wish>,
) -> Result<Redirect, Error> {
    match user {
        Some(user) => demo.start_for(wish.industry, user.user_id()).await?,
        None => demo.start(wish.industry).await?,
    };
    Ok(Redirect::to("/demo?started=1"))
}

#[derive(Deserialize)]
struct Said {
    content: String,
}

async fn say(
    session: Session,
    demo: Option<DemoSession>,
    Form(said): Form<Said>,
) -> Result<Redirect, Refusal> {
    // The next page says why there is none.
    let Some(demo) = demo.filter(|demo| !is_anothers(demo, &session)) else {
        return Ok(demo_again());
    };
    let content = said.content.trim();
    if content.is_empty() || content.chars().count() > LONGEST {
        return Err(Refusal::invalid(format!(
            "A message has 1 to {LONGEST} characters."
        )));
    }
    match converse(&demo, content).await {
        // It ended before this form was sent.
        Err(error) if error.kind() == ErrorKind::NoDemoSession => Ok(demo_again()),
        Err(error) => Err(error.into()),
        Ok(()) => Ok(Redirect::to("/demo#latest")),
    }
}

/// Each message is stored when its future is done, before anything is answered.
async fn converse(demo: &DemoSession, question: &str) -> Result<(), Error> {
    let began = Instant::now();
    let before = demo.messages()?;
    let asked = before
        .iter()
        .filter(|message| message.role == "user")
        .count();
    demo.add_message("user", question).await?;
    let answer = assistant::answer(&demo.status()?.industry, question, asked);
    let micros = began.elapsed().as_micros();
    demo.add_message("assistant", answer.content)
        .with("confidence", answer.confidence)
        .with("sources", answer.sources)
        .with("processing_time_ms", micros as f64 / 1000.0)
        .await?;
    Ok(())
}

#[derive(Deserialize)]
struct SignIn {
    user: String,
}

/// Signs in, and brings the conversation along. A real application checks a password first.
async fn keep(session: Session, Form(form): Form<SignIn>) -> Result<Redirect, Error> {
    session
        .login(form.user)
        .keep(identity::CART)
        .adopt_demo()
        .await?;
    Ok(Redirect::to("/demo?signed-in=1"))
}

async fn end(demo: Option<DemoSession>) -> Result<Redirect, Error> {
    if let Some(demo) = demo {
        demo.end().await?;
    }
    Ok(demo_again())
}
