//! Sessions that are made as old as a test needs them: what the two clocks say, also of a store whose time cannot be
//! moved. No assertion depends on how fast the machine is.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderName;
use sessile::record::{Entry, NewRecord, Record, Seen};
use sessile::store::wrappers::{Call, Failing, Spy};
use sessile::store::{Create, Created};
use sessile::{AtLimit, Bucket, EndReason, Handle, Passive, SessionLayer, SessionStore, UserId};

use crate::harness::{Client, HOUR, IDLE, MINUTE, TOUCH, app, limited, with};
use crate::on_redis::{OnRedis, was_sent};
use crate::stores::{Asked, TestStore, key_of, on_every_store};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A client whose session is like one of the default settings that signed in now, but for what `age` changes.
pub(crate) async fn planted(
    app: &axum::Router,
    store: &impl SessionStore,
    user: &str,
    age: impl FnOnce(&mut NewRecord),
) -> Client {
    let now = store.now();
    let mut new = NewRecord {
        handle: Handle::random().unwrap(),
        user: Some(UserId::from(user)),
        created_at: now,
        signed_in_at: Some(now),
        absolute_end: now + 12 * HOUR,
        idle_timeout: IDLE,
        touch_threshold: TOUCH,
        persistent: false,
        seen: Seen {
            at: now,
            address: None,
            agent: None,
        },
        values: Vec::new(),
    };
    age(&mut new);
    let bucket: Bucket = store.bucket(new.user.as_ref().unwrap());
    let mut id = [1; 35];
    getrandom::fill(&mut id[3..]).unwrap();
    id[1..3].copy_from_slice(&bucket.get().to_be_bytes());
    let id = URL_SAFE_NO_PAD.encode(id);
    was_sent(&id);
    let create = Create {
        key: key_of(&id),
        record: Record::new(&new),
        began_at: now,
        limit: None,
        held: false,
    };
    let created = store.create(create).await.unwrap();
    assert_eq!(created, Created::Created(Vec::new()));
    Client::holding(app, &id)
}

/// Asks passively again and again until the session is over, for this reason: not before its end, nor long after.
async fn ends(store: &impl TestStore, client: &mut Client, reason: &str, busy: bool) {
    let Some(Entry::Live(record)) = store.load(key_of(client.id().unwrap())).await.unwrap() else {
        panic!("it is over already")
    };
    let end = record.ends_at();
    loop {
        let mut request = client.request("GET", "/me");
        request.extensions_mut().insert(Passive);
        let began = store.now();
        let reply = client.send(request).await;
        if reply.status.is_success() {
            assert!(began < end, "late");
        } else {
            assert_eq!(reply.problem(), ("session_ended", Some(reason)));
            assert!(store.now() >= end, "early");
            return;
        }
        if busy {
            client.post("/regenerate").await;
            client.get("/me").await;
        }
        store.later().await;
    }
}

async fn inv06_r33_a_session_ends_when_idle_and_not_before(store: impl TestStore) {
    let app = app(store.clone());
    let mut client = planted(&app, &store, "alice", |new| {
        new.seen.at -= IDLE + TOUCH - 30 * SECOND;
    })
    .await;
    let began = store.now();
    assert_eq!(client.get("/me").await.ok(), "alice");
    let record = store.list("alice".into()).await.unwrap().remove(0);
    assert!(record.seen_at() >= began, "that was activity");

    let late = |new: &mut NewRecord| new.seen.at -= IDLE + TOUCH;
    let mut client = planted(&app, &store, "alice", late).await;
    assert_eq!(
        client.get("/me").await.problem(),
        ("session_ended", Some("idle"))
    );

    let soon = |new: &mut NewRecord| new.seen.at -= IDLE + TOUCH - SECOND / 2;
    let mut client = planted(&app, &store, "alice", soon).await;
    ends(&store, &mut client, "idle", false).await;
}

async fn inv06_r34_a_session_ends_absolutely_however_busy_it_is(store: impl TestStore) {
    let app = app(store.clone());
    let soon = |new: &mut NewRecord| new.absolute_end = new.created_at + SECOND / 2;
    let mut client = planted(&app, &store, "alice", soon).await;
    ends(&store, &mut client, "absolute", true).await;
}

