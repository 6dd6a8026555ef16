//! Redis as it fails: connections that end, a server that restarts, that has no memory, that forgot its scripts, or
//! that holds what is not ours.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use sessile::record::{Changes, Clear, NewRecord, Record};
use sessile::store::{Applied, Create, EndScope, Failure, Part, StoreError};
use sessile::{EndReason, RedisStore, SessionStore};

use super::fixture::{
    add, change, creation, end, is_live, made, new_record, number, reason, regeneration, set,
    touch, warm_up,
};
use crate::support::dump::Entry as Held;
use crate::support::proxy::{Proxy, Stall};
use crate::support::redis::Server;
use crate::support::wait::wait_until;

async fn started() -> (Server, RedisStore) {
    let server = Server::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    (server, store)
}

fn dump(server: &Server) -> Vec<Held> {
    let mut dump = server.dump();
    for held in &mut dump {
        held.ttl = None;
    }
    dump
}

fn admin(server: &Server, command: &[&str]) {
    let _: redis::Value = redis::cmd(command[0])
        .arg(&command[1..])
        .query(&mut server.connection())
        .unwrap();
}

/// Runs `load` in eight tasks while `disturb` runs, and for a while after it.
async fn under_load<F>(
    store: &RedisStore,
    load: impl Fn(RedisStore, usize) -> F + Clone + Send + 'static,
    disturb: impl AsyncFnOnce(),
) where
    F: Future<Output = ()> + Send,
{
    let done = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let (store, done, load) = (store.clone(), Arc::clone(&done), load.clone());
            tokio::spawn(async move {
                while !done.load(Ordering::SeqCst) {
                    load(store.clone(), n).await;
                }
            })
        })
        .collect();
    disturb().await;
    done.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_that_the_server_forgets_under_load_are_sent_again_and_nobody_notices() {
    let (server, store) = started().await;
    let key = made(&store, "alice").await;
    let added = Arc::new(AtomicI64::new(0));
    let counted = Arc::clone(&added);
    let load = move |store: RedisStore, n: usize| {
        let counted = Arc::clone(&counted);
        async move {
            let user = format!("user-{n}");
            let own = made(&store, &user).await;
            let saved = store.apply(change(key, add("n", 1))).await.unwrap();
            assert!(matches!(saved, Applied::Saved(Some(_))), "{saved:?}");
            counted.fetch_add(1, Ordering::SeqCst);
            store.replace(regeneration(&store, own)).await.unwrap();
            let ended = store.end(end(EndScope::All(user.into()))).await.unwrap();
            assert_eq!(ended.sessions.len(), 1);
        }
    };
    under_load(&store, load, async || {
        for _ in 0..100 {
            admin(&server, &["SCRIPT", "FLUSH"]);
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(number(&store, key, "n").await, added.load(Ordering::SeqCst));
}

/// Reads go on, and whatever else was in flight is known to have happened, or told to be unknown; nothing twice.
#[tokio::test(flavor = "multi_thread")]
async fn inv07_connections_that_are_killed_under_load_cost_no_read_and_double_no_change() {
    let (server, store) = started().await;
    warm_up(&store).await;
    let key = made(&store, "alice").await;
    let (known, unknown) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(0)));
    let (yes, maybe) = (Arc::clone(&known), Arc::clone(&unknown));
    let load = move |store: RedisStore, _: usize| {
        let (yes, maybe) = (Arc::clone(&yes), Arc::clone(&maybe));
        async move {
            assert!(is_live(&store, key).await);
            match store.apply(change(key, add("n", 1))).await {
                Ok(saved) => {
                    assert!(matches!(saved, Applied::Saved(Some(_))), "{saved:?}");
                    yes.fetch_add(1, Ordering::SeqCst);
                }
                Err(_) => {
                    maybe.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
    };
    under_load(&store, load, async || {
        for _ in 0..30 {
            // Not the supervisor, who comes by another way.
            admin(&server, &["CLIENT", "KILL", "USER", "default"]);
            wait_until("they are replaced", async || store.load(key).await.is_ok()).await;
        }
    })
    .await;
    let (known, unknown) = (known.load(Ordering::SeqCst), unknown.load(Ordering::SeqCst));
    let counted = number(&store, key, "n").await;
    assert!(known > 0);
    assert!(
        (known..=known + unknown).contains(&counted),
        "{counted} of {known} that are known and {unknown} that are not"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_cut_is_gone_round_at_once() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let store = RedisStore::connect(&proxy.url()).await.unwrap();
    warm_up(&store).await;
    let key = made(&store, "alice").await;
    for n in 1..20 {
        proxy.cut();
        // What can be sent again succeeds. A change finds a connection that is known to be dead, or says that it does
        // not know.
        assert!(is_live(&store, key).await, "cut {n}");
        let saved = store.apply(change(key, add("n", 1))).await.unwrap();
        assert_eq!(saved, Applied::Saved(Some(n)));
    }
}

/// What is sent but once is not handed to a connection that is dead, as soon as that can be known.
#[tokio::test(flavor = "multi_thread")]
async fn inv10_a_change_right_after_a_cut_is_not_lost_with_the_old_connection() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let store = RedisStore::connect(&proxy.url()).await.unwrap();
    warm_up(&store).await;
    let key = made(&store, "alice").await;
    let mut saved = 0;
    for _ in 0..5 {
        assert!(is_live(&store, key).await);
        proxy.cut();
        // A round trip elsewhere, in which the end of a connection is noticed as a rule.
        admin(&server, &["PING"]);
        saved += i64::from(store.apply(change(key, add("n", 1))).await.is_ok());
    }
    assert!(saved > 0);
    assert_eq!(number(&store, key, "n").await, saved);
}

/// Bytes that go nowhere: the command times out, its connection counts as broken, and the next one is a new one.
#[tokio::test(flavor = "multi_thread")]
async fn inv08_a_network_that_stalls_is_an_error_within_the_budget_and_found_again() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let store = RedisStore::connect(&proxy.url()).await.unwrap();
    warm_up(&store).await;
    let key = made(&store, "alice").await;
    for what in [Stall::Both, Stall::Replies] {
        proxy.stall(what);
        let began = std::time::Instant::now();
        store.load(key).await.unwrap_err();
        // Not a speed: whoever waits without a bound waits for ever.
        assert!(began.elapsed() < std::time::Duration::from_secs(5));
        proxy.flow();
        wait_until("it is found again", async || store.load(key).await.is_ok()).await;
    }
    assert!(is_live(&store, key).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_slow_but_within_the_deadline_is_no_error() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let store = RedisStore::connect(&proxy.url()).await.unwrap();
    warm_up(&store).await;
    proxy.slow(std::time::Duration::from_millis(20));
    let key = made(&store, "alice").await;
    assert!(is_live(&store, key).await);
    store.end(end(EndScope::All("alice".into()))).await.unwrap();
    assert!(!is_live(&store, key).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_may_start_before_its_redis() {
    let mut server = Server::start();
    server.kill();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    store.create(creation(&store, "alice")).await.unwrap_err();
    store.list("alice".into()).await.unwrap_err();
    server.restart();
    wait_until("it is found", async || {
        store.list("alice".into()).await.is_ok()
    })
    .await;
    let key = made(&store, "alice").await;
    assert!(is_live(&store, key).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_restarts_with_its_data_has_all_that_it_acknowledged() {
    let mut server = Server::with(&["appendonly yes", "appendfsync always"]);
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let (live, ended) = (made(&store, "alice").await, made(&store, "alice").await);
    store.apply(change(live, set("a", "1"))).await.unwrap();
    store.end(end(EndScope::One(ended, None))).await.unwrap();
    server.kill();
    store.load(live).await.unwrap_err();
    server.restart();
    wait_until("it is found again", async || store.load(live).await.is_ok()).await;
    assert_eq!(number(&store, live, "a").await, 1);
    assert_eq!(reason(store.load(ended).await.unwrap()), EndReason::Revoked);
    // It forgot the scripts, and takes them again.
    assert_eq!(store.list("alice".into()).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn inv01_a_redis_that_restarts_without_its_data_gets_none_back_from_here() {
    let (mut server, store) = started().await;
    let key = made(&store, "alice").await;
    server.kill();
    server.restart();
    wait_until("it is found again", async || store.load(key).await.is_ok()).await;
    assert_eq!(store.load(key).await.unwrap(), None);
    let lost = store.apply(change(key, set("a", "1"))).await.unwrap();
    assert!(
        matches!(&lost, Applied::Ended(end) if end.reason == EndReason::StoreLost),
        "{lost:?}"
    );
    store.replace(regeneration(&store, key)).await.unwrap();
    store.apply(touch(&store, key)).await.unwrap();
    assert_eq!(dump(&server), []);
}

/// F15, as far as the store goes: creating is refused and has changed nothing; reads, changes and ends go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_without_memory_creates_nothing_and_ends_what_it_has() {
    let (server, store) = started().await;
    warm_up(&store).await;
    let (one, two, other) = (
        made(&store, "alice").await,
        made(&store, "alice").await,
        made(&store, "bob").await,
    );
    admin(
        &server,
        &["CONFIG", "SET", "maxmemory-policy", "noeviction"],
    );
    admin(&server, &["CONFIG", "SET", "maxmemory", "1"]);
    let before = dump(&server);
    for user in ["alice", "carol"] {
        let users = creation(&store, user);
        let strangers = Create {
            record: Record::new(&NewRecord {
                user: None,
                signed_in_at: None,
                ..new_record(store.now(), user)
            }),
            ..creation(&store, user)
        };
        for create in [users, strangers] {
            let error = store.create(create).await.unwrap_err();
            assert!(error.to_string().contains("OOM"), "{error}");
            assert_eq!(error.failure(), Failure::Full);
        }
    }
    assert_eq!(dump(&server), before);
    store.beat(Part::default(), 0).await.unwrap();
    assert!(is_live(&store, one).await);
    assert_eq!(store.list("alice".into()).await.unwrap().len(), 2);
    let saved = store.apply(change(one, add("n", 1))).await.unwrap();
    assert_eq!(saved, Applied::Saved(Some(1)));
    let clear = Changes {
        clear: Some(Clear { keep: Vec::new() }),
        each: Vec::new(),
    };
    let saved = store.apply(change(two, clear)).await.unwrap();
    assert_eq!(saved, Applied::Saved(None));
    let saved = store.apply(touch(&store, one)).await.unwrap();
    assert_eq!(saved, Applied::Saved(None));
    let replace = regeneration(&store, one);
    let next = one.sibling(replace.successor);
    store.replace(replace).await.unwrap();
    assert!(is_live(&store, next).await);
    store.end(end(EndScope::One(other, None))).await.unwrap();
    let ended = store.end(end(EndScope::All("alice".into()))).await.unwrap();
    assert_eq!(ended.sessions.len(), 2);
    for key in [next, two, other] {
        assert_eq!(reason(store.load(key).await.unwrap()), EndReason::Revoked);
    }
    for _ in 0..2 {
        let all = end(EndScope::All("nobody".into()));
        store.end(all).await.unwrap();
    }
    for held in server.dump() {
        assert!(held.ttl.is_some(), "{held:?}");
    }
}

/// A script that meets what it cannot work with has changed nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_meets_another_type_has_changed_nothing() {
    for family in ["user_sessions", "user_since"] {
        let (server, store) = started().await;
        let key = made(&store, "alice").await;
        let name = format!("{family}:{{{}}}:alice", key.bucket);
        admin(&server, &["DEL", &name]);
        match family {
            "user_sessions" => admin(&server, &["SET", &name, "foreign", "EX", "60"]),
            _ => {
                admin(&server, &["RPUSH", &name, "foreign"]);
                admin(&server, &["EXPIRE", &name, "60"]);
            }
        }
        let before = dump(&server);
        let refused = |result: Result<(), StoreError>, what: &str| {
            let error = result.expect_err(what);
            assert!(error.to_string().contains("WRONGTYPE"), "{what}: {error}");
            assert_eq!(dump(&server), before, "{what} over a foreign {family}");
        };
        let create = store.create(creation(&store, "alice")).await;
        refused(create.map(drop), "create");
        let all = store.end(end(EndScope::All("alice".into()))).await;
        refused(all.map(drop), "end all");
        if family == "user_sessions" {
            let apply = store.apply(change(key, set("a", "1"))).await;
            refused(apply.map(drop), "apply");
            let replace = store.replace(regeneration(&store, key)).await;
            refused(replace.map(drop), "replace");
            let one = store.end(end(EndScope::One(key, None))).await;
            refused(one.map(drop), "end one");
            refused(store.list("alice".into()).await.map(drop), "list");
        }
    }
}
