//! A demo: a session of the second kind, with an industry, a conversation and how far it is.
//!
//! It has a cookie of its own, and is there beside a user's session or without one.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sessile::demo::{DemoStatus, Message};
use sessile::{Demo, DemoSession, Error, Handle, Industry, Outcome};

use crate::Server;
use crate::object::Object;
use crate::pages::safety::refuse_foreign_forms;
use crate::time::Instant;

pub(crate) fn routes() -> Router<Arc<Server>> {
    Router::new()
        .route("/api/demo", post(start).get(status).delete(end))
        .route("/api/demo/messages", post(add).get(messages))
        // A demo is started by a request that any form can send: it needs neither a body nor a cookie.
        .layer(middleware::from_fn(refuse_foreign_forms))
}

#[derive(Serialize)]
struct Status {
    session_id: Handle,
    industry: Industry,
    started_at: Instant,
    ends_at: Instant,
    message_count: usize,
    progress_percentage: f64,
    status: &'static str,
    last_interaction: Option<Instant>,
}

impl From<DemoStatus> for Status {
    fn from(status: DemoStatus) -> Self {
        Self {
            session_id: status.session_id,
            industry: status.industry,
            started_at: Instant(status.started_at),
            ends_at: Instant(status.ends_at),
            message_count: status.message_count,
            progress_percentage: status.progress_percentage,
            status: status.status.as_str(),
            last_interaction: status.last_interaction.map(Instant),
        }
    }
}

/// The one that there is, if there is one, as it is.
async fn start(demo: Demo, Wish(industry): Wish) -> Result<(StatusCode, Json<Status>), Error> {
    let there = demo.get().is_some();
    let demo = demo.start(industry).await?;
    let made = if there {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    Ok((made, Json(demo.status()?.into())))
}

#[derive(Deserialize)]
struct Wished {
    industry: Option<String>,
}

/// The industry that somebody wants; empty for none: `{"industry":null}`, `{}`, or no body at all.
struct Wish(String);

impl<S: Send + Sync> FromRequest<S> for Wish {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let (parts, body) = request.into_parts();
        let request = Request::from_parts(parts.clone(), body);
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(IntoResponse::into_response)?;
        if body.trim_ascii().is_empty() {
            return Ok(Self(String::new()));
        }
        let request = Request::from_parts(parts, body.into());
        let wished: Result<Json<Object<Wished>>, _> = Json::from_request(request, state).await;
        let Json(Object(wished)) = wished.map_err(IntoResponse::into_response)?;
        Ok(Self(wished.industry.unwrap_or_default()))
    }
}

/// To anybody without a demo the extractor answers 404, with the reason where theirs ended.
async fn status(demo: DemoSession) -> Result<Json<Status>, Error> {
    Ok(Json(demo.status()?.into()))
}

/// One that is over needs no complaint.
async fn end(demo: Option<DemoSession>) -> Result<StatusCode, Error> {
    let Some(demo) = demo else {
        return Ok(StatusCode::NO_CONTENT);
    };
    Ok(match demo.end().await? {
        Outcome::Committed | Outcome::Nothing => StatusCode::NO_CONTENT,
        Outcome::Pending => StatusCode::ACCEPTED,
    })
}

/// What else the client says of it is metadata.
#[derive(Deserialize)]
struct Posted {
    role: String,
    content: String,
    #[serde(flatten)]
    metadata: Map<String, Value>,
}

#[derive(Serialize)]
struct Said {
    role: String,
    content: String,
    #[serde(flatten)]
    metadata: Map<String, Value>,
    timestamp: Instant,
}

impl From<Message> for Said {
    fn from(message: Message) -> Self {
        Self {
            role: message.role,
            content: message.content,
            metadata: message.metadata,
            timestamp: Instant(message.timestamp),
        }
    }
}

/// However many say something at once, all of it is there, and has an order.
async fn add(
    demo: DemoSession,
    Json(Object(posted)): Json<Object<Posted>>,
) -> Result<(StatusCode, Json<Said>), Error> {
    let mut metadata = posted.metadata;
    // Those who wrote to the system before this one said when it was. Here the store says it, and theirs is no metadata.
    metadata.remove("timestamp");
    let message = demo
        .add_message(posted.role, posted.content)
        .metadata(metadata)
        .await?;
    Ok((StatusCode::CREATED, Json(message.into())))
}

async fn messages(demo: DemoSession) -> Result<Json<Vec<Said>>, Error> {
    Ok(Json(demo.messages()?.into_iter().map(Said::from).collect()))
}
