//! What the tests of the system before this one checked of its demos, and what was wrong with them: here each is a test of
//! the public interface. `reference`: it checked this; `fault`: it did this, which must not come back.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::Path;
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::future::join_all;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sessile::demo::{DemoStatus, Message};
use sessile::{Demo, DemoSession, Error, Kind, SessionLayer};

use crate::harness::{Client, Reply};
use crate::stores::{TestStore, on_every_store};

const DEMO: &str = "__Host-demo";

fn app(store: &impl TestStore) -> Router {
    Router::new()
        .route("/start/{industry}", post(start))
        .route("/start/{industry}/{user}", post(start_for))
        .route(
            "/status",
            get(async |demo: DemoSession| demo.status().map(shown)),
        )
        .route("/say", post(say))
        .route("/messages", get(messages))
        .route(
            "/user",
            get(async |demo: DemoSession| demo.user_id().map_or("none".into(), |u| u.to_string())),
        )
        .layer(SessionLayer::new(store.clone()))
}

async fn start(demo: Demo, Path(industry): Path<String>) -> Result<Json<Value>, Error> {
    shown_of(&demo.start(industry).await?)
}

async fn start_for(
    demo: Demo,
    Path((industry, user)): Path<(String, i64)>,
) -> Result<Json<Value>, Error> {
    shown_of(&demo.start_for(industry, user).await?)
}

fn shown_of(demo: &DemoSession) -> Result<Json<Value>, Error> {
    demo.status().map(shown)
}

fn shown(status: DemoStatus) -> Json<Value> {
    Json(json!({
        "session_id": status.session_id, "industry": status.industry, "started_at": micros(status.started_at),
        "message_count": status.message_count, "progress_percentage": status.progress_percentage,
        "status": status.status.as_str(), "last_interaction": status.last_interaction.map(micros),
    }))
}

fn micros(at: SystemTime) -> u64 {
    let since_1970 = at.duration_since(UNIX_EPOCH).unwrap();
    since_1970.as_micros().try_into().unwrap()
}

#[derive(Deserialize)]
struct Said {
    role: String,
    content: String,
    #[serde(default)]
    metadata: Map<String, Value>,
}

async fn say(demo: DemoSession, Json(said): Json<Said>) -> Result<Json<Value>, Error> {
    let message = demo.add_message(said.role, said.content);
    Ok(Json(flat(message.metadata(said.metadata).await?)))
}

async fn messages(demo: DemoSession) -> Result<Json<Vec<Value>>, Error> {
    Ok(Json(demo.messages()?.into_iter().map(flat).collect()))
}

fn flat(message: Message) -> Value {
    json!({
        "role": message.role, "content": message.content, "metadata": message.metadata,
        "timestamp": micros(message.timestamp),
    })
}

async fn said(client: &mut Client, message: &Value) -> Reply {
    let mut request = client.request("POST", "/say");
    *request.body_mut() = Body::from(message.to_string());
    let json = http::HeaderValue::from_static("application/json");
    request
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, json);
    client.send(request).await
}

fn text(content: &str) -> Value {
    json!({ "role": "user", "content": content })
}

async fn read(client: &mut Client, path: &str) -> Value {
    serde_json::from_str(&client.get(path).await.ok()).unwrap()
}

async fn started(app: &Router) -> Client {
    let mut client = Client::new(app);
    client.post("/start/healthcare").await.ok();
    client
}

#[track_caller]
fn is_none(reply: &Reply) {
    assert_eq!(reply.status, StatusCode::NOT_FOUND, "{reply:?}");
    assert_eq!(reply.problem(), ("no_demo_session", None));
    assert_eq!(reply.body, "There is no demo. Please start one.");
}

