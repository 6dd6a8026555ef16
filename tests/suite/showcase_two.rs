//! Two processes on one Redis: an id that was replaced or ended opens nothing on either of them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use http::Method;
use serde_json::{Value, json};

use crate::showcase::{assert_ended, refusal};
use crate::support::client::Answer;
use crate::support::crowd::at_once;
use crate::support::wait::wait_for;
use crate::support::{Client, Pair};

/// What a client does that its id does not outlive, and what the id's holder is told.
type Act = (&'static str, fn(&mut Client) -> Answer, &'static str);

const LOGIN: Act = ("login", |client| client.login("alice"), "regenerated");
const REGENERATION: Act = (
    "regeneration",
    |client| client.post("/api/regenerate"),
    "regenerated",
);
const LOGOUT: Act = ("logout", |client| client.post("/api/logout"), "logged_out");
const END_ALL: Act = (
    "end of all",
    |client| client.delete("/api/sessions"),
    "revoked",
);

/// A session with something in it; without a user it is a stranger's.
fn session(pair: &Pair, number: usize, user: Option<&str>) -> Client {
    let mut client = pair.turn(number).client();
    if let Some(user) = user {
        client.login(user);
    }
    assert_eq!(client.put("/api/data/x", &json!("before")).status, 204);
    client
}

/// The client acts at one process while others, with the same cookie, ask at both. From its answer on, nobody who
/// begins to ask gets anything by the old id; and before, nobody gets more than they had.
fn assert_kills_its_id(pair: &Pair, number: usize, user: Option<&str>, act: Act) {
    let (what, act, reason) = act;
    let mut client = session(pair, number, user);
    let old = client.clone();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..8 {
            let (mut tab, over) = (old.at(pair.turn(number)), &over);
            scope.spawn(move || {
                loop {
                    let must_be_over = over.load(Ordering::SeqCst);
                    let answer = tab.get("/api/session");
                    let session = answer.json();
                    let is_over = session["kind"] == "none";
                    assert!(is_over || !must_be_over, "{what}: {session}");
                    assert!(
                        is_over || session["user"] == json!(user),
                        "{what}: {session}"
                    );
                    assert_eq!(
                        answer.set_cookie(),
                        None,
                        "{what}: the cookie is left alone"
                    );
                    if must_be_over {
                        return;
                    }
                }
            });
        }
        client.go_to(pair.turn(number + 1));
        assert_eq!(act(&mut client).status, 200, "{what}");
        over.store(true, Ordering::SeqCst);
    });
    for mut tab in pair.both(&old) {
        assert_ended(&mut tab, reason);
        assert_eq!(tab.get("/api/data/x").refused(), refusal(404, "not_found"));
    }
    // As whoever lost the response: their browser has the old cookie still, and it signs in.
    for mut tab in pair.both(&old) {
        tab.login_after_an_end("alice");
        assert!(pair.is_signed_in(&tab));
    }
}

#[test]
fn r22_after_a_login_a_strangers_id_opens_nothing_on_either_process() {
    let pair = Pair::start(&[]);
    for number in 0..4 {
        assert_kills_its_id(&pair, number, None, LOGIN);
    }
}

#[test]
fn r23_after_another_login_a_regeneration_or_an_end_the_old_id_opens_nothing_on_either_process() {
    let pair = Pair::start(&[]);
    for number in 0..2 {
        for act in [LOGIN, REGENERATION, LOGOUT, END_ALL] {
            assert_kills_its_id(&pair, number, Some("alice"), act);
        }
        assert_kills_its_id(&pair, number, Some("bob"), LOGIN);
        assert_kills_its_id(&pair, number, None, REGENERATION);
        assert_kills_its_id(&pair, number, None, LOGOUT);
    }
}

