//! Values in a session: staged by `insert`, stored by `commit` or with the response, counted by `update`.
//!
//! They are kept as the JSON text that came ([`RawValue`]), so that a number goes out as it came in, to the digit. An
//! application with types of its own has a constant for each value instead: `const CART: Key<Cart> = Key::new("cart")`.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sessile::{ErrorKind, Key, Outcome, Session};

use crate::problems::Refusal;

/// The longest that a slow request sleeps.
const SLOWEST: Duration = Duration::from_secs(60);

type Value = Box<RawValue>;

/// What a session holds under this name, as this request sees it.
pub(crate) async fn read(
    session: Session,
    Path(name): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let value = session.get(Key::<Value>::named(name)?)?;
    value.map(Json).ok_or_else(Refusal::not_found)
}

/// Waits until the store has it. Without the `commit` it would be stored with the response, as well; but then this
/// could not say 202 where it is only noted, because the store is away.
pub(crate) async fn write(
    session: Session,
    Path(name): Path<String>,
    Json(value): Json<Value>,
) -> Result<StatusCode, Refusal> {
    session.insert(Key::<Value>::named(name)?, &value)?;
    Ok(match session.commit().await? {
        Outcome::Committed | Outcome::Nothing => StatusCode::NO_CONTENT,
        Outcome::Pending => StatusCode::ACCEPTED,
    })
}

pub(crate) async fn remove(
    session: Session,
    Path(name): Path<String>,
) -> Result<StatusCode, Refusal> {
    session.remove(Key::<Value>::named(name)?)?;
    Ok(match session.commit().await? {
        Outcome::Committed | Outcome::Nothing => StatusCode::NO_CONTENT,
        Outcome::Pending => StatusCode::ACCEPTED,
    })
}

#[derive(Serialize)]
pub(crate) struct Count {
    value: i64,
}

/// One more, atomically: however many do it at once, none is lost.
pub(crate) async fn count(
    session: Session,
    Path(name): Path<String>,
) -> Result<Json<Count>, Refusal> {
    let counted = session
        .update(Key::<i64>::named(name)?, |value| {
            value.unwrap_or(0).saturating_add(1)
        })
        .await;
    match counted {
        Ok(value) => Ok(Json(Count { value })),
        // Here it is no fault of the server: whoever counts put something else there before.
        Err(error) if error.kind() == ErrorKind::InvalidValue => {
            Err(Refusal::invalid("what is there is no integer"))
        }
        Err(error) => Err(error.into()),
    }
}

#[derive(Deserialize)]
pub(crate) struct Slowness {
    #[serde(default)]
    ms: u64,
}

/// Reads the session, stages a value and takes its time: what happens to the session meanwhile decides what becomes of
/// the value, and of this response.
pub(crate) async fn slow(
    session: Session,
    Path(name): Path<String>,
    Query(slowness): Query<Slowness>,
    Json(value): Json<Value>,
) -> Result<StatusCode, Refusal> {
    session.insert(Key::<Value>::named(name)?, &value)?;
    tokio::time::sleep(Duration::from_millis(slowness.ms).min(SLOWEST)).await;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
pub(crate) struct Staged {
    key: Option<String>,
}

/// Stages a value and answers as asked: from 500 on, what is staged is dropped.
pub(crate) async fn fail(
    session: Session,
    Path(status): Path<String>,
    Query(staged): Query<Staged>,
) -> Result<Response, Refusal> {
    // Below 200 there are no final answers in HTTP.
    let status = status
        .parse()
        .ok()
        .filter(|code| (200..=999).contains(code))
        .and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or_else(|| Refusal::invalid("a status from 200 to 999 is needed"))?;
    if let Some(name) = staged.key {
        session.insert(Key::<bool>::named(name)?, &true)?;
    }
    Ok(if status.as_u16() < 400 {
        status.into_response()
    } else {
        Refusal::new(status, "failed", "This fails, as it was asked to.").into_response()
    })
}