async fn reference_a_new_demo_has_industry_user_kind_and_start_and_no_messages(
    store: impl TestStore,
) {
    let began = micros(store.now());
    let mut client = Client::new(&app(&store));
    let status = client.post("/start/healthcare/123").await.ok();
    let status: Value = serde_json::from_str(&status).unwrap();
    let started_at = status["started_at"].as_u64().unwrap();
    assert!((began..=micros(store.now())).contains(&started_at));
    let expected = json!({
        "session_id": status["session_id"], "industry": "healthcare", "started_at": started_at, "message_count": 0,
        "progress_percentage": 0.0, "status": "active", "last_interaction": null,
    });
    assert_eq!(status, expected);
    assert_eq!(client.get("/user").await.ok(), "123");
    assert_eq!(read(&mut client, "/messages").await, json!([]));
    // Its kind is its key space's.
    assert_eq!(store.count(Kind::Demo).await.unwrap(), 1);
    assert_eq!(store.count(Kind::User).await.unwrap(), 0);
}

async fn reference_a_demo_is_found_again(store: impl TestStore) {
    let mut client = Client::new(&app(&store));
    let status = client.post("/start/financial").await.ok();
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(read(&mut client, "/status").await, status);
    assert_eq!(client.get("/user").await.ok(), "none");
}

async fn reference_messages_have_role_content_time_and_metadata(store: impl TestStore) {
    let mut client = started(&app(&store)).await;
    let metadata = json!({
        "confidence": 0.95, "sources": ["manual", "chart"], "analysis": { "terms": ["pulse"], "deep": { "n": 1 } },
        "flag": true, "none": null,
    });
    let messages = [
        json!({ "role": "user", "content": "What about my data?", "metadata": {} }),
        json!({ "role": "assistant", "content": "Ünsere Antwort", "metadata": metadata }),
    ];
    let mut expected = Vec::new();
    for mut message in messages {
        let answer = said(&mut client, &message).await.ok();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        message["timestamp"] = answer["timestamp"].clone();
        assert_eq!(answer, message);
        expected.push(message);
    }
    assert!(expected[0]["timestamp"].as_u64() <= expected[1]["timestamp"].as_u64());
    assert_eq!(read(&mut client, "/messages").await, json!(expected));
    let status = read(&mut client, "/status").await;
    assert_eq!(status["last_interaction"], expected[1]["timestamp"]);
}

async fn reference_no_message_is_0_percent_and_three_are_50_and_active(store: impl TestStore) {
    let mut client = started(&app(&store)).await;
    for (count, percent, word) in [
        (0, 0.0, "active"),
        (3, 50.0, "active"),
        (6, 100.0, "completed"),
    ] {
        while read(&mut client, "/status").await["message_count"] != count {
            said(&mut client, &text("x")).await.ok();
        }
        let status = read(&mut client, "/status").await;
        assert_eq!(status["progress_percentage"], percent);
        assert_eq!(status["status"], word);
    }
}

async fn reference_of_an_unknown_demo_there_is_nothing_and_that_is_said(store: impl TestStore) {
    let app = app(&store);
    let mut unknown = Client::new(&app);
    unknown.cookies.insert(DEMO.into(), "A".repeat(47));
    for mut client in [Client::new(&app), unknown] {
        is_none(&said(&mut client, &text("x")).await);
        is_none(&client.get("/status").await);
        is_none(&client.get("/messages").await);
    }
    assert_eq!(store.entries().await, 0);
}

async fn fault_13_an_id_that_the_client_chose_is_never_a_demos(store: impl TestStore) {
    let app = app(&store);
    for chosen in ["demo-1795455942886", "demo_42", &"A".repeat(47)] {
        let mut client = Client::new(&app);
        client.cookies.insert(DEMO.into(), chosen.into());
        client.post("/start/media").await.ok();
        assert_ne!(client.cookies[DEMO], chosen);
        let mut planted = Client::new(&app);
        planted.cookies.insert(DEMO.into(), chosen.into());
        is_none(&planted.get("/status").await);
    }
}

