//! What this instance does itself is seen here at once: whether Redis has told of it yet or not.

use sessile::record::{Entry, Seen};
use sessile::store::{EndScope, Limit, Renewal, Replace, Replaced};
use sessile::{AtLimit, RedisStore, SessionStore};

use super::fixture::{copy, creation, digest, end, loaded, made, two, warm, write};

/// So often that Redis is not always the first to tell.
const TIMES: u64 = 100;

#[tokio::test]
async fn a_write_is_read_by_who_made_it() {
    let (_server, a, _b) = two().await;
    let key = made(&a, "alice", 0).await;
    for n in 1..TIMES {
        warm(&a, &key).await;
        write(&a, key, n).await;
        assert!(copy(&a, &key).is_none());
        assert_eq!(loaded(&a, &key).await, Some(n));
    }
}

#[tokio::test]
async fn inv02_what_was_ended_here_is_not_served_again() {
    let (_server, a, _b) = two().await;
    let scopes: [fn(&RedisStore, _, _) -> EndScope; 4] = [
        |_, key, _| EndScope::One(key, None),
        |_, _, handle| EndScope::Handle("alice".into(), handle),
        |_, _, _| EndScope::Others("alice".into(), sessile::Handle::random().unwrap()),
        |_, _, _| EndScope::All("alice".into()),
    ];
    for scope in scopes.iter().cycle().take(TIMES as usize) {
        let key = made(&a, "alice", 1).await;
        warm(&a, &key).await;
        let Some(Entry::Live(record)) = a.load(key).await.unwrap() else {
            panic!("it is live")
        };
        let scope = scope(&a, key, record.handle());
        a.end(end(scope)).await.unwrap();
        assert!(copy(&a, &key).is_none());
        assert_eq!(loaded(&a, &key).await, None);
    }
}

#[tokio::test]
async fn inv03_under_an_old_id_nothing_is_served() {
    let (_server, a, _b) = two().await;
    let mut key = made(&a, "alice", 1).await;
    for _ in 0..TIMES {
        warm(&a, &key).await;
        let replace = Replace {
            key,
            successor: digest(),
            renewal: Renewal::SameSession,
            seen: Seen {
                at: a.now(),
                address: None,
                agent: None,
            },
        };
        let next = key.sibling(replace.successor);
        let replaced = a.replace(replace).await.unwrap();
        assert!(matches!(replaced, Replaced::Replaced { .. }));
        assert!(copy(&a, &key).is_none());
        key = next;
    }
}

#[tokio::test]
async fn inv12_who_makes_room_here_is_not_served_again() {
    let (_server, a, _b) = two().await;
    let mut oldest = made(&a, "alice", 1).await;
    for _ in 0..TIMES {
        warm(&a, &oldest).await;
        let mut create = creation(&a, "alice", "2".into());
        create.limit = Some(Limit {
            sessions: std::num::NonZeroU32::MIN,
            at_limit: AtLimit::EndOldest,
        });
        let newest = create.key;
        a.create(create).await.unwrap();
        assert!(copy(&a, &oldest).is_none());
        oldest = newest;
    }
}
