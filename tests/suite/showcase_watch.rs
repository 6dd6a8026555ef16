//! The showcase's routes for activity, security, history, figures and events.

use std::thread;

use serde_json::{Value, json};

use crate::showcase::refusal;
use crate::support::wait::wait_for;
use crate::support::{Pair, Showcase};

#[test]
fn r55_activities_are_counted_and_judged() {
    let showcase = Showcase::start(&["--trusted-proxy", "127.0.0.0/8"]);
    let mut client = showcase
        .client()
        .with("user-agent", "app/1")
        .with("x-forwarded-for", "192.0.2.1");
    assert_eq!(
        client.get("/api/security").refused(),
        refusal(401, "not_signed_in")
    );
    client.login("alice");
    let activity = json!({"kind": "view", "resource": "/admin/users"});
    for _ in 0..2 {
        assert_eq!(client.post_json("/api/activity", &activity).status, 204);
    }
    let security = client.get("/api/security").json();
    assert_eq!(
        (&security["level"], &security["activity_count"]),
        (&json!("low"), &json!(2))
    );
    assert_eq!(security["recent"][0]["resource"], "/admin/users");
    let mut thief = client.clone().with("user-agent", "curl/9");
    let security = thief.get("/api/security").json();
    assert_eq!(
        (&security["level"], &security["reasons"]),
        (&json!("medium"), &json!(["user_agent_changed"]))
    );
    let mut elsewhere = client.clone().with("x-forwarded-for", "198.51.100.7");
    elsewhere.post_json("/api/activity", &activity);
    let security = elsewhere.get("/api/security").json();
    assert_eq!(security["level"], "high");
    assert_eq!(
        client
            .post_json("/api/activity", &json!({"kind": ""}))
            .status,
        422
    );
    let history = client.get("/api/history").json();
    assert_eq!(
        history.as_array().unwrap().len(),
        1,
        "activities are not history"
    );
}

fn events(history: &Value) -> Vec<String> {
    let entries = history.as_array().unwrap().iter();
    entries
        .map(|entry| {
            format!(
                "{} {}",
                entry["event"].as_str().unwrap(),
                entry["reason"].as_str().unwrap_or("-")
            )
        })
        .collect()
}

#[test]
fn r57_a_history_has_reason_and_note_and_a_new_session_works_after() {
    let pair = Pair::start(&[]);
    let mut client = pair.signed_in(0, "alice");
    client.post("/api/regenerate");
    let body = json!({"user": "alice", "reason": "stolen laptop"});
    assert_eq!(
        pair.turn(1)
            .client()
            .post_json("/api/admin/revoke", &body)
            .json()["ended"],
        1
    );
    assert_eq!(
        client.get("/api/history").refused(),
        refusal(401, "session_ended")
    );
    let mut client = pair.signed_in(1, "alice");
    let history = client.get("/api/history").json();
    assert_eq!(
        events(&history),
        [
            "signed_in -",
            "ended revoked",
            "regenerated -",
            "signed_in -"
        ]
    );
    assert_eq!(history[1]["note"], "stolen laptop");
    assert!(history[1]["address"].is_string() && history[1]["handle"].is_string());
    assert_eq!(
        history[1]["at"].as_str().unwrap().len(),
        "2026-11-29T10:00:00.000Z".len()
    );
}

#[test]
fn r63_a_stream_at_one_process_closes_when_the_session_is_revoked_at_the_other() {
    let pair = Pair::start(&[]);
    let client = pair.signed_in(0, "alice");
    let stream = thread::spawn({
        let mut client = client.clone();
        move || client.get("/api/events")
    });
    let stats = |n: usize| pair.turn(n).client().get("/api/stats").json();
    wait_for("the stream is open", || {
        (stats(0)["watched"] == 1).then_some(())
    });
    pair.turn(1).revoke("alice");
    let answer = stream.join().unwrap();
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("text/event-stream"))
    );
    let text = answer.text();
    assert!(
        text.contains("event: open")
            && text.contains("event: ended")
            && text.contains("\"reason\":\"revoked\""),
        "{text}"
    );
    assert_eq!(stats(0)["watched"], 0);
    assert_eq!(
        pair.turn(0).client().get("/api/events").refused(),
        refusal(401, "not_signed_in")
    );
    assert_eq!(
        client.clone().get("/api/events").refused(),
        refusal(401, "session_ended")
    );
}