async fn fault_13_a_second_start_overwrites_nothing(store: impl TestStore) {
    let mut client = started(&app(&store)).await;
    said(&mut client, &text("kept")).await.ok();
    let before = read(&mut client, "/status").await;
    let again = client.post("/start/media/7").await;
    assert!(again.set_cookies().is_empty());
    assert_eq!(serde_json::from_str::<Value>(&again.ok()).unwrap(), before);
    assert_eq!(read(&mut client, "/messages").await[0]["content"], "kept");
    assert_eq!(client.get("/user").await.ok(), "none");
    assert_eq!(store.count(Kind::Demo).await.unwrap(), 1);
}

async fn fault_13_a_demo_is_its_holders_and_its_name_opens_nothing(store: impl TestStore) {
    let app = app(&store);
    let mut client = started(&app).await;
    let name = read(&mut client, "/status").await["session_id"].clone();
    let mut other = started(&app).await;
    said(&mut other, &text("another's")).await.ok();
    assert_eq!(read(&mut client, "/messages").await, json!([]));
    let mut named = Client::new(&app);
    named
        .cookies
        .insert(DEMO.into(), name.as_str().unwrap().into());
    is_none(&named.get("/messages").await);
    is_none(&said(&mut named, &text("x")).await);
}

async fn fault_13_messages_have_a_bound(store: impl TestStore) {
    let mut client = started(&app(&store)).await;
    let large = "x".repeat(60 << 10);
    let mut kept = 0;
    let refused = loop {
        let reply = said(&mut client, &text(&large)).await;
        if reply.status != StatusCode::OK {
            break reply;
        }
        kept += 1;
    };
    assert_eq!(refused.problem(), ("too_large", None));
    assert_eq!(read(&mut client, "/status").await["message_count"], kept);
    let huge = said(&mut client, &text(&"x".repeat(64 << 10))).await;
    assert_eq!(huge.problem(), ("too_large", None));
}

async fn fault_13_the_client_does_not_set_the_time(store: impl TestStore) {
    let mut client = started(&app(&store)).await;
    for time in [json!("2001-01-01T00:00:00"), json!(0), json!(null)] {
        let message = json!({ "role": "user", "content": "x", "metadata": { "timestamp": time } });
        let reply = said(&mut client, &message).await;
        assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(reply.problem(), ("invalid_message", None));
    }
    assert_eq!(read(&mut client, "/messages").await, json!([]));
    let before = micros(store.now());
    store.later().await;
    said(&mut client, &text("x")).await.ok();
    let at = read(&mut client, "/messages").await[0]["timestamp"].as_u64();
    assert!(at > Some(before) && at <= Some(micros(store.now())));
}

async fn fault_7_of_twenty_parallel_messages_none_is_lost(store: impl TestStore) {
    let client = started(&app(&store)).await;
    let writers = (0..20).map(|number| {
        let mut tab = client.clone();
        tokio::spawn(async move { said(&mut tab, &text(&number.to_string())).await.ok() })
    });
    for written in join_all(writers).await {
        written.unwrap();
    }
    let messages = read(&mut client.clone(), "/messages").await;
    let contents: BTreeSet<_> = messages
        .as_array()
        .unwrap()
        .iter()
        .map(|m| &m["content"])
        .map(Value::to_string)
        .collect();
    assert_eq!(
        (messages.as_array().unwrap().len(), contents.len()),
        (20, 20)
    );
}

on_every_store! {
    reference_a_new_demo_has_industry_user_kind_and_start_and_no_messages,
    reference_a_demo_is_found_again,
    reference_messages_have_role_content_time_and_metadata,
    reference_no_message_is_0_percent_and_three_are_50_and_active,
    reference_of_an_unknown_demo_there_is_nothing_and_that_is_said,
    fault_13_an_id_that_the_client_chose_is_never_a_demos,
    fault_13_a_second_start_overwrites_nothing,
    fault_13_a_demo_is_its_holders_and_its_name_opens_nothing,
    fault_13_messages_have_a_bound,
    fault_13_the_client_does_not_set_the_time,
    fault_7_of_twenty_parallel_messages_none_is_lost(threads),
}