async fn inv06_where_both_ends_are_past_the_earlier_is_the_reason(store: impl TestStore) {
    let app = app(store.clone());
    for (seen, absolute, reason) in [(90, 30, "idle"), (40, 30, "absolute")] {
        let mut client = planted(&app, &store, reason, |new| {
            new.absolute_end = new.created_at - absolute * MINUTE;
            new.seen.at -= seen * MINUTE;
        })
        .await;
        for _ in 0..2 {
            let ended = ("session_ended", Some(reason));
            assert_eq!(client.get("/me").await.problem(), ended);
        }
    }
}

async fn inv06_r37_a_busy_session_is_touched_once_a_threshold(store: impl TestStore) {
    let spy = Spy::new(store.clone());
    let app = app(spy.clone());
    let young = |new: &mut NewRecord| new.seen.at -= TOUCH - 30 * SECOND;
    let mut client = planted(&app, &store, "alice", young).await;
    for _ in 0..10 {
        client.get("/me").await.ok();
        assert_eq!(spy.asked(), [Call::Load]);
    }
    let due = |new: &mut NewRecord| new.seen.at -= TOUCH;
    let mut client = planted(&app, &store, "alice", due).await;
    client.get("/me").await.ok();
    assert_eq!(spy.asked(), [Call::Load, Call::Apply]);
    client.get("/me").await.ok();
    assert_eq!(spy.asked(), [Call::Load]);
}

async fn r36_a_passive_request_reads_and_does_not_extend(store: impl TestStore) {
    let spy = Spy::new(store.clone());
    let header = HeaderName::from_static("x-poll");
    let app = with(SessionLayer::builder(spy.clone()).passive_header(header.clone()));
    let due = |new: &mut NewRecord| new.seen.at -= 2 * MINUTE;
    let mut client = planted(&app, &store, "alice", due).await;
    let before = store.list("alice".into()).await.unwrap();
    for n in 0..3 {
        let mut request = client.request("GET", "/me");
        match n {
            0 => drop(request.extensions_mut().insert(Passive)),
            1 => drop(
                request
                    .headers_mut()
                    .insert("sec-purpose", "prefetch;prerender".parse().unwrap()),
            ),
            _ => drop(request.headers_mut().insert(&header, "1".parse().unwrap())),
        }
        assert_eq!(client.send(request).await.ok(), "alice");
        assert_eq!(spy.asked(), [Call::Load]);
    }
    assert_eq!(store.list("alice".into()).await.unwrap(), before);
}

async fn a_change_of_agent_or_network_is_written_down_at_once(store: impl TestStore) {
    let spy = Spy::new(store.clone());
    let app = app(spy.clone());
    let seen = |ago: Duration| {
        move |new: &mut NewRecord| {
            new.seen.at -= ago;
            new.seen.agent = Some("app/1".into());
            new.seen.address = Some("192.0.2.1".into());
        }
    };
    for (agent, address, ago, calls) in [
        ("app/1", Some("192.0.2.77"), 12, &[Call::Load][..]),
        ("app/1", None, 12, &[Call::Load]),
        ("curl/9", Some("192.0.2.77"), 12, &[Call::Load, Call::Apply]),
        (
            "app/1",
            Some("198.51.100.7"),
            12,
            &[Call::Load, Call::Apply],
        ),
    ] {
        let mut client = planted(&app, &store, "alice", seen(ago * SECOND)).await;
        client.agent = Some(agent.into());
        client.address = address.map(|address| address.parse().unwrap());
        client.get("/me").await.ok();
        assert_eq!(spy.asked(), calls, "{agent} {address:?}");
        let key = key_of(client.id().unwrap());
        let Some(Entry::Live(record)) = store.load(key).await.unwrap() else {
            panic!("it was there")
        };
        if calls.contains(&Call::Apply) {
            assert_eq!(
                (record.user_agent(), record.address()),
                (Some(agent), address)
            );
        }
    }
    let began = store.now();
    let mut client = planted(&app, &store, "alice", seen(SECOND)).await;
    client.agent = Some("curl/9".into());
    client.get("/me").await.ok();
    if store.now() < began + 9 * SECOND {
        assert_eq!(spy.asked(), [Call::Load], "at most every ten seconds");
    }
}

