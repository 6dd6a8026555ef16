//! The showcase's HTTP contract for a user's sessions, row by row.

use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::showcase::{assert_ended, assert_is_instant, assert_is_uuid, refusal};
use crate::support::{Client, Place, on_both};

on_both!(a_refusing_limit_answers_409_until_a_place_is_free);
fn a_refusing_limit_answers_409_until_a_place_is_free(place: &Place) {
    let showcase = place.start(&["--limit", "2", "--at-limit", "refuse"]);
    let mut first = showcase.signed_in("alice");
    showcase.signed_in("alice");
    let mut third = showcase.client();
    assert_eq!(
        third.login("alice").refused(),
        refusal(409, "too_many_sessions")
    );
    assert_eq!(third.login("bob").status, 200, "bob has places of his own");
    assert_eq!(
        first.login("alice").status,
        200,
        "the same browser replaces its own"
    );
    assert_eq!(first.post("/api/logout").status, 200);
    assert_eq!(third.login("alice").status, 200);
}

on_both!(a_limit_ends_the_oldest_by_default);
fn a_limit_ends_the_oldest_by_default(place: &Place) {
    let showcase = place.start(&["--limit", "2"]);
    let mut clients = [(); 3].map(|()| showcase.signed_in("alice"));
    assert_ended(&mut clients[0], "limit");
    assert_eq!(clients[1].get("/api/me").status, 200);
    assert_eq!(
        clients[2]
            .get("/api/sessions")
            .json()
            .as_array()
            .map(Vec::len),
        Some(2)
    );
}

on_both!(sessions_are_listed_newest_first_with_where_and_with_what);
fn sessions_are_listed_newest_first_with_where_and_with_what(place: &Place) {
    let showcase = place.start(&[]);
    let mut phone = showcase.client().with("user-agent", "Phone/1.0");
    phone.login("alice");
    thread::sleep(Duration::from_millis(5));
    let mut laptop = showcase.client().with("user-agent", "Laptop/2.0");
    laptop.login("alice");
    showcase.signed_in("bob");

    let answer = phone.get("/api/sessions");
    assert_eq!(answer.status, 200);
    let list = answer.json();
    let agents: Vec<_> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["user_agent"].clone())
        .collect();
    assert_eq!(agents, ["Laptop/2.0", "Phone/1.0"]);
    assert_eq!(
        (&list[0]["current"], &list[1]["current"]),
        (&json!(false), &json!(true))
    );
    for one in list.as_array().unwrap() {
        assert_eq!(one.as_object().unwrap().len(), 7);
        assert_is_uuid(&one["handle"]);
        assert_eq!(one["address"], "127.0.0.1");
        for name in ["created_at", "last_seen_at", "ends_at"] {
            assert_is_instant(&one[name]);
        }
    }
    assert_eq!(
        showcase.client().get("/api/sessions").refused(),
        refusal(401, "not_signed_in")
    );
}

on_both!(a_user_ends_their_own_sessions_and_nobody_elses);
fn a_user_ends_their_own_sessions_and_nobody_elses(place: &Place) {
    let showcase = place.start(&[]);
    let mut alice = showcase.signed_in("alice");
    let mut other = showcase.signed_in("alice");
    let mut bob = showcase.signed_in("bob");
    let handle_of = |client: &mut Client| {
        client.get("/api/session").json()["handle"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (others, bobs) = (handle_of(&mut other), handle_of(&mut bob));

    for unknown in [
        &bobs,
        "c0ffee00-0000-4000-8000-000000000000",
        "nonsense",
        "%00",
    ] {
        let answer = alice.delete(&format!("/api/sessions/{unknown}"));
        assert_eq!(answer.refused(), refusal(404, "not_found"), "{unknown}");
    }
    assert_eq!(bob.get("/api/me").status, 200);

    let answer = alice.delete(&format!("/api/sessions/{others}"));
    let done = json!({ "ended": 1, "outcome": "committed" });
    assert_eq!((answer.status, answer.json()), (200, done));
    assert_ended(&mut other, "revoked");
    let again = alice.delete(&format!("/api/sessions/{others}"));
    assert_eq!(
        again.refused(),
        refusal(404, "not_found"),
        "it is over already"
    );
    let stranger = showcase.client().delete(&format!("/api/sessions/{bobs}"));
    assert_eq!(stranger.refused(), refusal(401, "not_signed_in"));
}

on_both!(a_user_ends_all_others_or_all);
fn a_user_ends_all_others_or_all(place: &Place) {
    let showcase = place.start(&[]);
    let mut clients = [(); 3].map(|()| showcase.signed_in("alice"));
    let [first, second, third] = &mut clients;
    let answer = first.delete("/api/sessions?others=true");
    assert_eq!(answer.json(), json!({ "ended": 2, "outcome": "committed" }));
    assert_eq!(
        first.delete("/api/sessions?others=true").json(),
        json!({ "ended": 0, "outcome": "none" })
    );
    assert_eq!(first.get("/api/me").status, 200);
    assert_ended(second, "revoked");
    third.login("alice");
    assert_eq!(first.delete("/api/sessions").json()["ended"], 2);
    assert_ended(first, "revoked");
    assert_ended(third, "revoked");
    assert_eq!(
        showcase.client().delete("/api/sessions").refused(),
        refusal(401, "not_signed_in")
    );
    let odd = showcase
        .signed_in("alice")
        .delete("/api/sessions?others=perhaps");
    assert_eq!(odd.refused(), refusal(400, "bad_request"));
}

on_both!(an_administrator_ends_all_of_a_users_sessions_with_a_note);
fn an_administrator_ends_all_of_a_users_sessions_with_a_note(place: &Place) {
    let showcase = place.start(&[]);
    let (mut alice, mut bob) = (showcase.signed_in("alice"), showcase.signed_in("bob"));
    let mut admin = showcase.client();
    let revoke = |admin: &mut Client, user: &str, reason: &str| {
        admin.post_json(
            "/api/admin/revoke",
            &json!({ "user": user, "reason": reason }),
        )
    };
    let done = json!({ "ended": 1, "outcome": "committed" });
    assert_eq!(
        revoke(&mut admin, "alice", "laptop lost – sorry").json(),
        done
    );
    assert_eq!(
        assert_ended(&mut alice, "revoked")["note"],
        "laptop lost – sorry"
    );
    assert_eq!(revoke(&mut admin, "bob", "").json(), done);
    assert_eq!(assert_ended(&mut bob, "revoked").get("note"), None);
    assert_eq!(
        revoke(&mut admin, "nobody", "x").json(),
        json!({ "ended": 0, "outcome": "none" })
    );
    assert_eq!(
        revoke(&mut admin, "", "x").refused(),
        refusal(422, "invalid")
    );
    let bad = admin.post_json("/api/admin/revoke", &json!({ "reason": "x" }));
    assert_eq!(bad.refused(), refusal(422, "invalid"));
}
