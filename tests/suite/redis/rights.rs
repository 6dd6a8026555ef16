//! The rights in Redis that the README names are enough, and none of them is too many.

use sessile::record::{Changes, Entry, MessageBounds, MessageId, NewMessage, NewRecord, Record};
use sessile::store::{Append, Apply, Create, EndScope, Limit, Part, Spend, StoreError};
use sessile::{AtLimit, Kind, RedisStore, SessionStore};

use super::fixture::{HOUR, change, creation, end, made, new_record, regeneration, set, touch};
use crate::support::redis::Server;
use crate::support::setups::report;

/// The line of the README that makes the user.
fn user() -> String {
    let readme = include_str!("../../../README.md");
    let mut lines = readme
        .lines()
        .filter(|line| line.starts_with("user sessile "));
    let line = lines.next().expect("the README names the rights");
    assert_eq!(lines.next(), None);
    line.to_owned()
}

async fn store_as(user: &str) -> (Server, RedisStore) {
    let server = Server::with(&[user]);
    let url = server
        .url()
        .replace("redis://", "redis://sessile:password@");
    let store = RedisStore::connect(&url).await.unwrap();
    (server, store)
}

/// A demo, with messages before and after it gets a new id, and with one from its beginning.
async fn converse(store: &RedisStore) -> Result<(), StoreError> {
    let mut create = creation(store, "alice");
    create.key.kind = Kind::Demo;
    let key = create.key;
    let append = |key| Append {
        key,
        message: NewMessage {
            id: MessageId::random().unwrap(),
            body: (*br#"{"role":"user","content":"x"}"#).into(),
        },
        bounds: MessageBounds {
            count: 9,
            bytes: 999,
        },
        at: None,
        again: true,
    };
    let spend = Spend {
        whose: key.digest,
        most: 2,
        within: HOUR,
    };
    for _ in 0..3 {
        store.spend(spend).await?;
    }
    store.create(create).await?;
    store.append(append(key)).await?;
    store.append(append(key)).await?;
    store.load(key).await?;
    let replace = regeneration(store, key);
    let next = key.sibling(replace.successor);
    store.replace(replace).await?;
    store.append(append(next)).await?;
    store.end(end(EndScope::One(next, None))).await?;
    Ok(())
}

/// Everything that requests need, as strangers and as users, at the limit and without one.
async fn everything(store: &RedisStore) -> Result<(), StoreError> {
    for user in [None, Some("alice")] {
        let create = Create {
            record: Record::new(&NewRecord {
                user: user.map(Into::into),
                ..new_record(store.now(), "alice")
            }),
            ..creation(store, "alice")
        };
        let key = create.key;
        store.create(create).await?;
        let read = match store.load(key).await? {
            Some(Entry::Live(record)) => Some(record),
            Some(Entry::Ended(_)) | None => None,
        };
        // A change of what was read asks the server for less, and otherwise.
        let apply = Apply {
            read,
            ..change(key, set("b", "1"))
        };
        store.apply(apply).await?;
        store.load_each(&[key, key]).await?;
        store.apply(change(key, set("a", "1"))).await?;
        store.apply(touch(store, key)).await?;
        let replace = regeneration(store, key);
        let next = key.sibling(replace.successor);
        store.replace(replace).await?;
        store.end(end(EndScope::One(next, None))).await?;
        store.end(end(EndScope::One(next, None))).await?;
        store.apply(change(next, Changes::default())).await?;
    }
    converse(store).await?;
    let one = std::num::NonZeroU32::MIN;
    for at_limit in [AtLimit::EndOldest, AtLimit::Refuse] {
        for record in [store.now() - HOUR, store.now()] {
            let create = Create {
                record: Record::new(&new_record(record, "bob")),
                limit: Some(Limit {
                    sessions: one,
                    at_limit,
                }),
                ..creation(store, "bob")
            };
            store.create(create).await?;
        }
    }
    store.list("bob".into()).await?;
    store
        .end(end(EndScope::Handle(
            "bob".into(),
            sessile::Handle::random().unwrap(),
        )))
        .await?;
    store.end(end(EndScope::All("bob".into()))).await?;
    store.beat(Part::default(), 0).await?;
    let activity = sessile::Activity {
        at: store.now(),
        kind: "view".into(),
        resource: "page".into(),
        handle: None,
        address: None,
        user_agent: None,
    };
    store.record("bob".into(), activity).await?;
    store.log("bob".into()).await?;
    store.erase("bob".into()).await?;
    // Somebody whose record was evicted: what is absent is looked for.
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_of_the_readme_are_enough_for_all_that_requests_need() {
    let (server, store) = store_as(&user()).await;
    everything(&store).await.unwrap();
    let (version, _) = server.describe();
    report("acl", &version, "1 redis-server, user of the README");
    for held in server.dump() {
        assert!(held.ttl.is_some(), "{held:?}");
    }
    // Counting is not what requests do.
    store.count(Kind::User).await.unwrap_err();
    let (_server, store) = store_as(&format!("{} ~count:* +scan +getrange", user())).await;
    made(&store, "alice").await;
    assert_eq!(store.count(Kind::User).await.unwrap(), 1);
    let counts = store.counts(std::time::Duration::ZERO).await.unwrap();
    assert_eq!(counts.unwrap().user, 1);
}

/// What may not be read is not taken for absent.
#[tokio::test(flavor = "multi_thread")]
async fn inv08_a_script_that_may_not_read_has_changed_nothing() {
    let (server, store) = store_as(&user().replace(" +get ", " ")).await;
    let stranger = Create {
        record: Record::new(&NewRecord {
            user: None,
            signed_in_at: None,
            ..new_record(store.now(), "alice")
        }),
        ..creation(&store, "alice")
    };
    store.create(stranger).await.unwrap_err();
    assert_eq!(server.dump(), []);
}

/// Each right is taken away in turn, and something fails.
#[tokio::test(flavor = "multi_thread")]
async fn no_right_of_the_readme_is_too_many() {
    let user = user();
    let rights: Vec<_> = user
        .split(' ')
        .filter(|word| word.starts_with('+') || word.starts_with('~'))
        // Demo sessions come with their own issue; their keys are named by now.
        .filter(|word| *word != "~demo:session:*")
        // Without it all goes on, and less is known: see the heartbeat.
        .filter(|word| *word != "+info")
        .collect();
    assert!(rights.len() > 15, "{rights:?}");
    for right in rights {
        let without: Vec<_> = user.split(' ').filter(|word| *word != right).collect();
        let without = without.join(" ");
        let (_server, store) = store_as(&without).await;
        let result = everything(&store).await;
        assert!(result.is_err(), "{right} is not needed");
    }
}
