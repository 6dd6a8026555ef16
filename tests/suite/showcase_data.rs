//! The showcase's HTTP contract for values, row by row.

use std::thread;
use std::time::Duration;

use http::Method;
use serde_json::json;

use crate::showcase::{assert_ended, refusal};
use crate::support::{Client, Place, on_both};

on_both!(data_is_any_json_and_comes_back_as_it_was);
fn data_is_any_json_and_comes_back_as_it_was(place: &Place) {
    let showcase = place.start(&[]);
    let mut client = showcase.client();
    for json in [
        "null",
        "true",
        "0",
        "\"\"",
        "[]",
        r#"{"a": 1.10,  "b": 123456789012345678901234567890, "é": "\u00e9"}"#,
    ] {
        assert_eq!(
            client.send_json(Method::PUT, "/api/data/v", json).status,
            204
        );
        let read = client.get("/api/data/v");
        assert_eq!((read.status, read.text().as_str()), (200, json));
        assert_eq!(read.header("content-type"), Some("application/json"));
    }
    let deleted = client.delete("/api/data/v");
    assert_eq!((deleted.status, deleted.text().as_str()), (204, ""));
    assert_eq!(
        client.get("/api/data/v").refused(),
        refusal(404, "not_found")
    );
    assert_eq!(client.delete("/api/data/v").status, 204);

    let mut stranger = showcase.client();
    assert_eq!(
        stranger.get("/api/data/v").refused(),
        refusal(404, "not_found")
    );
    assert_eq!(stranger.delete("/api/data/v").status, 204);
    assert_eq!(
        stranger.cookie, None,
        "reading and removing makes no session"
    );
    let broken = stranger.send_json(Method::PUT, "/api/data/v", "{");
    assert_eq!(broken.refused(), refusal(400, "bad_request"));
}

on_both!(a_key_has_at_most_64_bytes);
fn a_key_has_at_most_64_bytes(place: &Place) {
    let showcase = place.start(&[]);
    let mut client = showcase.client();
    let (fits, long) = ("k".repeat(64), "k".repeat(65));
    assert_eq!(
        client.put(&format!("/api/data/{fits}"), &json!(1)).status,
        204
    );
    assert_eq!(client.put("/api/data/%C3%A9%2F%20", &json!(2)).status, 204);
    assert_eq!(client.get("/api/data/%c3%a9%2f%20").json(), json!(2));
    for answer in [
        client.put(&format!("/api/data/{long}"), &json!(1)),
        client.get(&format!("/api/data/{long}")),
        client.delete(&format!("/api/data/{long}")),
        client.post(&format!("/api/count/{long}")),
        client.post_json(&format!("/api/slow/{long}?ms=1"), &json!(1)),
        client.post(&format!("/api/fail/400?key={long}")),
    ] {
        assert_eq!(answer.refused(), refusal(422, "invalid"));
    }
    assert_eq!(
        client.put("/api/data/%ff", &json!(1)).refused(),
        refusal(400, "bad_request")
    );
}

on_both!(what_is_too_large_is_413_and_nothing_is_half_stored);
fn what_is_too_large_is_413_and_nothing_is_half_stored(place: &Place) {
    let showcase = place.start(&[]);
    let mut stranger = showcase.client();
    for bytes in [66_000, 1 << 20, 15 << 20] {
        let answer = stranger.put("/api/data/big", &json!("x".repeat(bytes)));
        assert_eq!(answer.refused(), refusal(413, "too_large"), "{bytes} bytes");
        assert_eq!(stranger.cookie, None);
    }
    let mut client = showcase.signed_in("alice");
    client.put("/api/data/small", &json!(1));
    client.put("/api/data/big", &json!("kept"));
    let big = json!("x".repeat(66_000));
    assert_eq!(
        client.put("/api/data/big", &big).refused(),
        refusal(413, "too_large")
    );
    assert_eq!(
        client.post_json("/api/slow/big", &big).refused(),
        refusal(413, "too_large")
    );
    assert_eq!(client.get("/api/data/big").json(), json!("kept"));
    assert_eq!(client.get("/api/data/small").json(), json!(1));
}

on_both!(counting_loses_nothing);
fn counting_loses_nothing(place: &Place) {
    let showcase = place.start(&[]);
    let mut client = showcase.client();
    assert_eq!(client.post("/api/count/n").json(), json!({ "value": 1 }));
    thread::scope(|scope| {
        for _ in 0..8 {
            let mut tab = client.clone();
            scope.spawn(move || {
                for _ in 0..5 {
                    assert_eq!(tab.post("/api/count/n").status, 200);
                }
            });
        }
    });
    assert_eq!(client.get("/api/data/n").json(), json!(41));
    for value in [json!("one"), json!(1.5), json!(null), json!({})] {
        client.put("/api/data/odd", &value);
        assert_eq!(
            client.post("/api/count/odd").refused(),
            refusal(422, "invalid"),
            "{value}"
        );
        assert_eq!(client.get("/api/data/odd").json(), value);
    }
}

