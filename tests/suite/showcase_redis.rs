//! A showcase and its Redis: namespaces, and a process that restarts.

use std::collections::BTreeSet;

use serde_json::json;

use crate::showcase::{assert_ended, refusal};
use crate::support::{Client, Pair, Server, Showcase};

/// The keys that hold sessions or lists of them.
pub(crate) fn keys(server: &Server) -> BTreeSet<String> {
    let keys = server.dump().into_iter();
    keys.map(|entry| String::from_utf8_lossy(&entry.key).into_owned())
        .filter(|key| key.contains("session"))
        .collect()
}

#[test]
fn two_namespaces_on_one_redis_never_see_each_other() {
    let options: [&[&str]; 3] = [
        &["--limit", "2"],
        &["--limit", "2", "--namespace", "shop"],
        &["--limit", "2", "--namespace", "shop-2"],
    ];
    let server = Server::start();
    let showcases = options.map(|options| Showcase::on(&server.url(), options));
    let clients: [[Client; 2]; 3] =
        [0, 1, 2].map(|number| [(); 2].map(|()| showcases[number].signed_in("alice")));
    for (number, [client, _]) in clients.iter().enumerate() {
        for (elsewhere, showcase) in showcases.iter().enumerate() {
            let session = client.at(showcase).get("/api/session");
            let expected = if number == elsewhere { "user" } else { "none" };
            assert_eq!(session.json()["kind"], expected);
            assert_eq!(session.set_cookie(), None);
        }
        assert_eq!(
            client.clone().listed().len(),
            2,
            "each has a limit of its own"
        );
    }
    // Nor does one end another's, neither by the id, nor by the handle, nor by the user.
    let [[mut own, mut other], [foreign, _], _] = clients.clone();
    foreign.at(&showcases[0]).post("/api/logout");
    let handle = foreign.clone().handle();
    let answer = own.delete(&format!("/api/sessions/{handle}"));
    assert_eq!(answer.refused(), refusal(404, "not_found"));
    assert_eq!(own.delete("/api/sessions").json()["ended"], 2);
    assert_ended(&mut other, "revoked");
    for mut client in clients[1..].iter().flatten().cloned() {
        assert!(client.is_signed_in());
    }
    let keys = keys(&server);
    for (prefix, records) in [
        ("session:", 2),
        ("shop:session:", 2),
        ("shop-2:session:", 2),
    ] {
        let count = keys.iter().filter(|key| key.starts_with(prefix)).count();
        assert_eq!(count, records, "{prefix} in {keys:?}");
    }
}

#[test]
fn a_process_that_restarts_finds_its_sessions_and_ends_again() {
    let mut pair = Pair::start(&[]);
    let mut clients = [0, 1].map(|number| pair.signed_in(number, "alice"));
    let mut revoked = pair.signed_in(0, "bob");
    for (number, client) in clients.iter_mut().enumerate() {
        client.put("/api/data/x", &json!(number));
    }
    pair.turn(1).revoke("bob");
    // Killed, and another one in its place.
    pair.showcases[0] = Showcase::on(&pair.server.url(), &[]);
    for (number, client) in clients.iter().enumerate() {
        for mut tab in pair.both(client) {
            assert_eq!(tab.get("/api/data/x").json(), json!(number));
            assert_eq!(tab.listed().len(), 2);
        }
    }
    revoked.go_to(pair.turn(0));
    assert_ended(&mut revoked, "revoked");
    let counts = [0, 1, 2].map(|number| {
        clients[0].go_to(pair.turn(number));
        clients[0].post("/api/count/n").json()["value"].clone()
    });
    assert_eq!(counts, [1, 2, 3]);
}
