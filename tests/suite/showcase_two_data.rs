//! Two processes on one Redis: what is written at one is there at the other, and nothing is lost between them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::support::crowd::at_once;
use crate::support::{Pair, Proxy, Server, Showcase};

#[test]
fn r58_parallel_writes_of_different_keys_through_both_survive() {
    let pair = Pair::start(&[]);
    let mut client = pair.signed_in(0, "alice");
    client.put("/api/data/before", &json!("kept"));
    let written = at_once(40, |number| {
        let mut tab = client.at(pair.turn(number));
        // Half of them store in the handler, and half with the response.
        let path = match number % 4 {
            0 | 1 => format!("/api/slow/k{number}?ms=10"),
            _ => {
                return tab
                    .put(&format!("/api/data/k{number}"), &json!(number))
                    .status;
            }
        };
        tab.post_json(&path, &json!(number)).status
    });
    assert_eq!(written, [204; 40]);
    for mut tab in pair.both(&client) {
        for number in 0..40 {
            let read = tab.get(&format!("/api/data/k{number}"));
            assert_eq!((read.status, read.text()), (200, number.to_string()));
        }
        assert_eq!(tab.get("/api/data/before").json(), json!("kept"));
    }
}

#[test]
fn r59_a_hundred_parallel_counts_through_both_give_a_hundred() {
    let pair = Pair::start(&[]);
    let client = pair.signed_in(0, "alice");
    let counts: BTreeSet<_> = at_once(100, |number| {
        let answer = client.at(pair.turn(number)).post("/api/count/n");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["value"].as_i64()
    })
    .into_iter()
    .collect();
    assert_eq!(counts, (1..=100).map(Some).collect(), "each got its own");
    for mut tab in pair.both(&client) {
        assert_eq!(tab.get("/api/data/n").json(), json!(100));
    }
}

/// The records and the lists of users, with all that is in them.
fn sessions(server: &Server) -> Vec<(Vec<u8>, Vec<Vec<u8>>)> {
    let dump = server.dump().into_iter();
    dump.filter(|entry| String::from_utf8_lossy(&entry.key).contains("session"))
        .map(|entry| (entry.key, entry.values))
        .collect()
}

#[test]
fn r60_a_reader_never_writes() {
    let pair = Pair::start(&[]);
    let mut client = pair.signed_in(0, "alice");
    client.put("/api/data/x", &json!(0));
    let before = sessions(&pair.server);
    assert_eq!(before.len(), 2, "a record and a list");
    for mut tab in pair.both(&client) {
        for path in [
            "/api/session",
            "/api/data/x",
            "/api/me",
            "/api/sessions",
            "/",
        ] {
            let answer = tab.get(path);
            assert_eq!((answer.status, answer.set_cookie()), (200, None), "{path}");
        }
    }
    assert_eq!(sessions(&pair.server), before);

    // Nor does one that read what was there before a write, and is done after it.
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..4 {
            let (mut tab, over) = (client.at(pair.turn(number)), &over);
            scope.spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    assert_eq!(tab.get("/").status, 200);
                }
            });
        }
        for number in 1..=50 {
            client.go_to(pair.turn(number));
            assert_eq!(client.put("/api/data/x", &json!(number)).status, 204);
            client.go_to(pair.turn(number + 1));
            assert_eq!(client.get("/api/data/x").json(), json!(number));
        }
        over.store(true, Ordering::SeqCst);
    });
    for mut tab in pair.both(&client) {
        assert_eq!(tab.get("/api/data/x").json(), json!(50));
    }
}

/// 40 ms each way, and not 200: a command that takes longer than 150 ms counts as lost, which is another subject.
#[test]
fn r61_after_a_redirect_the_other_process_shows_the_write_also_when_redis_is_slow() {
    let server = Server::start();
    let proxies = [(); 2].map(|()| Proxy::start(server.address()));
    let showcases = [0, 1].map(|number| Showcase::on(&proxies[number].url(), &[]));
    let mut client = showcases[0].signed_in("alice");
    for proxy in &proxies {
        proxy.slow(Duration::from_millis(40));
    }
    for (number, item) in ["tea", "milk", "honey", "bread"].into_iter().enumerate() {
        client.go_to(&showcases[number % 2]);
        let answer = client.post_form("/list/cart/add", &format!("item={item}"));
        assert_eq!((answer.status, answer.header("location")), (303, Some("/")));
        client.go_to(&showcases[(number + 1) % 2]);
        let page = client.get("/").text();
        assert!(page.contains(item), "{item} in {page}");
    }
    let cart = json!(["tea", "milk", "honey", "bread"]);
    assert_eq!(client.get("/api/data/cart").json(), cart);
}
