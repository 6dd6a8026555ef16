//! The wrappers do what they say: on them rests every test of what happens when a store fails.
//!
//! On memory alone: they are what is tested, and they see nothing of the store inside.

use std::sync::Arc;
use std::time::Duration;

use sessile::record::{Entry, MessageBounds, MessageId, NewMessage, NewRecord, Record, Seen};
use sessile::store::wrappers::{Call, Failing, Holding, Slow, Spy};
use sessile::store::{
    Append, Apply, Create, Created, EndScope, EndSessions, Renewal, Replace, SessionStore, Spend,
    StoreError,
};
use sessile::{Bucket, Digest, EndReason, Handle, Kind, MemoryStore, RecordKey, UserId};

fn user() -> UserId {
    "alice".into()
}

fn key(n: u8) -> RecordKey {
    RecordKey {
        kind: Kind::User,
        bucket: Bucket::of("", &user()),
        digest: Digest::from_bytes([n; 32]),
    }
}

fn creation(store: &impl SessionStore, n: u8) -> Create {
    let now = store.now();
    let record = Record::new(&NewRecord {
        handle: Handle::random().unwrap(),
        user: Some(user()),
        created_at: now,
        signed_in_at: Some(now),
        absolute_end: now + Duration::from_secs(3600),
        idle_timeout: Duration::from_secs(600),
        touch_threshold: Duration::from_secs(60),
        persistent: false,
        seen: seen(store),
        values: Vec::new(),
    });
    Create {
        key: key(n),
        record,
        began_at: now,
        limit: None,
        held: false,
    }
}

fn seen(store: &impl SessionStore) -> Seen {
    Seen {
        at: store.now(),
        address: None,
        agent: None,
    }
}

/// Makes this call, whatever comes of it.
async fn call(store: &impl SessionStore, call: Call) -> Result<(), StoreError> {
    match call {
        Call::Record => {
            let activity = sessile::Activity {
                at: store.now(),
                kind: "view".into(),
                resource: "page".into(),
                handle: None,
                address: None,
                user_agent: None,
            };
            store.record(user(), activity).await
        }
        Call::Log => store.log(user()).await.map(drop),
        Call::Erase => store.erase(user()).await,
        Call::Counts => store.counts(Duration::ZERO).await.map(drop),
        Call::Create => store.create(creation(store, 1)).await.map(drop),
        Call::Load => store.load(key(1)).await.map(drop),
        Call::LoadEach => store.load_each(&[key(1), key(2)]).await.map(drop),
        Call::Apply => {
            let apply = Apply {
                read: None,
                key: key(1),
                changes: Default::default(),
                seen: None,
            };
            store.apply(apply).await.map(drop)
        }
        Call::Append => {
            let append = Append {
                key: key(1),
                message: NewMessage {
                    id: MessageId::random().unwrap(),
                    body: (*b"{\"role\":\"user\"}").into(),
                },
                bounds: MessageBounds {
                    count: 9,
                    bytes: 999,
                },
                at: None,
                again: false,
            };
            store.append(append).await.map(drop)
        }
        Call::Spend => {
            let spend = Spend {
                whose: key(1).digest,
                most: 1,
                within: Duration::from_secs(60),
            };
            store.spend(spend).await.map(drop)
        }
        Call::Replace => {
            let replace = Replace {
                key: key(1),
                successor: key(2).digest,
                renewal: Renewal::SameSession,
                seen: seen(store),
            };
            store.replace(replace).await.map(drop)
        }
        Call::End => {
            let end = EndSessions {
                scope: EndScope::All(user()),
                reason: EndReason::Revoked,
                note: None,
                before: None,
            };
            store.end(end).await.map(drop)
        }
        Call::List => store.list(user()).await.map(drop),
        Call::Migrated => store.migrated(key(1).digest).await.map(drop),
        Call::Count => store.count(Kind::User).await.map(drop),
        Call::Beat => store.beat(Default::default(), 0).await.map(drop),
    }
}

async fn is_there(store: &impl SessionStore, n: u8) -> bool {
    matches!(store.load(key(n)).await, Ok(Some(Entry::Live(_))))
}

#[tokio::test]
async fn a_spy_notes_each_call_once_and_in_order() {
    let spy = Spy::new(MemoryStore::new());
    for each in Call::ALL {
        call(&spy, each).await.unwrap();
    }
    assert_eq!(spy.calls(), Call::ALL);
    assert_eq!(spy.clone().take(), Call::ALL);
    assert_eq!(spy.calls(), []);
    call(&spy, Call::List).await.unwrap();
    assert_eq!(spy.calls(), [Call::List]);
}

#[tokio::test]
async fn a_spy_hands_load_each_on_as_one_call() {
    let inside = Spy::new(MemoryStore::new());
    let outside = Spy::new(inside.clone());
    call(&outside, Call::LoadEach).await.unwrap();
    assert_eq!(
        (inside.calls(), outside.calls()),
        (vec![Call::LoadEach], vec![Call::LoadEach])
    );
}

#[tokio::test]
async fn a_future_that_nobody_polls_is_no_call() {
    let spy = Spy::new(MemoryStore::new());
    drop(spy.list(user()));
    assert_eq!(spy.calls(), []);
}

#[tokio::test]
async fn a_call_that_fails_does_not_reach_the_store() {
    for each in Call::ALL {
        let spy = Spy::new(MemoryStore::new());
        let store = Failing::new(spy.clone());
        store.fail(each);
        for _ in 0..2 {
            call(&store, each).await.unwrap_err();
        }
        assert_eq!(spy.take(), [], "{each:?}");
        for other in Call::ALL.into_iter().filter(|other| *other != each) {
            call(&store, other).await.unwrap();
        }
        store.heal();
        call(&store, each).await.unwrap();
    }
}