on_both!(a_slow_request_stores_with_its_response_unless_the_session_ended_or_moved);
fn a_slow_request_stores_with_its_response_unless_the_session_ended_or_moved(place: &Place) {
    let showcase = place.start(&[]);
    let mut client = showcase.signed_in("alice");
    assert_eq!(client.post_json("/api/slow/a?ms=1", &json!(1)).status, 204);
    assert_eq!(client.get("/api/data/a").json(), json!(1));
    assert_eq!(
        client.post_json("/api/slow/a?ms=x", &json!(1)).refused(),
        refusal(400, "bad_request")
    );

    // Both are read before what happens to their session, and store after it.
    let race = |client: &Client, happens: &dyn Fn(&mut Client)| {
        let mut tab = client.clone();
        thread::scope(|scope| {
            let slow = scope.spawn(move || tab.post_json("/api/slow/late?ms=1000", &json!(1)));
            thread::sleep(Duration::from_millis(400));
            happens(&mut client.clone());
            slow.join().unwrap()
        })
    };
    let moved = race(&client, &|tab| {
        assert_eq!(tab.post("/api/regenerate").status, 200);
    });
    assert_eq!(moved.refused(), refusal(409, "session_moved"));

    let mut client = showcase.signed_in("alice");
    let ended = race(&client, &|tab| {
        assert_eq!(tab.post("/api/logout").status, 200);
    });
    assert_eq!(ended.refused(), refusal(401, "session_ended"));
    assert_eq!(ended.json()["reason"], "logged_out");
    assert_ended(&mut client, "logged_out");
}

on_both!(what_a_failing_request_staged_is_dropped);
fn what_a_failing_request_staged_is_dropped(place: &Place) {
    let showcase = place.start(&[]);
    let mut client = showcase.signed_in("alice");
    for (status, stored) in [
        (500, false),
        (503, false),
        (404, true),
        (418, true),
        (200, true),
        (999, false),
    ] {
        let key = format!("k{status}");
        let answer = client.post(&format!("/api/fail/{status}?key={key}"));
        assert_eq!(answer.status, status);
        if status >= 400 {
            assert_eq!(answer.refused(), refusal(status, "failed"));
        }
        let read = client.get(&format!("/api/data/{key}"));
        assert_eq!(read.status == 200, stored, "{status}");
    }
    for status in ["99", "199", "1000", "0", "-1", "x"] {
        let answer = client.post(&format!("/api/fail/{status}?key=k"));
        assert_eq!(answer.refused(), refusal(422, "invalid"), "{status}");
    }
    let mut stranger = showcase.client();
    stranger.post("/api/fail/500?key=k");
    assert_eq!(stranger.cookie, None);
}

on_both!(a_superseded_id_reads_as_none_writes_as_409_and_may_sign_in);
fn a_superseded_id_reads_as_none_writes_as_409_and_may_sign_in(place: &Place) {
    let showcase = place.start(&[]);
    let mut client = showcase.signed_in("alice");
    let mut old = client.clone();
    client.post("/api/regenerate");
    assert_eq!(old.get("/api/session").json()["kind"], "none");
    assert_eq!(old.get("/api/data/x").refused(), refusal(404, "not_found"));
    for answer in [
        old.put("/api/data/x", &json!(1)),
        old.delete("/api/data/x"),
        old.post("/api/count/x"),
        old.post_json("/api/slow/x?ms=1", &json!(1)),
    ] {
        assert_eq!(answer.refused(), refusal(409, "session_moved"));
    }
    assert_eq!(old.login("alice").status, 200);
    assert_eq!(
        client.get("/api/me").status,
        200,
        "the other session goes on"
    );
}

on_both!(an_ended_id_reads_as_none_and_a_write_begins_anew);
fn an_ended_id_reads_as_none_and_a_write_begins_anew(place: &Place) {
    let showcase = place.start(&[]);
    let mut client = showcase.signed_in("alice");
    client.put("/api/data/x", &json!(1));
    client.clone().post("/api/logout");
    assert_eq!(client.get("/api/session").json()["kind"], "none");
    assert_eq!(
        client.get("/api/data/x").refused(),
        refusal(404, "not_found")
    );
    assert_eq!(client.put("/api/data/y", &json!(2)).status, 204);
    assert_eq!(client.get("/api/session").json()["kind"], "anonymous");
}
