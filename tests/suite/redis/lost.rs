//! Replies that never come: what was sent is made once, taken back, or told to be unknown; never done twice.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use sessile::record::Entry;
use sessile::store::{Applied, Created, EndScope, Replaced};
use sessile::{EndReason, RedisStore, SessionLayer, SessionStore};

use super::fixture::{
    add, change, creation, end, is_live, made, number, reason, regeneration, warm_up,
};
use crate::harness::{Client, with};
use crate::support::dump::contains;
use crate::support::proxy::Proxy;
use crate::support::redis::Server;
use crate::support::wait::wait_until;

/// A store behind a network that loses what it is told to.
struct Lossy {
    store: RedisStore,
    proxy: Proxy,
    server: Server,
}

impl Lossy {
    async fn start() -> Self {
        let server = Server::start();
        let proxy = Proxy::start(server.address());
        let store = RedisStore::connect(&proxy.url()).await.unwrap();
        warm_up(&store).await;
        Self {
            store,
            proxy,
            server,
        }
    }

    /// Loses the replies to the next so many scripts.
    fn lose(&self, replies: usize) {
        for _ in 0..replies {
            // Not the heartbeat's.
            self.proxy.drop_reply_of(|command| {
                contains(command, b"EVALSHA") && !contains(command, b"beat:{")
            });
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inv07_a_creation_whose_reply_was_lost_is_sent_again_and_makes_one_session() {
    let lossy = Lossy::start().await;
    lossy.lose(1);
    let create = creation(&lossy.store, "alice");
    let key = create.key;
    let created = lossy.store.create(create).await.unwrap();
    assert_eq!(created, Created::Created(Vec::new()));
    assert_eq!(lossy.proxy.dropped(), 1);
    assert_eq!(lossy.store.list("alice".into()).await.unwrap().len(), 1);
    assert!(is_live(&lossy.store, key).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn inv07_a_new_id_whose_reply_was_lost_is_sent_again_and_is_one() {
    let lossy = Lossy::start().await;
    let key = made(&lossy.store, "alice").await;
    lossy.lose(1);
    let replace = regeneration(&lossy.store, key);
    let next = key.sibling(replace.successor);
    let replaced = lossy.store.replace(replace).await.unwrap();
    assert!(
        matches!(replaced, Replaced::Replaced { .. }),
        "{replaced:?}"
    );
    assert_eq!(lossy.proxy.dropped(), 1);
    assert!(is_live(&lossy.store, next).await);
    assert!(!is_live(&lossy.store, key).await);
    assert_eq!(lossy.store.list("alice".into()).await.unwrap().len(), 1);
}

/// Nobody has the cookie of such a session: it must not stay.
#[tokio::test(flavor = "multi_thread")]
async fn inv03_inv10_a_creation_that_is_never_answered_is_an_error_and_its_session_is_ended() {
    let lossy = Lossy::start().await;
    lossy.lose(2);
    let create = creation(&lossy.store, "alice");
    let key = create.key;
    lossy.store.create(create).await.unwrap_err();
    assert_eq!(lossy.proxy.dropped(), 2);
    wait_until("the session is ended", async || {
        !is_live(&lossy.store, key).await
    })
    .await;
    assert_eq!(
        reason(lossy.store.load(key).await.unwrap()),
        EndReason::LoggedOut
    );
    assert_eq!(lossy.store.list("alice".into()).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn inv03_inv10_a_new_id_that_is_never_answered_is_an_error_and_opens_nothing() {
    let lossy = Lossy::start().await;
    let key = made(&lossy.store, "alice").await;
    lossy.lose(2);
    let replace = regeneration(&lossy.store, key);
    let next = key.sibling(replace.successor);
    lossy.store.replace(replace).await.unwrap_err();
    wait_until("the new id is ended", async || {
        !is_live(&lossy.store, next).await
    })
    .await;
    assert_eq!(lossy.store.list("alice".into()).await.unwrap(), []);
    assert_eq!(
        reason(lossy.store.load(key).await.unwrap()),
        EndReason::Regenerated
    );
}

/// The end can overtake what it is to end: it is sent again until that cannot come any more.
#[tokio::test(flavor = "multi_thread")]
async fn inv02_inv10_a_creation_that_arrives_after_its_end_was_acknowledged_is_ended_too() {
    let mut lossy = Lossy::start().await;
    let late = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..2 {
        let late = Arc::clone(&late);
        lossy.proxy.drop_reply_of(move |command| {
            let is_script = contains(command, b"EVALSHA");
            if is_script {
                *late.lock().unwrap() = command.to_vec();
            }
            is_script
        });
    }
    let create = creation(&lossy.store, "alice");
    let key = create.key;
    lossy.store.create(create).await.unwrap_err();
    // As if it had not arrived so far: nothing is there to be ended.
    let forget = |server: &mut Server| {
        let _: () = redis::cmd("FLUSHDB")
            .arg("SYNC")
            .query(&mut server.connection())
            .unwrap();
    };
    wait_until("the end was sent", async || {
        !is_live(&lossy.store, key).await
    })
    .await;
    forget(&mut lossy.server);
    let nothing = lossy
        .store
        .end(end(EndScope::One(key, None)))
        .await
        .unwrap();
    assert_eq!(nothing.sessions, []);
    // And now it arrives.
    let frame = late.lock().unwrap().clone();
    let answer = send(lossy.server.address(), frame).await;
    assert!(contains(&answer, b"created"), "{answer:?}");
    wait_until("the late session is ended", async || {
        matches!(lossy.store.load(key).await.unwrap(), Some(Entry::Ended(_)))
    })
    .await;
    assert_eq!(lossy.store.list("alice".into()).await.unwrap(), []);
}

/// The second sending is told that something else is there; the first, which nobody waits for, comes later than that.
#[tokio::test(flavor = "multi_thread")]
async fn inv02_inv10_a_creation_that_arrives_after_it_was_answered_otherwise_is_ended() {
    let lossy = Lossy::start().await;
    let create = creation(&lossy.store, "alice");
    let key = create.key;
    let name = format!("session:{{{}}}:{}", key.bucket, key.digest.to_text());
    let raw = |command: &str, value: Option<&str>| {
        let mut command = redis::cmd(command);
        let command = command.arg(&name).arg(value);
        let _: redis::Value = command.query(&mut lossy.server.connection()).unwrap();
    };
    // What is there makes both sendings change nothing, as if the first had not arrived so far.
    raw("SET", Some("foreign"));
    let late = Arc::new(Mutex::new(Vec::new()));
    let sent = Arc::clone(&late);
    lossy.proxy.drop_reply_of(move |command| {
        let is_script = contains(command, b"EVALSHA");
        if is_script {
            *sent.lock().unwrap() = command.to_vec();
        }
        is_script
    });
    let created = lossy.store.create(create).await.unwrap();
    assert_eq!(created, Created::Exists);
    assert_eq!(lossy.proxy.dropped(), 1);
    raw("DEL", None);
    let frame = late.lock().unwrap().clone();
    let answer = send(lossy.server.address(), frame).await;
    assert!(contains(&answer, b"created"), "{answer:?}");
    wait_until("the late session is ended", async || {
        matches!(lossy.store.load(key).await.unwrap(), Some(Entry::Ended(_)))
    })
    .await;
    assert_eq!(lossy.store.list("alice".into()).await.unwrap(), []);
}

/// An end that Redis refuses is sent again until it is done.
#[tokio::test(flavor = "multi_thread")]
async fn inv02_inv10_an_end_that_fails_is_sent_again() {
    let lossy = Lossy::start().await;
    let create = creation(&lossy.store, "alice");
    let key = create.key;
    let index = format!("user_sessions:{{{}}}:alice", key.bucket);
    let aside = format!("user_sessions:{{{}}}:aside", key.bucket);
    let client = redis::Client::open(lossy.server.url()).unwrap();
    lossy.lose(1);
    let (from, to) = (index.clone(), aside.clone());
    // Once the session is made, and before its end is sent: a list of another type, at which the end fails.
    lossy.proxy.drop_reply_of(move |command| {
        let is_script = contains(command, b"EVALSHA");
        if is_script {
            let _: () = redis::pipe()
                .rename(&from, &to)
                .set(&from, "foreign")
                .query(&mut client.get_connection().unwrap())
                .unwrap();
        }
        is_script
    });
    let ends = Arc::new(AtomicU64::new(0));
    let sent = Arc::clone(&ends);
    lossy.proxy.drop_reply_of(move |command| {
        sent.fetch_add(u64::from(contains(command, b"EVALSHA")), Ordering::SeqCst);
        false
    });
    lossy.store.create(create).await.unwrap_err();
    wait_until("its end was sent, and failed", async || {
        ends.load(Ordering::SeqCst) > 2
    })
    .await;
    assert!(is_live(&lossy.store, key).await);
    let _: () = redis::cmd("RENAME")
        .arg(aside)
        .arg(index)
        .query(&mut lossy.server.connection())
        .unwrap();
    wait_until("the session is ended", async || {
        !is_live(&lossy.store, key).await
    })
    .await;
    assert_eq!(lossy.store.list("alice".into()).await.unwrap(), []);
}

/// Sends these bytes over a connection of their own; the beginning of the answer.
async fn send(address: std::net::SocketAddr, frame: Vec<u8>) -> Vec<u8> {
    use std::io::{Read, Write};
    tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(&frame).unwrap();
        let mut answer = [0; 64];
        let read = stream.read(&mut answer).unwrap();
        answer[..read].to_vec()
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn inv07_a_change_whose_reply_was_lost_is_an_error_and_was_made_once() {
    let lossy = Lossy::start().await;
    let key = made(&lossy.store, "alice").await;
    let one = lossy.store.apply(change(key, add("n", 1))).await.unwrap();
    assert_eq!(one, Applied::Saved(Some(1)));
    for lost in 2..7 {
        lossy.lose(1);
        lossy
            .store
            .apply(change(key, add("n", 1)))
            .await
            .unwrap_err();
        assert_eq!(number(&lossy.store, key, "n").await, lost);
    }
    assert_eq!(lossy.proxy.dropped(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_a_list_and_a_read_whose_replies_were_lost_are_sent_again() {
    let lossy = Lossy::start().await;
    let key = made(&lossy.store, "alice").await;
    lossy
        .proxy
        .drop_reply_of(|command| contains(command, b"GET"));
    assert!(is_live(&lossy.store, key).await);
    lossy.lose(1);
    assert_eq!(lossy.store.list("alice".into()).await.unwrap().len(), 1);
    lossy.lose(1);
    lossy
        .store
        .end(end(EndScope::All("alice".into())))
        .await
        .unwrap();
    assert_eq!(
        reason(lossy.store.load(key).await.unwrap()),
        EndReason::Revoked
    );
    assert_eq!(lossy.proxy.dropped(), 3);
}

/// The same from outside.
#[tokio::test(flavor = "multi_thread")]
async fn inv08_inv10_a_login_that_is_never_answered_is_503_without_a_cookie_and_leaves_no_session()
{
    let lossy = Lossy::start().await;
    let app = with(SessionLayer::builder(lossy.store.clone()));
    let mut client = Client::signed_in(&app, "bob").await;
    // A connection that is closed takes a heartbeat along that is on it.
    wait_until("the first heartbeat is over", async || {
        let dump = lossy.server.dump();
        dump.iter().any(|held| held.key.starts_with(b"beat:"))
    })
    .await;
    client.cookies.clear();
    lossy.lose(2);
    let reply = client.post("/login/alice").await;
    assert_eq!(reply.status, 503);
    assert!(reply.headers.contains_key(http::header::RETRY_AFTER));
    assert_eq!(reply.set_cookies(), [""; 0]);
    wait_until("the session is ended", async || {
        lossy.store.list("alice".into()).await.unwrap().is_empty()
    })
    .await;
    // The next one goes well, and is not taken for the one that failed.
    wait_until("the next one is in Redis", async || {
        client.post("/login/alice").await;
        client.id().is_some_and(|id| id.len() == 47)
    })
    .await;
    tokio::task::yield_now().await;
    assert_eq!(client.get("/me").await.ok(), "alice");
    // An update that is never answered is 503 too, and the cookie stays.
    // The update's own: the end of the session from before may be sent once more.
    lossy
        .proxy
        .drop_reply_of(|command| contains(command, b"set-"));
    let reply = client.post("/count/n").await;
    assert_eq!((reply.status.as_u16(), reply.set_cookies().len()), (503, 0));
    let mut counted = String::new();
    wait_until("the next one is answered", async || {
        let reply = client.post("/count/n").await;
        counted.clone_from(&reply.body);
        reply.status == 200
    })
    .await;
    assert_eq!(counted, "2");
}
