//! Written by hand: one multiplexed connection that all requests share, a `GET` to read, `GET` and `SETEX` to write, and
//! for a login a new key and `DEL` of the old one in one pipeline. Nothing is checked, and a parallel write is lost.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse};
use axum::routing::get;
use redis::aio::MultiplexedConnection;
use serde::{Deserialize, Serialize};

use super::{DATA_BYTES, data, plain, user};
use crate::request::Number;

#[derive(Serialize, Deserialize, Default)]
struct Record {
    data: String,
    last: u64,
    user: Option<String>,
}

/// In seconds.
const IDLE: u64 = 1800;

pub(super) async fn router(url: &str) -> Router {
    let client = redis::Client::open(url).expect("an address");
    let connection = client
        .get_multiplexed_async_connection()
        .await
        .expect("Redis answers");
    Router::new()
        .route("/plain", get(plain))
        .route("/create", get(create))
        .route("/enter", get(enter))
        .route("/login", get(login))
        .route("/read", get(read))
        .route("/write", get(write))
        .route("/last", get(last))
        .route("/me", get(me))
        .with_state(connection)
}

/// Counted where everything else draws random ids: the least that can be.
fn new_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("hand:{:043}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn id(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get(header::COOKIE)?.to_str().ok()?;
    cookies
        .split("; ")
        .find_map(|pair| pair.strip_prefix("id="))
}

async fn load(connection: &mut MultiplexedConnection, id: &str) -> Option<Record> {
    let bytes: Option<Vec<u8>> = redis::cmd("GET")
        .arg(id)
        .query_async(connection)
        .await
        .ok()?;
    serde_json::from_slice(&bytes?).ok()
}

async fn store(connection: &mut MultiplexedConnection, id: &str, record: &Record) {
    let json = serde_json::to_vec(record).expect("it is plain data");
    let _: () = redis::cmd("SETEX")
        .arg(id)
        .arg(IDLE)
        .arg(json)
        .query_async(connection)
        .await
        .expect("Redis answers");
}

type Connection = State<MultiplexedConnection>;

async fn create(State(mut connection): Connection) -> impl IntoResponse {
    let record = Record {
        data: data(),
        ..Record::default()
    };
    let id = new_id();
    store(&mut connection, &id, &record).await;
    with_cookie(&id)
}

async fn enter(State(mut connection): Connection, number: Number) -> impl IntoResponse {
    let record = Record {
        data: data(),
        last: 0,
        user: Some(user(number.0)),
    };
    let id = new_id();
    store(&mut connection, &id, &record).await;
    with_cookie(&id)
}

async fn login(
    State(mut connection): Connection,
    headers: HeaderMap,
    number: Number,
) -> Result<impl IntoResponse, StatusCode> {
    let old = id(&headers).ok_or(StatusCode::NOT_FOUND)?;
    let mut record = load(&mut connection, old)
        .await
        .ok_or(StatusCode::NOT_FOUND)?;
    record.user = Some(user(number.0));
    let json = serde_json::to_vec(&record).expect("it is plain data");
    let id = new_id();
    let _: () = redis::pipe()
        .set_ex(&id, json, IDLE)
        .del(old)
        .query_async(&mut connection)
        .await
        .expect("Redis answers");
    Ok(with_cookie(&id))
}

fn with_cookie(id: &str) -> impl IntoResponse + use<> {
    let set = format!("id={id}; Path=/; HttpOnly; Secure; SameSite=Lax");
    (AppendHeaders([(header::SET_COOKIE, set)]), "ok")
}

async fn loaded(
    connection: &mut MultiplexedConnection,
    headers: &HeaderMap,
) -> Result<Record, StatusCode> {
    let id = id(headers).ok_or(StatusCode::NOT_FOUND)?;
    load(connection, id).await.ok_or(StatusCode::NOT_FOUND)
}

async fn read(
    State(mut connection): Connection,
    headers: HeaderMap,
) -> Result<&'static str, StatusCode> {
    match loaded(&mut connection, &headers).await?.data.len() {
        DATA_BYTES => Ok("ok"),
        _ => Err(StatusCode::NOT_FOUND),
    }
}

async fn write(
    State(mut connection): Connection,
    headers: HeaderMap,
    number: Number,
) -> Result<&'static str, StatusCode> {
    let mut record = loaded(&mut connection, &headers).await?;
    record.last = number.0;
    let id = id(&headers).ok_or(StatusCode::NOT_FOUND)?;
    store(&mut connection, id, &record).await;
    Ok("ok")
}

async fn last(State(mut connection): Connection, headers: HeaderMap) -> Result<String, StatusCode> {
    let record = loaded(&mut connection, &headers).await?;
    Ok(record.last.to_string())
}

async fn me(State(mut connection): Connection, headers: HeaderMap) -> Result<String, StatusCode> {
    let record = loaded(&mut connection, &headers).await?;
    record.user.ok_or(StatusCode::UNAUTHORIZED)
}