#[test]
fn r24_a_request_in_flight_with_the_old_id_changes_nothing_when_it_saves_later() {
    let pair = Pair::start(&[]);
    let moved = refusal(409, "session_moved");
    let ended = refusal(401, "session_ended");
    let cases = [
        (None, LOGIN, &moved),
        (Some("alice"), LOGIN, &moved),
        (Some("bob"), LOGIN, &moved),
        (Some("carol"), REGENERATION, &moved),
        (Some("dave"), LOGOUT, &ended),
        (Some("erin"), END_ALL, &ended),
    ];
    let mut clients: Vec<_> = cases
        .iter()
        .enumerate()
        .map(|(number, (user, ..))| session(&pair, number, *user))
        .collect();
    let mut monitor = pair.server.monitor();
    thread::scope(|scope| {
        let slow: Vec<_> = clients
            .iter()
            .map(|client| {
                let mut tab = client.clone();
                scope.spawn(move || tab.post_json("/api/slow/x?ms=1500", &json!("late")))
            })
            .collect();
        // All of them have read their session: from now on it is an old one.
        let mut read = 0;
        wait_for("the slow requests have begun", || {
            read += monitor.take().clients.get("GET").unwrap_or(&0);
            (read >= cases.len() as u64).then_some(())
        });
        for (number, (client, (user, (what, act, _), _))) in
            clients.iter_mut().zip(&cases).enumerate()
        {
            client.go_to(pair.turn(number + 1));
            assert_eq!(act(client).status, 200, "{user:?}: {what}");
        }
        for (slow, (user, (what, ..), expected)) in slow.into_iter().zip(&cases) {
            let answer = slow.join().unwrap();
            assert_eq!(&answer.refused(), *expected, "{user:?}: {what}");
        }
    });
    for (client, (user, (what, ..), _)) in clients.iter().zip(&cases) {
        for mut tab in pair.both(client) {
            let data = tab.get("/api/data/x").text();
            assert!(!data.contains("late"), "{user:?}: {what}: {data}");
        }
    }
    for entry in pair.server.dump() {
        assert!(!entry.contains(b"late"), "{entry:?}");
    }
}

#[test]
fn inv15_r28_of_parallel_regenerations_at_both_one_wins_and_the_losers_leave_the_cookie_alone() {
    let pair = Pair::start(&[]);
    for number in 0..10 {
        let client = pair.signed_in(number, "alice");
        let tabs = at_once(8, |number| {
            let mut tab = client.at(pair.turn(number));
            let answer = tab.post("/api/regenerate");
            (answer, tab)
        });
        let (mut winners, mut losers) = (Vec::new(), Vec::new());
        for (answer, tab) in tabs {
            match answer.set_cookie() {
                Some(_) => winners.push((answer, tab)),
                None => losers.push(answer),
            }
        }
        assert_eq!(winners.len(), 1, "exactly one has the new id");
        let (answer, tab) = &winners[0];
        assert_eq!(answer.status, 200);
        assert!(pair.is_signed_in(tab));
        for answer in losers {
            assert_eq!(answer.refused(), refusal(409, "session_moved"));
        }
    }
}

#[test]
fn inv15_under_an_id_superseded_at_the_other_process_nothing_is_made_but_by_signing_in() {
    let pair = Pair::start(&[]);
    let mut client = session(&pair, 0, Some("alice"));
    let old = client.clone();
    client.post("/api/regenerate");
    for mut tab in pair.both(&old) {
        for (method, path) in [
            (Method::PUT, "/api/data/x"),
            (Method::DELETE, "/api/data/x"),
            (Method::POST, "/api/count/n"),
            (Method::POST, "/api/slow/x"),
        ] {
            let answer = tab.send_json(method.clone(), path, "1");
            assert_eq!(
                answer.refused(),
                refusal(409, "session_moved"),
                "{method} {path}"
            );
        }
        let logout = tab.post("/api/logout");
        assert_eq!(logout.set_cookie(), None, "the winner keeps the cookie");
        assert_eq!(logout.json()["outcome"], "none");
    }
    for mut tab in pair.both(&client) {
        assert_eq!(tab.get("/api/data/x").json(), json!("before"));
        assert_eq!(tab.get("/api/me").json()["user"], "alice");
    }
    assert_eq!(client.listed().len(), 1);
}

#[test]
fn a_made_up_id_is_a_stranger_at_both_and_is_never_adopted() {
    let pair = Pair::start(&[]);
    let mut client = pair.turn(0).client();
    client.cookie = Some(format!("__Host-session={}", "A".repeat(47)));
    let planted = client.cookie.clone();
    for mut tab in pair.both(&client) {
        assert_eq!(tab.get("/api/session").json()["kind"], "none");
        assert_eq!(tab.login("alice").status, 200);
        assert_ne!(tab.cookie, planted);
    }
    for mut tab in pair.both(&client) {
        assert_eq!(tab.get("/api/session").json()["user"], Value::Null);
    }
}