async fn a_touch_that_fails_costs_nobody_their_response(store: impl TestStore) {
    let failing = Failing::new(store.clone());
    let app = app(failing.clone());
    let due = |new: &mut NewRecord| new.seen.at -= 2 * MINUTE;
    let mut client = planted(&app, &store, "alice", due).await;
    failing.fail(Call::Apply);
    assert_eq!(client.get("/me").await.ok(), "alice");
}

async fn r20_the_server_ends_a_session_whatever_the_cookie_says(store: impl TestStore) {
    let app = app(store.clone());
    let remembered = |new: &mut NewRecord| {
        new.persistent = true;
        (new.idle_timeout, new.touch_threshold) = (14 * DAY, MINUTE);
        new.absolute_end = new.created_at + 30 * DAY;
    };
    let mut client = planted(&app, &store, "alice", |new| {
        remembered(new);
        new.seen.at -= 14 * DAY;
    })
    .await;
    assert_eq!(client.get("/me").await.ok(), "alice");
    let mut client = planted(&app, &store, "alice", |new| {
        remembered(new);
        new.seen.at -= 14 * DAY + MINUTE;
    })
    .await;
    assert_eq!(
        client.get("/me").await.problem(),
        ("session_ended", Some("idle"))
    );
    let mut client = planted(&app, &store, "alice", |new| {
        remembered(new);
        new.absolute_end = new.created_at;
    })
    .await;
    assert_eq!(
        client.get("/me").await.problem(),
        ("session_ended", Some("absolute"))
    );
}

async fn a_fresh_user_is_one_who_signed_in_within_the_seconds(store: impl TestStore) {
    let app = app(store.clone());
    let signed_in =
        |ago: Duration| move |new: &mut NewRecord| new.signed_in_at = Some(new.created_at - ago);
    let mut client = planted(&app, &store, "alice", signed_in(4 * MINUTE)).await;
    assert_eq!(client.get("/fresh").await.ok(), "alice");
    let mut client = planted(&app, &store, "alice", signed_in(5 * MINUTE + SECOND)).await;
    assert_eq!(
        client.get("/fresh").await.problem(),
        ("sign_in_again", None)
    );
}

async fn the_holder_of_a_dead_cookie_can_be_told_why_for_a_day(store: impl TestStore) {
    let app = app(store.clone());
    let mut client = Client::signed_in(&app, "alice").await;
    let mut admin = client.clone();
    admin.post("/revoke/alice/stolen%20laptop").await.ok();
    for _ in 0..10 {
        let reply = client.get("/me").await;
        assert_eq!(reply.problem(), ("session_ended", Some("revoked")));
        let problem = reply.problem.unwrap();
        assert_eq!(problem.note.as_deref(), Some("stolen laptop"));
        assert!(problem.at.is_some());
    }
    assert!(!store.is_empty_after(23 * HOUR).await);
    assert!(store.is_empty_after(24 * HOUR + SECOND).await);
}

async fn inv12_r42_a_dead_clients_place_frees_itself(store: impl TestStore) {
    let app = limited(store.clone(), 2, AtLimit::Refuse);
    let mut live = Client::signed_in(&app, "alice").await;
    let dead = |new: &mut NewRecord| new.seen.at -= 40 * MINUTE;
    let mut dead = planted(&app, &store, "alice", dead).await;
    Client::signed_in(&app, "alice").await;
    let full = Client::new(&app).post("/login/alice").await;
    assert_eq!(full.problem(), ("too_many_sessions", None));
    assert_eq!(live.get("/me").await.ok(), "alice");
    assert_eq!(
        dead.get("/me").await.problem(),
        ("session_ended", Some("idle"))
    );
}

