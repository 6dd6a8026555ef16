//! A demo that its holder brings along when they sign in: its messages stay, its old id dies, and nothing else crosses.

use serde_json::{Value, json};

use crate::showcase::{assert_is_uuid, refusal};
use crate::showcase_demo::{contents, say, started};
use crate::support::client::Answer;
use crate::support::crowd::race;
use crate::support::{Client, Pair, Place, on_both};

fn adopt(client: &mut Client, user: &str) -> Answer {
    client.post_json("/api/login", &json!({ "user": user, "adopt_demo": true }))
}

#[track_caller]
fn assert_moved(client: &mut Client) {
    for answer in [
        client.get("/api/demo"),
        client.get("/api/demo/messages"),
        client.post_json(
            "/api/demo/messages",
            &json!({ "role": "user", "content": "late" }),
        ),
    ] {
        assert_eq!(answer.refused(), refusal(404, "no_demo_session"));
        assert_eq!(answer.json()["reason"], "regenerated");
    }
    // The response with the new one may be on its way: nothing is made in its place.
    let start = client.post("/api/demo");
    assert_eq!(start.refused(), refusal(409, "session_moved"));
    assert_eq!(client.delete("/api/demo").status, 204);
}

on_both!(an_adopted_demo_keeps_what_was_said_under_another_cookie);
fn an_adopted_demo_keeps_what_was_said_under_another_cookie(place: &Place) {
    let showcase = place.start(&[]);
    let mut client = started(&showcase, "healthcare");
    client.put("/api/data/secret", &json!("planted"));
    for content in ["one", "two", "three"] {
        say(&mut client, content);
    }
    let before = client.get("/api/demo").json();
    let messages = client.get("/api/demo/messages").json();
    let mut old = client.clone();

    let login = adopt(&mut client, "alice");
    assert_eq!(login.status, 200, "{}", login.text());
    let answer = login.json();
    assert_eq!(answer["user"], "alice");
    assert_is_uuid(&answer["handle"]);
    assert_eq!(
        answer.as_object().unwrap().len(),
        2,
        "it says what a login says"
    );
    assert_eq!(login.set_cookies().len(), 2, "a new id for each");
    assert_ne!(client.demo, old.demo);
    assert!(client.is_signed_in());
    assert_eq!(client.get("/api/data/secret").status, 404);
    assert_eq!(client.get("/api/demo").json(), before);
    assert_eq!(client.get("/api/demo/messages").json(), messages);

    assert_moved(&mut old);
    assert_eq!(say(&mut client, "four").0, 201);
    let status = client.get("/api/demo").json();
    assert_eq!(status["message_count"], 4);
    assert_eq!(status["ends_at"], before["ends_at"]);
    // The cookie is what opens it, and who signed in elsewhere does not have it.
    let mut elsewhere = showcase.signed_in("alice");
    assert_eq!(elsewhere.get("/api/demo").status, 404);
}

on_both!(a_login_that_does_not_say_so_leaves_the_demo_alone);
fn a_login_that_does_not_say_so_leaves_the_demo_alone(place: &Place) {
    let showcase = place.start(&[]);
    for login in [
        json!({ "user": "alice" }),
        json!({ "user": "alice", "adopt_demo": false }),
    ] {
        let mut client = started(&showcase, "media");
        say(&mut client, "hello");
        let demo = client.demo.clone();
        let answer = client.post_json("/api/login", &login);
        assert_eq!((answer.status, answer.set_cookies().len()), (200, 1));
        assert_eq!(client.demo, demo);
        assert_eq!(contents(&mut client), ["hello"]);
    }
    for wrong in [json!("yes"), json!(1), json!(null)] {
        let login = json!({ "user": "alice", "adopt_demo": wrong });
        let answer = showcase.client().post_json("/api/login", &login);
        assert_eq!(answer.refused(), refusal(422, "invalid"), "{wrong}");
    }
}

on_both!(where_there_is_no_demo_to_bring_along_a_login_is_one_like_any_other);
fn where_there_is_no_demo_to_bring_along_a_login_is_one_like_any_other(place: &Place) {
    let showcase = place.start(&[]);
    let mut client = showcase.client();
    let answer = adopt(&mut client, "alice");
    assert_eq!((answer.status, answer.set_cookies().len()), (200, 1));

    let mut client = started(&showcase, "media");
    client.clone().delete("/api/demo");
    let dead = client.demo.clone();
    assert_eq!(adopt(&mut client, "alice").status, 200);
    assert_eq!(client.demo, dead);
    assert_eq!(client.get("/api/demo").status, 404);
}

