//! What a reviewer would try: runtimes that end, shards that are away, clocks that were put right, replies that got lost
//! at the worst moment.

use std::time::{Duration, SystemTime};

use sessile::record::{Entry, NewRecord};
use sessile::store::{Create, Created, EndScope, EndSessions};
use sessile::{EndReason, RedisStore, SessionStore, UserId};
use tokio::runtime::Runtime;

use super::fixture::{
    HOUR, SECOND, ask, creation, end, index_name, is_live, made, made_as, new_record, record_name,
    warm_up,
};
use crate::support::cluster::Cluster;
use crate::support::dump::contains;
use crate::support::proxy::Proxy;
use crate::support::redis::Server;
use crate::support::sentinel::Sentinels;
use crate::support::wait::wait_until;

/// Each of its steps has checked everything that could fail before it wrote, also where the slot is on its way.
#[tokio::test(flavor = "multi_thread")]
async fn inv12_an_end_of_all_that_fails_in_a_slot_half_way_leaves_the_since_of_the_one_before() {
    let cluster = Cluster::start();
    let store = RedisStore::cluster(cluster.urls()).connect().await.unwrap();
    let began = store.now();
    let key = made(&store, "alice").await;
    let all = || end(EndScope::All("alice".into()));
    store.end(all()).await.unwrap();
    made(&store, "alice").await;
    let slot = cluster.slot_of(format!("{{{}}}", key.bucket));
    let migration = cluster.begin_migration(slot, (cluster.master_of(slot) + 1) % 3);
    // Whatever comes of it.
    let _ = store.end(all()).await;
    while migration.move_keys(10) > 0 {}
    migration.finish();
    let late = Create {
        began_at: began,
        ..creation(&store, "alice")
    };
    let created = store.create(late).await.unwrap();
    assert_eq!(created, Created::Refused(EndReason::Revoked));
}

#[test]
fn inv02_ends_are_pursued_also_when_the_runtime_that_began_it_is_gone() {
    let server = Server::start();
    let (first, second) = (Runtime::new().unwrap(), Runtime::new().unwrap());
    let (store, proxy) = second.block_on(async {
        let proxy = Proxy::start(server.address());
        let store = RedisStore::connect(&proxy.url()).await.unwrap();
        (store, proxy)
    });
    // Of the creation: the pursued ends name no user.
    let lose = || {
        for _ in 0..2 {
            proxy.drop_reply_of(|command| contains(command, b"}:alice"));
        }
    };
    let lost = async || {
        lose();
        let create = creation(&store, "alice");
        let key = create.key;
        store.create(create).await.unwrap_err();
        key
    };
    let one = first.block_on(async {
        warm_up(&store).await;
        lost().await
    });
    drop(first);
    second.block_on(async {
        // The connections of the first runtime ended with it.
        wait_until("it is reached again", async || {
            store.list("alice".into()).await.is_ok()
        })
        .await;
        let two = lost().await;
        for key in [one, two] {
            wait_until("the session that nobody holds is ended", async || {
                store
                    .load(key)
                    .await
                    .is_ok_and(|entry| matches!(entry, Some(Entry::Ended(_))))
            })
            .await;
        }
    });
}

/// Whoever makes a session goes on with it, though nothing of their own is lost.
#[test]
fn inv02_ends_that_a_runtime_left_behind_are_pursued_from_the_next_session_on() {
    let server = Server::start();
    let (first, second) = (Runtime::new().unwrap(), Runtime::new().unwrap());
    let (store, proxy) = second.block_on(async {
        let proxy = Proxy::start(server.address());
        let store = RedisStore::connect(&proxy.url()).await.unwrap();
        (store, proxy)
    });
    let key = first.block_on(async {
        warm_up(&store).await;
        let create = creation(&store, "alice");
        let key = create.key;
        let (list, aside) = (index_name(key, "alice"), index_name(key, "aside"));
        let client = redis::Client::open(server.url()).unwrap();
        proxy.drop_reply_of(|command| contains(command, b"}:alice"));
        // Once it is made: a list of another type, at which its end fails.
        proxy.drop_reply_of(move |command| {
            let is_its_own = contains(command, b"}:alice");
            if is_its_own {
                let _: () = redis::pipe()
                    .rename(&list, &aside)
                    .set(&list, "foreign")
                    .query(&mut client.get_connection().unwrap())
                    .unwrap();
            }
            is_its_own
        });
        store.create(create).await.unwrap_err();
        key
    });
    drop(first);
    let (list, aside) = (index_name(key, "alice"), index_name(key, "aside"));
    let _: () = ask(&server, &["RENAME", &aside, &list]);
    second.block_on(async {
        wait_until("it is reached again", async || {
            store.list("bob".into()).await.is_ok()
        })
        .await;
        assert!(is_live(&store, key).await);
        made(&store, "bob").await;
        wait_until("the session that nobody holds is ended", async || {
            matches!(store.load(key).await, Ok(Some(Entry::Ended(_))))
        })
        .await;
    });
}