#[tokio::test]
async fn a_call_whose_reply_is_lost_was_carried_out() {
    let store = Failing::new(MemoryStore::new());
    store.lose_reply(Call::Create);
    for n in [1, 2] {
        store.create(creation(&store, n)).await.unwrap_err();
        assert!(is_there(&store, n).await);
    }
    store.heal();
    let created = store.create(creation(&store, 3)).await.unwrap();
    assert_eq!(created, Created::Created(Vec::new()));
}

#[tokio::test]
async fn what_is_said_of_the_next_call_holds_once_and_before_what_is_said_of_all() {
    let store = Failing::new(MemoryStore::new());
    store.lose_next_reply(Call::Create);
    store.fail_next(Call::Create);
    store.create(creation(&store, 1)).await.unwrap_err();
    store.create(creation(&store, 2)).await.unwrap_err();
    store.create(creation(&store, 3)).await.unwrap();
    let there = [is_there(&store, 1).await, is_there(&store, 2).await];
    assert_eq!(
        there,
        [true, false],
        "the first lost its reply, the second did not arrive"
    );

    store.fail(Call::Create);
    store.lose_next_reply(Call::Create);
    for n in [4, 5] {
        store.create(creation(&store, n)).await.unwrap_err();
    }
    assert_eq!(
        [is_there(&store, 4).await, is_there(&store, 5).await],
        [true, false]
    );
}

#[tokio::test]
async fn a_store_that_is_away_fails_every_call_until_it_is_healed() {
    let spy = Spy::new(MemoryStore::new());
    let store = Failing::new(spy.clone());
    store.lose_next_reply(Call::Create);
    store.fail_all();
    for each in Call::ALL {
        call(&store, each).await.unwrap_err();
    }
    assert_eq!(spy.calls(), []);
    store.heal();
    for each in Call::ALL {
        call(&store, each).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_delays_each_call_before_it_reaches_the_store() {
    let (spy, delay) = (Spy::new(MemoryStore::new()), Duration::from_secs(60));
    let store = Slow::new(spy.clone(), delay);
    for each in Call::ALL {
        let began = tokio::time::Instant::now();
        let early = tokio::time::timeout(delay / 2, call(&store, each)).await;
        assert!(early.is_err());
        assert_eq!(
            spy.take(),
            [],
            "it was given up before it reached the store"
        );
        call(&store, each).await.unwrap();
        assert!(began.elapsed() >= delay);
        assert_eq!(spy.take(), [each]);
    }
}

#[tokio::test]
async fn a_held_call_reaches_the_store_only_when_it_is_released() {
    for each in Call::ALL {
        let spy = Spy::new(MemoryStore::new());
        let store = Holding::new(spy.clone());
        let held = store.hold(each);
        let calling = tokio::spawn({
            let store = store.clone();
            async move { call(&store, each).await }
        });
        held.arrived().await;
        held.arrived().await;
        assert_eq!(spy.calls(), []);
        // Only the next one is held.
        call(&store, each).await.unwrap();
        assert_eq!(spy.take(), [each]);
        assert!(!calling.is_finished());
        held.release();
        calling.await.unwrap().unwrap();
        assert_eq!(spy.calls(), [each]);
    }
}

#[tokio::test]
async fn a_held_reply_is_of_a_call_that_was_carried_out() {
    let store = Holding::new(MemoryStore::new());
    let held = store.hold_reply(Call::Create);
    let creating = tokio::spawn({
        let store = store.clone();
        async move { store.create(creation(&store, 1)).await }
    });
    held.arrived().await;
    assert!(is_there(&store, 1).await);
    assert!(!creating.is_finished());
    drop(held);
    assert_eq!(
        creating.await.unwrap().unwrap(),
        Created::Created(Vec::new())
    );
}

#[tokio::test]
async fn two_holds_of_one_call_are_met_one_after_the_other() {
    let store = Arc::new(Holding::new(MemoryStore::new()));
    let (first, second) = (store.hold(Call::Count), store.hold(Call::Count));
    let counting = || {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.count(Kind::User).await })
    };
    let one = counting();
    first.arrived().await;
    let two = counting();
    second.arrived().await;
    second.release();
    two.await.unwrap().unwrap();
    assert!(!one.is_finished());
    first.release();
    one.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_hold_that_is_dropped_before_anybody_comes_holds_nobody() {
    let store = Holding::new(MemoryStore::new());
    drop(store.hold(Call::Count));
    store.count(Kind::User).await.unwrap();

    drop(store.hold(Call::Count));
    let held = store.hold_reply(Call::Count);
    let counting = tokio::spawn({
        let store = store.clone();
        async move { store.count(Kind::User).await }
    });
    held.arrived().await;
    held.release();
    counting.await.unwrap().unwrap();
}

#[tokio::test]
async fn debug_shows_what_a_wrapper_was_told_and_not_the_store() {
    let failing = Failing::new(MemoryStore::new());
    failing.fail(Call::Load);
    let shown = format!("{failing:?}");
    assert!(
        shown.contains("Load") && !shown.contains("Memory"),
        "{shown}"
    );
    let held = Holding::new(MemoryStore::new()).hold(Call::End);
    assert_eq!(format!("{held:?}"), "Held { stage: Expected }");
}