on_both!(a_demo_is_its_users_and_nobody_else_brings_it_along);
fn a_demo_is_its_users_and_nobody_else_brings_it_along(place: &Place) {
    let showcase = place.start(&[]);
    let mut client = started(&showcase, "media");
    say(&mut client, "hello");
    adopt(&mut client, "alice");
    let (session, demo) = (client.cookie.clone(), client.demo.clone());
    let answer = adopt(&mut client, "bob");
    assert_eq!((answer.status, answer.set_cookies().len()), (200, 1));
    assert_ne!(client.cookie, session);
    assert_eq!(client.demo, demo, "it is as it was, and its holder's");
    // Its user may, again and again: each time it has another id.
    let mut ids = vec![demo];
    for _ in 0..3 {
        assert_eq!(adopt(&mut client, "alice").status, 200);
        assert!(!ids.contains(&client.demo));
        ids.push(client.demo.clone());
        assert_eq!(contents(&mut client), ["hello"]);
    }
}

/// Whoever adds something while the demo gets its new id has either added it, or is told that they have not.
fn assert_nothing_is_lost_and_nothing_doubled(said: &[(u16, Value)], found: &[String]) {
    let mut expected = Vec::new();
    for (number, (status, answer)) in said.iter().enumerate() {
        match (status, answer["error"].as_str()) {
            (201, None) => expected.push(number.to_string()),
            (404, Some("no_demo_session")) | (409, Some("session_moved")) => {}
            other => panic!("{other:?}: {answer}"),
        }
    }
    assert_eq!(found, expected);
}

fn assert_races_lose_nothing(rounds: usize, start: &dyn Fn(usize) -> [Client; 2]) {
    let mut refused = 0;
    for round in 0..rounds {
        let [mut client, mut tab] = start(round);
        let (login, said) = race(
            || {
                // At another moment of the other's each time.
                for _ in 0..round {
                    client.get("/api/ping");
                }
                adopt(&mut client, "alice")
            },
            || -> Vec<_> {
                (0..20)
                    .map(|number| say(&mut tab, &number.to_string()))
                    .collect()
            },
        );
        assert_eq!(login.status, 200);
        let found = contents(&mut client);
        assert_nothing_is_lost_and_nothing_doubled(&said, &found);
        assert_moved(&mut tab);
        refused += usize::from(found.len() < said.len());
    }
    assert!(refused > 0, "in some rounds the login came between");
}

on_both!(while_one_adopts_what_another_says_is_there_or_refused);
fn while_one_adopts_what_another_says_is_there_or_refused(place: &Place) {
    let showcase = place.start(&[]);
    assert_races_lose_nothing(8, &|_| {
        let client = started(&showcase, "media");
        [client.clone(), client]
    });
}

#[test]
fn while_one_adopts_at_one_process_what_another_says_at_the_other_is_there_or_refused() {
    let pair = Pair::start(&[]);
    assert_races_lose_nothing(8, &|round| {
        let client = started(pair.turn(round), "media");
        [client.at(pair.turn(round)), client.at(pair.turn(round + 1))]
    });
}

#[test]
fn of_two_who_adopt_one_demo_at_once_one_has_it_and_both_are_signed_in() {
    let pair = Pair::start(&[]);
    for round in 0..8 {
        let mut client = started(pair.turn(round), "media");
        say(&mut client, "hello");
        let (mut one, mut other) = (client.at(pair.turn(0)), client.at(pair.turn(1)));
        let (first, second) = race(|| adopt(&mut one, "alice"), || adopt(&mut other, "bob"));
        assert_eq!((first.status, second.status), (200, 200));
        let mut holders = 0;
        for (tab, user) in [(&mut one, "alice"), (&mut other, "bob")] {
            assert_eq!(tab.get("/api/me").json()["user"], user);
            if tab.demo == client.demo {
                assert_moved(tab);
            } else {
                assert_eq!(contents(tab), ["hello"]);
                holders += 1;
            }
        }
        assert_eq!(holders, 1);
    }
}
