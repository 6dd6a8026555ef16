//! Two processes on one Redis: a user's sessions are listed, limited and ended as one.

use std::collections::BTreeSet;
use std::thread;

use serde_json::json;

use crate::showcase::{assert_ended, refusal};
use crate::support::crowd::at_once;
use crate::support::wait::wait_for;
use crate::support::{Client, Pair};

/// The handles of those that are signed in, as both processes see it.
fn signed_in(pair: &Pair, clients: &[Client]) -> BTreeSet<String> {
    let open = clients.iter().filter(|client| pair.is_signed_in(client));
    open.map(|client| client.clone().handle()).collect()
}

/// The handles of the list, which is the same at both.
#[track_caller]
fn listed(pair: &Pair, client: &Client) -> BTreeSet<String> {
    let [one, other] = pair.both(client).map(|mut tab| tab.listed());
    assert_eq!(one, other, "both processes list the same");
    one
}

#[test]
fn a_user_of_both_is_listed_limited_and_ended_as_one() {
    let pair = Pair::start(&["--limit", "4"]);
    let mut clients: Vec<_> = (0..4)
        .map(|number| pair.signed_in(number, "alice"))
        .collect();
    let bob = pair.signed_in(0, "bob");
    let all: BTreeSet<_> = clients.iter_mut().map(Client::handle).collect();
    for client in &clients {
        assert_eq!(listed(&pair, client), all);
    }
    clients.push(pair.signed_in(1, "alice"));
    for mut oldest in pair.both(&clients[0]) {
        assert_ended(&mut oldest, "limit");
    }
    assert_eq!(listed(&pair, &clients[4]).len(), 4);
    assert_eq!(pair.turn(0).revoke("alice"), 4);
    for client in &clients[1..] {
        for mut tab in pair.both(client) {
            assert_ended(&mut tab, "revoked");
        }
    }
    assert!(pair.is_signed_in(&bob));
}

#[test]
fn inv12_r41_fifty_parallel_logins_through_both_leave_the_five_that_are_listed() {
    let pair = Pair::start(&["--limit", "5"]);
    let mut clients = at_once(50, |number| pair.signed_in(number, "alice"));
    for number in 0..3 {
        let open = signed_in(&pair, &clients);
        assert_eq!(open.len(), 5);
        let one = clients.iter().find(|client| pair.is_signed_in(client));
        assert_eq!(listed(&pair, one.unwrap()), open);
        clients.push(pair.signed_in(number, "alice"));
    }
}

#[test]
fn inv12_r42_of_parallel_logins_through_both_exactly_five_succeed_where_the_limit_refuses() {
    let pair = Pair::start(&["--limit", "5", "--at-limit", "refuse"]);
    let logins = at_once(50, |number| {
        let mut client = pair.turn(number).client();
        let answer = client.login("alice");
        (answer, client)
    });
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    for (answer, client) in logins {
        if answer.status == 200 {
            inside.push(client);
        } else {
            assert_eq!(answer.refused(), refusal(409, "too_many_sessions"));
            outside.push(client);
        }
    }
    assert_eq!((inside.len(), outside.len()), (5, 45));
    let open = signed_in(&pair, &inside);
    assert_eq!((open.len(), &listed(&pair, &inside[0])), (5, &open));

    for (number, client) in inside.iter_mut().enumerate() {
        client.go_to(pair.turn(number));
        assert_eq!(client.login("alice").status, 200, "it replaces its own");
    }
    assert_eq!(inside[0].post("/api/logout").status, 200);
    let again = at_once(10, |number| {
        outside[number].at(pair.turn(number)).login("alice")
    });
    let successes = again.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(successes, 1, "one place was free");
}

#[test]
fn r42_r43_what_expired_neither_counts_nor_appears() {
    let pair = Pair::with([
        &["--limit", "2", "--at-limit", "refuse", "--idle", "0.3"],
        &["--limit", "2", "--at-limit", "refuse"],
    ]);
    let forgotten = [(); 2].map(|()| pair.signed_in(0, "alice"));
    let mut clients = [(); 2].map(|()| pair.turn(1).client());
    for client in &mut clients {
        wait_for("a place frees itself", || {
            let answer = client.login("alice");
            (answer.status == 200).then_some(())
        });
    }
    let open = signed_in(&pair, &clients);
    assert_eq!((open.len(), listed(&pair, &clients[0])), (2, open));
    for client in &forgotten {
        for mut tab in pair.both(client) {
            assert_ended(&mut tab, "idle");
        }
    }
}

#[test]
fn inv12_r44_the_list_at_both_is_exactly_what_authenticates() {
    let pair = Pair::start(&["--limit", "12"]);
    let clients = at_once(16, |number| pair.signed_in(number, "alice"));
    let acted = at_once(16, |number| {
        let mut client = clients[number].at(pair.turn(number / 2));
        match number % 4 {
            0 => client.post("/api/logout"),
            1 => client.post("/api/regenerate"),
            2 => client.login("alice"),
            _ => client.put("/api/data/x", &json!(number)),
        };
        client
    });
    let open = signed_in(&pair, &acted);
    let mut last = acted
        .iter()
        .find(|client| pair.is_signed_in(client))
        .unwrap()
        .clone();
    assert_eq!(listed(&pair, &last), open);
    for (number, handle) in open.iter().enumerate() {
        if *handle == last.handle() {
            continue;
        }
        last.go_to(pair.turn(number));
        assert_eq!(last.delete(&format!("/api/sessions/{handle}")).status, 200);
        assert_eq!(listed(&pair, &last), signed_in(&pair, &acted));
    }
    assert_eq!(
        listed(&pair, &last),
        BTreeSet::from([last.clone().handle()])
    );
}

#[test]
fn r48_whoever_is_revoked_at_one_is_refused_by_the_next_request_at_the_other() {
    let pair = Pair::start(&[]);
    for number in 0..20 {
        let user = format!("mallory-{number}");
        let clients = [0, 1].map(|number| pair.signed_in(number, &user));
        thread::scope(|scope| {
            // Nothing that they do meanwhile keeps them in.
            for client in &clients {
                let mut tab = client.at(pair.turn(number));
                scope.spawn(move || tab.put("/api/data/x", &json!(number)));
            }
            assert_eq!(pair.turn(number).revoke(&user), 2);
            for client in &clients {
                assert_ended(&mut client.at(pair.turn(number + 1)), "revoked");
            }
        });
        assert!(clients.iter().all(|client| !pair.is_signed_in(client)));
    }
}

#[test]
fn r50_a_user_ends_nobody_elses_session_by_its_handle() {
    let pair = Pair::start(&[]);
    let mut alice = pair.signed_in(0, "alice");
    let mut bob = pair.signed_in(1, "bob");
    let mut stranger = pair.turn(0).client();
    stranger.put("/api/data/x", &json!(1));
    for handle in [bob.handle(), stranger.handle()] {
        for mut tab in pair.both(&alice) {
            let answer = tab.delete(&format!("/api/sessions/{handle}"));
            assert_eq!(answer.refused(), refusal(404, "not_found"));
        }
    }
    assert!(pair.is_signed_in(&bob));
    assert_eq!(stranger.get("/api/data/x").json(), json!(1));
    assert_eq!(alice.listed().len(), 1);
    assert_eq!(bob.listed().len(), 1);
}
