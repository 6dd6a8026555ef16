//! What Redis is asked, and what happens when something else stands where a session should.

use std::collections::BTreeSet;

use http::StatusCode;
use sessile::Kind;
use sessile::SessionStore;

use crate::harness::{Client, app};
use crate::on_redis::OnRedis;
use crate::stores::{key_of, on_every_store};

/// Of those that look at more than the keys they name, or that a managed Redis does not have.
async fn inv13_no_request_lists_keys_configures_or_listens(store: OnRedis) {
    let server = store.server();
    let mut monitor = server.monitor();
    let app = app(store.clone());
    let mut client = Client::new(&app);
    for path in [
        "/put/a/1",
        "/login/alice",
        "/put/a/1",
        "/count/n",
        "/regenerate",
        "/reauthenticate",
        "/login/alice",
        "/end-others",
        "/login/bob",
        "/logout",
        "/login/alice",
        "/revoke/alice/note",
    ] {
        client.post(path).await.ok();
    }
    let mut alice = Client::signed_in(&app, "alice").await;
    for path in ["/me", "/sessions"] {
        alice.get(path).await.ok();
    }
    let calls = monitor.take();
    let names = |calls: std::collections::BTreeMap<String, u64>| -> BTreeSet<String> {
        calls.into_keys().collect()
    };
    let asked = names(calls.clients);
    for expected in ["GET", "EVALSHA"] {
        assert!(asked.contains(expected), "{asked:?}");
    }
    let connecting = [
        "AUTH", "CLIENT", "HELLO", "INFO", "PING", "ROLE", "SELECT", "TIME",
    ];
    for name in asked {
        let expected = ["GET", "EVALSHA", "EVAL", "SCRIPT", "SET"];
        assert!(
            expected.contains(&&*name) || connecting.contains(&&*name),
            "clients called {name}"
        );
    }
    for name in names(calls.scripts) {
        let expected = [
            "DEL",
            "EXISTS",
            "GET",
            "LTRIM",
            "PEXPIREAT",
            "PTTL",
            // To whoever waits for the end of a session.
            "PUBLISH",
            "RENAME",
            "RPUSH",
            "SET",
            "TIME",
            "ZADD",
            "ZCARD",
            "ZRANGE",
            "ZRANGEBYSCORE",
            "ZRANK",
            "ZREM",
            "ZSCORE",
        ];
        assert!(expected.contains(&&*name), "a script called {name}");
    }
}

async fn inv14_what_is_no_record_is_a_stranger_and_never_a_500(store: OnRedis) {
    let server = store.server();
    for user in [None, Some("alice")] {
        let bytes = {
            let live = a_session(&store, user).await;
            let name = store.name_of(&key_of(live.id().unwrap()));
            let mut get = ::redis::cmd("GET");
            get.arg(name)
                .query::<Vec<u8>>(&mut server.connection())
                .unwrap()
        };
        let mut wrongs = vec![
            b"".to_vec(),
            b"garbage".to_vec(),
            vec![0xc1],
            vec![0xdf; 64],
        ];
        wrongs.extend((1..bytes.len()).step_by(7).map(|at| bytes[..at].to_vec()));
        wrongs.push([&*bytes, b"more"].concat());
        for wrong in wrongs.into_iter().map(Some).chain([None]) {
            let mut client = a_session(&store, user).await;
            let name = store.name_of(&key_of(client.id().unwrap()));
            let mut put = ::redis::pipe();
            match &wrong {
                Some(bytes) => put.cmd("SET").arg(&name).arg(bytes),
                // Of another type.
                None => put.cmd("DEL").arg(&name).cmd("RPUSH").arg(&name).arg("x"),
            };
            put.cmd("PEXPIRE").arg(&name).arg(60_000);
            put.exec(&mut server.connection()).unwrap();
            let what = format!("{user:?} {wrong:?}");
            assert_eq!(client.get("/who").await.body, "nobody", "{what}");
            for path in ["/me", "/sessions"] {
                let reply = client.get(path).await;
                assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{what}");
            }
            assert!(
                client.clone().post("/logout").await.status.is_success(),
                "{what}"
            );
            assert!(
                client.clone().post("/put/a/1").await.status.is_success(),
                "{what}"
            );
            // It is in nobody's way.
            client.post("/login/alice").await.ok();
            client.get("/sessions").await.ok();
            client.post("/end-all").await.ok();
            assert_eq!(store.list("alice".into()).await.unwrap(), [], "{what}");
            store.count(Kind::User).await.unwrap();
        }
    }
}

/// A client with a session that was just made.
async fn a_session(store: &OnRedis, user: Option<&str>) -> Client {
    let app = app(store.clone());
    match user {
        Some(user) => Client::signed_in(&app, user).await,
        None => {
            let mut client = Client::new(&app);
            client.post("/put/a/1").await.ok();
            client
        }
    }
}

on_every_store! {
    inv13_no_request_lists_keys_configures_or_listens(redis_alone),
    inv14_what_is_no_record_is_a_stranger_and_never_a_500(redis_alone),
}
