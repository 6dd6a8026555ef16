//! The showcase's HTTP contract, row by row, as a client meets it.

use std::thread;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::support::{Client, Place, on_both};

/// RFC 3339, UTC, three decimals.
#[track_caller]
pub(crate) fn assert_is_instant(value: &Value) {
    let text = value.as_str().unwrap_or_default();
    let shape: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000Z", "{value} is an instant");
}

#[track_caller]
pub(crate) fn assert_is_uuid(value: &Value) {
    let text = value.as_str().unwrap_or_default();
    assert!(
        text.len() == 36 && text.parse::<sessile::Handle>().is_ok(),
        "{value} is a UUID"
    );
}

#[track_caller]
pub(crate) fn assert_ended(client: &mut Client, reason: &str) -> Value {
    let me = client.get("/api/me");
    assert_eq!(me.refused(), (401, "session_ended".into()));
    let report = me.json();
    assert_eq!(report["reason"], reason);
    assert_is_instant(&report["at"]);
    report
}

pub(crate) fn refusal(status: u16, code: &str) -> (u16, String) {
    (status, code.into())
}

on_both!(ping_touches_no_session);
fn ping_touches_no_session(place: &Place) {
    let ping = place.start(&[]).signed_in("alice").get("/api/ping");
    assert_eq!((ping.status, ping.json()), (200, json!({ "ok": true })));
    assert_eq!((ping.header("vary"), ping.set_cookie()), (None, None));
}

on_both!(a_session_is_none_then_anonymous_then_a_users);
fn a_session_is_none_then_anonymous_then_a_users(place: &Place) {
    let showcase = place.start(&[]);
    let mut client = showcase.client();
    let none = client.get("/api/session");
    let nothing = json!({
        "kind": "none", "user": null, "handle": null, "created_at": null, "ends_at": null, "idle_ends_at": null,
        "freshness": "live",
    });
    assert_eq!(
        (none.status, none.json(), none.set_cookie()),
        (200, nothing, None)
    );
    assert_eq!(none.header("vary"), Some("cookie"));

    client.put("/api/data/x", &json!(1));
    let anonymous = client.get("/api/session").json();
    assert_eq!(
        (&anonymous["kind"], &anonymous["user"]),
        (&json!("anonymous"), &Value::Null)
    );
    assert_is_uuid(&anonymous["handle"]);

    client.login("alice");
    let user = client.get("/api/session").json();
    assert_eq!(
        (&user["kind"], &user["user"]),
        (&json!("user"), &json!("alice"))
    );
    assert_eq!(user["freshness"], "live");
    assert_ne!(user["handle"], anonymous["handle"]);
    for name in ["created_at", "ends_at", "idle_ends_at"] {
        assert_is_instant(&user[name]);
    }
    assert!(user["created_at"].as_str() < user["idle_ends_at"].as_str());
    assert!(user["idle_ends_at"].as_str() < user["ends_at"].as_str());
}

on_both!(a_login_takes_the_cart_along_and_leaves_the_old_id_dead);
fn a_login_takes_the_cart_along_and_leaves_the_old_id_dead(place: &Place) {
    let showcase = place.start(&[]);
    let mut client = showcase.client();
    client.put("/api/data/cart", &json!(["tea"]));
    client.put("/api/data/secret", &json!("planted"));
    let mut before = client.clone();

    let login = client.login("alice");
    assert_eq!(login.status, 200);
    assert_eq!(login.json()["user"], "alice");
    assert_is_uuid(&login.json()["handle"]);
    assert_eq!(login.header("cache-control"), Some("no-store"));
    assert_ne!(client.cookie, before.cookie);
    assert_eq!(client.get("/api/data/cart").json(), json!(["tea"]));
    assert_eq!(
        client.get("/api/data/secret").refused(),
        refusal(404, "not_found")
    );
    assert_ended(&mut before, "regenerated");
}