async fn inv12_r43_r44_the_list_is_exactly_what_authenticates(store: impl TestStore) {
    let app = app(store.clone());
    let mut clients = Vec::new();
    for _ in 0..6 {
        clients.push(Client::signed_in(&app, "alice").await);
        store.later().await;
    }
    clients[0].post("/logout").await.ok();
    clients[1].post("/regenerate").await.ok();
    clients[2].post("/login/bob").await.ok();
    let idle = |new: &mut NewRecord| new.seen.at -= 40 * MINUTE;
    let over = |new: &mut NewRecord| new.absolute_end = new.created_at;
    clients.push(planted(&app, &store, "alice", idle).await);
    clients.push(planted(&app, &store, "alice", over).await);
    let mut authenticate = Vec::new();
    for client in &mut clients {
        if client.get("/who").await.body == "alice" {
            authenticate.push(client.get("/handle").await.body);
        }
    }
    let list = clients[5].get("/sessions").await.ok();
    let mut listed: Vec<_> = list
        .lines()
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect();
    listed.reverse();
    assert_eq!(listed.len(), 4);
    assert_eq!(listed, authenticate, "newest first");
}

/// What the same of memory shows by a clock that goes back.
async fn inv12_what_left_the_list_is_written_down_as_over(store: OnRedis) {
    let app = limited(store.clone(), 2, AtLimit::EndOldest);
    let idle = |new: &mut NewRecord| new.seen.at -= 40 * MINUTE;
    let old = planted(&app, &store, "alice", idle).await;
    let key = key_of(old.id().unwrap());
    let kept = store.kept();
    assert!(
        kept.iter()
            .any(|(at, entry, _)| *at == key && matches!(entry, Entry::Live(_)))
    );
    Client::signed_in(&app, "alice").await;
    let kept = store.kept();
    let (_, entry, _) = kept.iter().find(|(at, ..)| *at == key).unwrap();
    assert!(matches!(entry, Entry::Ended(ended) if ended.end.reason == EndReason::Idle));
}

/// What the same of memory shows by a clock that goes on.
async fn inv11_r35_what_is_over_is_dropped_in_time(store: OnRedis) {
    let app = app(store.clone());
    let mut stranger = Client::new(&app);
    stranger.post("/put/a/1").await.ok();
    let mut alice = Client::signed_in(&app, "alice").await;
    let mut ended = Client::signed_in(&app, "bob").await;
    let bob = ended.clone();
    ended.post("/end-all").await.ok();
    let superseded = alice.clone();
    alice.post("/regenerate").await.ok();
    let kept = store.kept();
    assert_eq!(kept.len(), 4);
    for (client, most) in [
        (&stranger, IDLE + TOUCH + MINUTE),
        (&alice, IDLE + TOUCH + 2 * HOUR),
        (&bob, DAY),
        (&superseded, 15 * MINUTE),
    ] {
        let key = key_of(client.id().unwrap());
        let (_, _, ttl) = kept.iter().find(|(at, ..)| *at == key).unwrap();
        assert!(
            *ttl <= most + SECOND && *ttl > most - MINUTE,
            "{ttl:?}, not {most:?}"
        );
    }
    assert!(store.is_empty_after(DAY + SECOND).await);
}

on_every_store! {
    inv06_r33_a_session_ends_when_idle_and_not_before,
    inv06_r34_a_session_ends_absolutely_however_busy_it_is,
    inv06_where_both_ends_are_past_the_earlier_is_the_reason,
    inv06_r37_a_busy_session_is_touched_once_a_threshold,
    r36_a_passive_request_reads_and_does_not_extend,
    a_change_of_agent_or_network_is_written_down_at_once,
    a_touch_that_fails_costs_nobody_their_response,
    r20_the_server_ends_a_session_whatever_the_cookie_says,
    a_fresh_user_is_one_who_signed_in_within_the_seconds,
    the_holder_of_a_dead_cookie_can_be_told_why_for_a_day,
    inv12_r42_a_dead_clients_place_frees_itself,
    inv12_r43_r44_the_list_is_exactly_what_authenticates,
    inv12_what_left_the_list_is_written_down_as_over(redis_alone),
    inv11_r35_what_is_over_is_dropped_in_time(redis_alone),
}