#[test]
fn a_store_survives_a_runtime_that_ends_while_it_connects() {
    let server = Server::start();
    let first = Runtime::new().unwrap();
    let store = first.block_on(RedisStore::connect(&server.url())).unwrap();
    drop(first);
    // Its connections are gone, and while Redis is stopped the next one is never made.
    server.stop();
    for _ in 0..3 {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let list =
                || tokio::time::timeout(Duration::from_millis(60), store.list("alice".into()));
            let _ = tokio::join!(list(), list(), list());
        });
        runtime.shutdown_background();
    }
    server.resume();
    Runtime::new().unwrap().block_on(async {
        wait_until("it is reached again", async || {
            store.list("alice".into()).await.is_ok()
        })
        .await;
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_was_never_reached_is_not_answering() {
    let store = RedisStore::cluster(["redis://127.0.0.1:1"])
        .connect()
        .await
        .unwrap();
    assert!(!store.is_answering());
    store.list("alice".into()).await.unwrap_err();
    // Its heart beats once a second, and must not find that all of its no servers are well.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(!store.is_answering());
}

/// An end was written when the clock of Redis was an hour ahead, and the clock was put right since.
#[tokio::test]
async fn inv06_a_since_that_no_clock_has_reached_yet_ends_nobody_elses_session() {
    let server = Server::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let user = UserId::from("mallory");
    let ahead = (SystemTime::now() + HOUR)
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    let _: () = redis::cmd("SET")
        .arg(format!("user_since:{{{}}}:mallory", store.bucket(&user)))
        .arg(ahead.as_micros().to_string())
        .arg("EX")
        .arg(4000)
        .query(&mut server.connection())
        .unwrap();
    let alice = made(&store, "alice").await;
    store.end(end(EndScope::All(user))).await.unwrap();
    assert!(is_live(&store, alice).await);
    let ahead = store
        .now()
        .duration_since(SystemTime::now())
        .unwrap_or_default();
    assert!(ahead < Duration::from_secs(60), "{ahead:?}");
    made(&store, "mallory").await;
    assert_eq!(store.list("mallory".into()).await.unwrap().len(), 1);
}

/// An acknowledged end of all moves what counts as now for whoever begins, and nobody's end.
#[tokio::test]
async fn inv06_a_since_that_is_a_little_ahead_ends_nobody_elses_session() {
    let server = Server::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let user = UserId::from("mallory");
    let now = store.now();
    let new = NewRecord {
        absolute_end: now + 3 * SECOND,
        ..new_record(now, "alice")
    };
    let alice = made_as(&store, &new).await;
    let since = format!("user_since:{{{}}}:mallory", store.bucket(&user));
    let ahead = (now + 4 * SECOND)
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    let ahead = ahead.as_micros().to_string();
    let _: () = ask(&server, &["SET", &since, &ahead, "EX", "4000"]);
    store.end(end(EndScope::All(user))).await.unwrap();
    assert!(store.now() >= now + 4 * SECOND);
    assert!(is_live(&store, alice).await);
}

#[tokio::test]
async fn a_note_that_is_too_long_is_cut_and_still_told() {
    let server = Server::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    for scope in [
        |key| EndScope::One(key, None),
        |_| EndScope::All("alice".into()),
    ] {
        let key = made(&store, "alice").await;
        let end = EndSessions {
            scope: scope(key),
            reason: EndReason::Revoked,
            note: Some("n".repeat(300).into()),
            before: None,
        };
        store.end(end).await.unwrap();
        match store.load(key).await.unwrap() {
            Some(Entry::Ended(tombstone)) => assert_eq!(tombstone.end.note.unwrap().len(), 256),
            other => panic!("an end was expected, and there is {other:?}"),
        }
    }
}

/// What opens can be ended: nothing is a record for one reader and none for another.
#[tokio::test]
async fn inv02_what_the_scripts_cannot_read_opens_for_nobody() {
    let server = Server::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let create = creation(&store, "alice");
    let key = create.key;
    let mut bytes = Entry::Live(create.record.clone()).to_bytes();
    store.create(create).await.unwrap();
    // One part more, in the newer form of MessagePack's byte strings.
    bytes[0] += 1;
    bytes.extend_from_slice(b"\xa1z\xc4\x01Q");
    let _: () = redis::cmd("SET")
        .arg(record_name(key))
        .arg(bytes)
        .arg("KEEPTTL")
        .query(&mut server.connection())
        .unwrap();
    assert_eq!(store.load(key).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn inv02_a_shard_that_is_away_does_not_hold_up_the_ends_at_another() {
    let cluster = Cluster::with(0, &["cluster-require-full-coverage no"]);
    let store = RedisStore::cluster(cluster.urls()).connect().await.unwrap();
    let mut users: [Vec<String>; 3] = Default::default();
    for user in (0..200).map(|n| format!("user-{n}")) {
        let bucket = store.bucket(&UserId::from(user.as_str()));
        users[cluster.master_of(cluster.slot_of(format!("{{{bucket}}}")))].push(user);
    }
    for some in &users {
        for user in some.iter().take(3) {
            made(&store, user).await;
            store.list(user.as_str().into()).await.unwrap();
        }
    }
    let creations = |node: usize, count: usize| {
        let tasks: Vec<_> = users[node][..count]
            .iter()
            .map(|user| {
                let (store, create) = (store.clone(), creation(&store, user));
                let key = create.key;
                tokio::spawn(async move { (key, store.create(create).await) })
            })
            .collect();
        tasks
    };
    cluster.node(0).stop();
    for task in creations(0, 20) {
        task.await.unwrap().1.unwrap_err();
    }
    cluster.node(1).stop();
    let mut lost = Vec::new();
    for task in creations(1, 3) {
        let (key, created) = task.await.unwrap();
        created.unwrap_err();
        lost.push(key);
    }
    cluster.node(1).resume();
    wait_until("the other shard is reached again", async || {
        store.load(lost[0]).await.is_ok()
    })
    .await;
    for key in lost {
        wait_until(
            "the session that nobody holds is ended, or was never made",
            async || !matches!(store.load(key).await, Ok(Some(Entry::Live(_))) | Err(_)),
        )
        .await;
    }
}

/// So that a login that takes values along is not told that there were none.
#[tokio::test(flavor = "multi_thread")]
async fn inv07_an_end_whose_reply_was_lost_does_not_say_that_there_was_nothing() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let store = RedisStore::connect(&proxy.url()).await.unwrap();
    warm_up(&store).await;
    let key = made(&store, "alice").await;
    proxy.drop_reply_of(|command| contains(command, b"EVALSHA"));
    store.end(end(EndScope::One(key, None))).await.unwrap_err();
    assert!(!is_live(&store, key).await);
    let again = store.end(end(EndScope::One(key, None))).await.unwrap();
    assert_eq!((again.sessions.len(), again.last), (0, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_that_hang_do_not_hide_one_that_answers() {
    let sentinels = Sentinels::start();
    let hanging: Vec<_> = (0..4)
        .map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    let mut urls: Vec<_> = hanging
        .iter()
        .map(|listener| format!("redis://{}", listener.local_addr().unwrap()))
        .collect();
    urls.push(sentinels.sentinel_urls()[0].clone());
    let store = RedisStore::sentinel(urls, sentinels.master_name())
        .connect()
        .await
        .unwrap();
    wait_until("the one that answers is asked", async || {
        store.list("alice".into()).await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inv10_a_creation_that_is_dropped_leaves_no_session() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let store = RedisStore::connect(&proxy.url()).await.unwrap();
    warm_up(&store).await;
    proxy.slow(Duration::from_millis(40));
    let create = creation(&store, "alice");
    let key = create.key;
    tokio::time::timeout(Duration::from_millis(20), store.create(create))
        .await
        .unwrap_err();
    proxy.slow(Duration::ZERO);
    wait_until("what was made for nobody is ended", async || {
        matches!(store.load(key).await, Ok(Some(Entry::Ended(_))))
    })
    .await;
}