on_both!(a_login_needs_a_user_of_1_to_256_bytes);
fn a_login_needs_a_user_of_1_to_256_bytes(place: &Place) {
    let showcase = place.start(&[]);
    let mut client = showcase.client();
    assert_eq!(client.login(&"é".repeat(128)).status, 200);
    for user in [String::new(), "x".repeat(257), "é".repeat(129)] {
        assert_eq!(client.login(&user).status, 422);
    }
    for (body, expected) in [
        ("{}", refusal(422, "invalid")),
        (r#"{"user":7}"#, refusal(422, "invalid")),
        (r#"{"user":null}"#, refusal(422, "invalid")),
        (r#"{"user":"#, refusal(400, "bad_request")),
        ("", refusal(400, "bad_request")),
        ("\u{0}", refusal(400, "bad_request")),
    ] {
        let login = client.send_json(Method::POST, "/api/login", body);
        assert_eq!(login.refused(), expected, "{body:?}");
    }
    let form = client.post_form("/api/login", "user=alice");
    assert_eq!(
        form.refused(),
        refusal(400, "bad_request"),
        "only JSON is read"
    );
}

on_both!(a_logout_says_what_became_of_it_and_removes_the_cookie);
fn a_logout_says_what_became_of_it_and_removes_the_cookie(place: &Place) {
    let showcase = place.start(&[]);
    let mut client = showcase.signed_in("alice");
    let mut elsewhere = client.clone();
    let logout = client.post("/api/logout");
    assert_eq!(
        (logout.status, logout.json()),
        (200, json!({ "outcome": "committed" }))
    );
    let removal = logout.set_cookie().unwrap();
    for part in [
        "__Host-session=;",
        "Max-Age=0",
        "Secure",
        "HttpOnly",
        "SameSite=Lax",
        "Path=/",
    ] {
        assert!(removal.contains(part), "{part} in {removal}");
    }
    assert_eq!(
        client.get("/api/me").refused(),
        refusal(401, "not_signed_in")
    );
    assert_ended(&mut elsewhere, "logged_out");
    assert_eq!(
        client.post("/api/logout").json(),
        json!({ "outcome": "none" })
    );
}

on_both!(me_is_for_users_only);
fn me_is_for_users_only(place: &Place) {
    let showcase = place.start(&[]);
    let mut client = showcase.client();
    assert_eq!(
        client.get("/api/me").refused(),
        refusal(401, "not_signed_in")
    );
    client.put("/api/data/x", &json!(1));
    assert_eq!(
        client.get("/api/me").refused(),
        refusal(401, "not_signed_in")
    );
    client.login("alice");
    let me = client.get("/api/me");
    assert_eq!((me.status, me.json()), (200, json!({ "user": "alice" })));
}

on_both!(a_session_ends_by_either_clock_and_says_which);
fn a_session_ends_by_either_clock_and_says_which(place: &Place) {
    let idle = place.start(&["--idle", "0.3"]);
    let absolute = place.start(&["--absolute", "0.3"]);
    let (mut idle, mut absolute) = (idle.signed_in("alice"), absolute.signed_in("alice"));
    // The one real wait: these processes have no clock but the machine's.
    thread::sleep(Duration::from_millis(600));
    let report = assert_ended(&mut idle, "idle");
    assert_eq!(report.get("note"), None, "only a revocation has a note");
    assert_ended(&mut absolute, "absolute");
}

on_both!(a_regeneration_keeps_data_and_handle_and_kills_the_old_id);
fn a_regeneration_keeps_data_and_handle_and_kills_the_old_id(place: &Place) {
    let showcase = place.start(&[]);
    let mut client = showcase.signed_in("alice");
    client.put("/api/data/x", &json!(1));
    let mut before = client.clone();
    let session = client.get("/api/session").json();
    let answer = client.post("/api/regenerate");
    assert_eq!(
        (answer.status, &answer.json()["handle"]),
        (200, &session["handle"])
    );
    assert_ne!(client.cookie, before.cookie);
    assert_eq!(client.get("/api/data/x").json(), json!(1));
    assert_eq!(
        client.get("/api/session").json()["ends_at"],
        session["ends_at"]
    );
    assert_ended(&mut before, "regenerated");
    assert_eq!(
        showcase.client().post("/api/regenerate").json(),
        json!({ "handle": null })
    );
}

on_both!(what_is_not_there_and_what_is_not_done_is_said_in_json);
fn what_is_not_there_and_what_is_not_done_is_said_in_json(place: &Place) {
    let showcase = place.start(&[]);
    let mut client = showcase.client();
    for path in [
        "/api",
        "/api/",
        "/api/nowhere",
        "/api/data",
        "/api/data/",
        "/api/data/a/b",
        "/api/ping/",
    ] {
        assert_eq!(
            client.get(path).refused(),
            refusal(404, "not_found"),
            "{path}"
        );
    }
    for (method, path) in [
        (Method::POST, "/api/ping"),
        (Method::PUT, "/api/session"),
        (Method::GET, "/api/login"),
        (Method::POST, "/api/data/x"),
        (Method::GET, "/api/sessions/x"),
    ] {
        let answer = client.send(method.clone(), path, None);
        assert_eq!(
            answer.refused(),
            refusal(405, "method_not_allowed"),
            "{method} {path}"
        );
        assert!(answer.header("allow").is_some());
    }
}

on_both!(r04_a_made_up_cookie_is_a_stranger);
fn r04_a_made_up_cookie_is_a_stranger(place: &Place) {
    let showcase = place.start(&[]);
    let mut client = showcase.client();
    for value in [
        "",
        "x",
        &"A".repeat(47),
        &"_".repeat(47),
        &"A".repeat(6000),
        "\"quoted\"",
    ] {
        client.cookie = Some(format!("__Host-session={value}"));
        let session = client.get("/api/session");
        assert_eq!(
            (session.status, &session.json()["kind"]),
            (200, &json!("none")),
            "{value:?}"
        );
        assert_eq!(session.set_cookie(), None);
        assert_eq!(
            client.get("/api/me").refused(),
            refusal(401, "not_signed_in")
        );
    }
}
