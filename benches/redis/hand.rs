//! Written by hand: one multiplexed connection that all requests share, a `GET` to read, `GET` and `SETEX` to write.
//! No id is made, nothing is checked, and a parallel write is lost.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse};
use axum::routing::get;
use redis::aio::MultiplexedConnection;
use serde::{Deserialize, Serialize};

use super::data;

#[derive(Serialize, Deserialize)]
struct Record {
    data: String,
    last: u64,
}

pub(super) async fn app(url: &str) -> Router {
    let client = redis::Client::open(url).expect("an address");
    let connection = client
        .get_multiplexed_async_connection()
        .await
        .expect("Redis answers");
    Router::new()
        .route("/plain", get(async || "ok"))
        .route("/create", get(create))
        .route("/read", get(read))
        .route("/write", get(write))
        .with_state(connection)
}

static NUMBER: AtomicU64 = AtomicU64::new(0);

fn next() -> u64 {
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

fn id(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(header::COOKIE)?
        .to_str()
        .ok()?
        .strip_prefix("id=")
}

async fn create(State(connection): State<MultiplexedConnection>) -> impl IntoResponse {
    let id = format!("hand:{:043}", next());
    let record = Record {
        data: data(),
        last: 0,
    };
    store(connection, &id, &record).await;
    (
        AppendHeaders([(header::SET_COOKIE, format!("id={id}"))]),
        "ok",
    )
}

async fn load(mut connection: MultiplexedConnection, id: &str) -> Option<Record> {
    let bytes: Option<Vec<u8>> = redis::cmd("GET")
        .arg(id)
        .query_async(&mut connection)
        .await
        .ok()?;
    serde_json::from_slice(&bytes?).ok()
}

async fn store(mut connection: MultiplexedConnection, id: &str, record: &Record) {
    let json = serde_json::to_vec(record).expect("it is plain data");
    let _: () = redis::cmd("SETEX")
        .arg(id)
        .arg(1800)
        .arg(json)
        .query_async(&mut connection)
        .await
        .expect("Redis answers");
}

async fn read(
    State(connection): State<MultiplexedConnection>,
    headers: HeaderMap,
) -> Result<&'static str, StatusCode> {
    let id = id(&headers).ok_or(StatusCode::NOT_FOUND)?;
    match load(connection, id).await {
        Some(record) if record.data.len() == super::DATA_BYTES => Ok("ok"),
        _ => Err(StatusCode::NOT_FOUND),
    }
}

async fn write(
    State(connection): State<MultiplexedConnection>,
    headers: HeaderMap,
) -> Result<&'static str, StatusCode> {
    let id = id(&headers).ok_or(StatusCode::NOT_FOUND)?;
    let mut record = load(connection.clone(), id)
        .await
        .ok_or(StatusCode::NOT_FOUND)?;
    record.last = next();
    store(connection, id, &record).await;
    Ok("ok")
}