#[test]
fn an_open_stream_does_not_keep_the_server_from_stopping() {
    let mut showcase = Showcase::start(&[]);
    let mut client = showcase.signed_in("alice");
    let mut watcher = showcase.client();
    let streams = [
        thread::spawn(move || client.get("/api/events").text()),
        thread::spawn(move || watcher.get("/api/figures").text()),
    ];
    let mut asks = showcase.client();
    wait_for("the stream is open", || {
        (asks.get("/api/stats").json()["watched"] == 1).then_some(())
    });
    showcase.signal("TERM");
    assert!(showcase.wait().0.success());
    for stream in streams {
        stream.join().unwrap();
    }
}

#[test]
fn figures_are_json_and_prometheus_text() {
    let showcase = Showcase::start(&["--limit", "2"]);
    let mut client = showcase.signed_in("alice");
    showcase.signed_in("bob");
    let stats = client.get("/api/stats").json();
    assert_eq!(
        (&stats["live"]["user"], &stats["redis"], &stats["backend"]),
        (&json!(2), &json!(null), &json!("memory"))
    );
    assert_eq!(
        (&stats["events"]["signed_in"], &stats["policy"]["limit"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(
        (&stats["policy"]["idle_seconds"], &stats["pool"]),
        (&json!(1800.0), &json!(null))
    );
    let mut visitor = crate::showcase_demo::started(&showcase, "media");
    let stats = client.get("/api/stats").json();
    assert_eq!(stats["live"]["demo"], 1);
    assert_eq!(visitor.delete("/api/demo").status, 204);
    let stats = client.get("/api/stats").json();
    assert_eq!(
        (&stats["live"]["demo"], &stats["demos"]),
        (
            &json!(0),
            &json!({"started": 1, "completed": 0, "adopted": 0, "ended": 1})
        )
    );
    assert_eq!(stats["ended"]["logged_out"], 0);
    client.post("/api/logout");
    let text = client.get("/metrics").text();
    for line in [
        "sessile_events_total{event=\"signed_in\",reason=\"\"} 2",
        "sessile_events_total{event=\"ended\",reason=\"logged_out\"} 1",
        "sessile_events_total{event=\"demo_ended\",reason=\"logged_out\"} 1",
        "sessile_live_sessions{kind=\"user\"} 1",
        "sessile_mode{mode=\"healthy\"} 1",
    ] {
        assert!(text.lines().any(|is| is == line), "{line} in {text}");
    }
    assert!(!text.contains("alice"));
}

#[test]
fn on_redis_the_figures_are_of_all_processes() {
    let pair = Pair::start(&[]);
    let mut client = pair.signed_in(0, "alice");
    pair.signed_in(1, "bob");
    wait_for("both are counted", || {
        let stats = client.get("/api/stats").json();
        (stats["redis"] == 2
            && stats["pool"]["open"].as_u64()? >= 1
            && stats["latency"]["calls"].as_u64()? >= 1)
            .then_some(())
    });
}

#[test]
fn the_pages_show_security_history_and_the_store() {
    let showcase = Showcase::start(&[]);
    let mut stranger = showcase.client();
    assert_eq!(stranger.get("/security").status, 303);
    let mut client = showcase.signed_in("alice");
    client.post("/api/regenerate");
    let answer = client.post_form("/activity", "resource=%2Freport%3C1%3E");
    assert_eq!(
        (answer.status, answer.header("location")),
        (303, Some("/security"))
    );
    let page = client.get("/security").text();
    for words in [
        "Nothing out of the ordinary",
        "/report&lt;1&gt;",
        "New session id",
        "Signed in",
    ] {
        assert!(page.contains(words), "{words} in {page}");
    }
    let page = stranger.get("/store");
    assert_eq!(page.set_cookie(), None);
    let page = page.text();
    for words in [
        "<dt>Sessions</dt><dd id=\"user\">1</dd>",
        "healthy",
        "A session ends 30 minutes after its last request",
    ] {
        assert!(page.contains(words), "{words} in {page}");
    }
    let script = stranger.get("/live.js");
    assert_eq!(
        (script.status, script.header("content-type")),
        (200, Some("text/javascript; charset=utf-8"))
    );
}
