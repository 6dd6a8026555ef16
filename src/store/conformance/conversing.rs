//! Rule 17: conversations.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::fixture::{Case, LAG, Made, digest, ok, seen, set, together};
use crate::clock::micros;
use crate::id::{Kind, RecordKey};
use crate::record::{Added, EndReason, MessageBounds, MessageId, NewMessage, NewRecord, Record};
use crate::store::{
    Append, Appended, Applied, Create, Created, EndScope, Renewal, Replace, Replaced, SessionStore,
};

const BOUNDS: MessageBounds = MessageBounds {
    count: 1000,
    bytes: 1 << 20,
};

fn message(text: &str) -> NewMessage {
    NewMessage {
        id: MessageId::random().expect("the operating system has randomness to give"),
        body: format!(r#"{{"role":"user","content":"{text}"}}"#)
            .into_bytes()
            .into(),
    }
}

pub(super) fn demo_key<S: SessionStore>(case: &Case<S>) -> RecordKey {
    RecordKey {
        kind: Kind::Demo,
        ..case.key()
    }
}

pub(super) async fn demo<S: SessionStore>(case: &Case<S>) -> Made {
    let (key, new) = (demo_key(case), case.stranger());
    assert_eq!(case.create(key, &new).await, Created::Created(Vec::new()));
    Made {
        key,
        handle: new.handle,
    }
}

async fn append<S: SessionStore>(case: &Case<S>, append: Append) -> Appended {
    ok(case.store.append(append).await)
}

fn saying(key: RecordKey, message: NewMessage) -> Append {
    Append {
        key,
        message,
        bounds: BOUNDS,
        at: None,
        again: false,
    }
}

async fn say<S: SessionStore>(case: &Case<S>, key: RecordKey, text: &str) -> (SystemTime, usize) {
    match append(case, saying(key, message(text))).await {
        Appended::Added { at, count } => (at, count),
        other => panic!("a live session takes a message: {other:?}"),
    }
}

/// What was said, and when in microseconds.
fn said(record: &Record) -> Vec<(String, u64)> {
    let texts = record.messages().map(|text| {
        let json: serde_json::Value =
            serde_json::from_slice(text).expect("a message is kept as the JSON object that it is");
        let content = json["content"].as_str().unwrap_or_default().to_owned();
        (content, json["at"].as_u64().unwrap_or_default())
    });
    texts.collect()
}

fn contents(record: &Record) -> Vec<String> {
    said(record)
        .into_iter()
        .map(|(content, _)| content)
        .collect()
}

/// A record with what was said where it was made.
fn with_said(record: &Record, texts: &[&NewMessage], now: SystemTime) -> Record {
    texts.iter().fold(record.clone(), |record, message| {
        match record.added(message, BOUNDS, now) {
            Added::New(with, _) => with,
            Added::There(_) | Added::Full => panic!("each of them is new, and there is room"),
        }
    })
}

async fn create<S: SessionStore>(case: &Case<S>, key: RecordKey, record: Record) -> Created {
    let began_at = case.store.now();
    let create = Create {
        key,
        record,
        began_at,
        limit: None,
        held: true,
    };
    ok(case.store.create(create).await)
}

/// Messages are kept in their order, with the store's instants, which never go back.
pub async fn rule_17_messages_stand_in_order_with_the_stores_instants<S: SessionStore>(
    store: Arc<S>,
) {
    let case = Case::new(store);
    let made = demo(&case).await;
    let before = case.now() - LAG;
    let mut told = Vec::new();
    for n in 0..5 {
        let (at, count) = say(&case, made.key, &n.to_string()).await;
        assert_eq!(count, n + 1);
        told.push((n.to_string(), micros(at)));
    }
    assert_eq!(said(&case.live(made.key).await), told);
    assert!(told.is_sorted_by_key(|(_, at)| *at));
    assert!(told[0].1 >= micros(before) && told[4].1 <= micros(case.now() + LAG));
}

/// A hundred at the same time: each is there, once.
pub async fn rule_17_parallel_messages_lose_none<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let made = demo(&case).await;
    let writers = (0..100).map(|n| {
        let case = case.clone();
        async move { say(&case, made.key, &n.to_string()).await.1 }
    });
    let mut counts = together(writers).await;
    counts.sort_unstable();
    assert_eq!(counts, (1..=100).collect::<Vec<_>>());
    let record = case.live(made.key).await;
    assert!(said(&record).is_sorted_by_key(|(_, at)| *at));
    let mut all = contents(&record);
    all.sort_by_key(|text| text.parse::<u32>().unwrap_or(u32::MAX));
    assert_eq!(all, (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
}

/// One that may have been sent before is looked for.
pub async fn rule_17_a_message_that_is_sent_again_is_there_once<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let made = demo(&case).await;
    let first = saying(made.key, message("first"));
    let told = append(&case, first.clone()).await;
    let Appended::Added { at, count: 1 } = told else {
        panic!("a live session takes a message: {told:?}");
    };
    say(&case, made.key, "second").await;
    let again = Append {
        again: true,
        ..first
    };
    assert_eq!(append(&case, again).await, Appended::Added { at, count: 2 });
    assert_eq!(contents(&case.live(made.key).await), ["first", "second"]);
}

/// What was said before it could be sent has its own instant, but none before the last message's, and none that is yet
/// to come.
pub async fn rule_17_a_message_of_before_has_its_own_instant<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let made = demo(&case).await;
    let earlier = case.now() - Duration::from_secs(60);
    let at = |at| Append {
        at: Some(at),
        ..saying(made.key, message("late"))
    };
    let told = append(&case, at(earlier)).await;
    assert_eq!(
        told,
        Appended::Added {
            at: earlier,
            count: 1
        }
    );
    let told = append(&case, at(earlier - Duration::from_secs(9))).await;
    assert_eq!(
        told,
        Appended::Added {
            at: earlier,
            count: 2
        }
    );
    match append(&case, at(case.now() + Duration::from_secs(3600))).await {
        Appended::Added { at, count: 3 } => assert!(at <= case.now() + LAG),
        other => panic!("a live session takes a message: {other:?}"),
    }
}

/// One too many, or too large, is not there, and neither is a part of it.
pub async fn rule_17_what_goes_over_the_bounds_changes_nothing<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let made = demo(&case).await;
    let (one, two) = (message("one"), message("two"));
    let bounded = |message: &NewMessage, count, bytes| Append {
        bounds: MessageBounds { count, bytes },
        ..saying(made.key, message.clone())
    };
    let each = one.body.len();
    assert_eq!(
        append(&case, bounded(&one, 2, each - 1)).await,
        Appended::Full
    );
    assert!(matches!(
        append(&case, bounded(&one, 2, each)).await,
        Appended::Added { count: 1, .. }
    ));
    assert_eq!(
        append(&case, bounded(&two, 2, 2 * each - 1)).await,
        Appended::Full
    );
    assert_eq!(
        append(&case, bounded(&two, 1, 1 << 20)).await,
        Appended::Full
    );
    assert_eq!(contents(&case.live(made.key).await), ["one"]);
    assert!(matches!(
        append(&case, bounded(&two, 2, 2 * each)).await,
        Appended::Added { count: 2, .. }
    ));
}

/// A conversation brings no session into being, nor back.
pub async fn rule_17_what_is_over_takes_no_message<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let unknown = demo_key(&case);
    match append(&case, saying(unknown, message("x"))).await {
        Appended::Ended(end) => assert_eq!(end.reason, EndReason::StoreLost),
        other => panic!("there is nothing to add to: {other:?}"),
    }
    assert_eq!(case.load(unknown).await, None);

    let made = demo(&case).await;
    say(&case, made.key, "said").await;
    let ended = case.end_one(made.key).await;
    assert_eq!(ended.sessions.len(), 1);
    match append(&case, saying(made.key, message("x"))).await {
        Appended::Ended(end) => assert_eq!(end.reason, EndReason::LoggedOut),
        other => panic!("what was ended takes nothing: {other:?}"),
    }
    case.ended(made.key).await;

    let key = demo_key(&case);
    let at = case.now() - Duration::from_secs(3600);
    let over = NewRecord {
        created_at: at,
        seen: seen(case.now() - Duration::from_secs(20)),
        absolute_end: case.now() - Duration::from_secs(10),
        ..case.stranger()
    };
    case.create(key, &over).await;
    match append(&case, saying(key, message("x"))).await {
        Appended::Ended(end) => assert_eq!(end.reason, EndReason::Absolute),
        other => panic!("what is over takes nothing: {other:?}"),
    }
}

/// An end and messages at the same time: what was said after it is not there, and it stays over.
pub async fn rule_17_an_end_in_parallel_is_not_undone<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    for _ in 0..10 {
        let made = demo(&case).await;
        let racers = (0..8).map(|n| {
            let case = case.clone();
            async move {
                if n == 0 {
                    case.end_one(made.key).await;
                } else {
                    append(&case, saying(made.key, message("x"))).await;
                }
            }
        });
        together(racers).await;
        case.ended(made.key).await;
    }
}

/// A new id takes the conversation along, also what is said meanwhile.
pub async fn rule_17_a_new_id_keeps_the_conversation<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let made = demo(&case).await;
    say(&case, made.key, "before").await;
    let successor = digest();
    let replace = Replace {
        key: made.key,
        successor,
        renewal: Renewal::SameSession,
        seen: seen(case.now()),
    };
    let next = made.key.sibling(successor);
    match ok(case.store.replace(replace.clone()).await) {
        Replaced::Replaced { record, .. } => assert_eq!(contents(&record), ["before"]),
        other => panic!("a live session was not replaced: {other:?}"),
    }
    assert_eq!(
        append(&case, saying(made.key, message("x"))).await,
        Appended::Moved
    );
    say(&case, next, "after").await;
    match ok(case.store.replace(replace).await) {
        Replaced::Replaced { record, .. } => assert_eq!(contents(&record), ["before", "after"]),
        other => panic!("sent twice, it is done once: {other:?}"),
    }
    assert_eq!(contents(&case.live(next).await), ["before", "after"]);
    case.ended(made.key).await;
}

/// Whoever speaks while the id changes is heard, or told.
pub async fn rule_17_no_message_is_lost_while_the_id_changes<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    for _ in 0..10 {
        let made = demo(&case).await;
        let successor = digest();
        let racers = (0..9).map(|n| {
            let case = case.clone();
            async move {
                if n == 0 {
                    case.replace(made.key, successor, Renewal::SameSession)
                        .await;
                    return None;
                }
                let text = n.to_string();
                match append(&case, saying(made.key, message(&text))).await {
                    Appended::Added { .. } => Some(text),
                    Appended::Moved => None,
                    other => panic!("it is live, or has moved: {other:?}"),
                }
            }
        });
        let mut heard: Vec<_> = together(racers).await.into_iter().flatten().collect();
        let mut there = contents(&case.live(made.key.sibling(successor)).await);
        heard.sort_unstable();
        there.sort_unstable();
        assert_eq!(there, heard);
    }
}

/// Whose it is changes with the id; data, handle, ends and conversation stay. It is in nobody's list.
pub async fn rule_17_a_session_that_is_adopted_is_its_users<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let made = demo(&case).await;
    say(&case, made.key, "hello").await;
    let before = case.live(made.key).await;
    let successor = digest();
    let adopted = case
        .replace(made.key, successor, Renewal::Adopted(case.user.clone()))
        .await;
    let Replaced::Replaced { record, ended } = adopted else {
        panic!("a live session was not replaced: {adopted:?}");
    };
    assert_eq!(ended, []);
    assert_eq!(record, case.live(made.key.sibling(successor)).await);
    assert_eq!(record.user(), Some(case.user.as_str()));
    assert_eq!(record.handle(), made.handle);
    assert_eq!(record.created_at(), before.created_at());
    assert_eq!(record.absolute_end(), before.absolute_end());
    assert_eq!(record.value("cart"), before.value("cart"));
    assert_eq!(contents(&record), ["hello"]);
    assert_eq!(case.listed().await, []);
    case.ended(made.key).await;
    // All of the user's sessions end, and this is none of them.
    case.end(EndScope::All(case.user.clone()), EndReason::Revoked)
        .await;
    assert!(case.is_live(made.key.sibling(successor)).await);
    let adopted = case
        .touch(made.key.sibling(successor), seen(case.now()))
        .await;
    assert_eq!(adopted, Applied::Saved(None));
}

/// A session that was made elsewhere comes with what was said there, all of it or nothing of it.
pub async fn rule_17_a_creation_brings_its_conversation_along<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let (key, now) = (demo_key(&case), case.now());
    let (one, two, three) = (message("one"), message("two"), message("three"));
    let plain = Record::new(&case.stranger());
    let sent = with_said(&plain, &[&one, &two], now);
    assert_eq!(
        create(&case, key, sent.clone()).await,
        Created::Created(Vec::new())
    );
    assert_eq!(case.live(key).await, sent);
    // Sent twice, and more was said on both sides meanwhile.
    say(&case, key, "there").await;
    let later = with_said(&plain, &[&one, &two, &three], now);
    assert_eq!(
        create(&case, key, later).await,
        Created::Created(Vec::new())
    );
    assert_eq!(
        contents(&case.live(key).await),
        ["one", "two", "there", "three"]
    );
    // Over another session, or a tombstone, nothing is added.
    let other = with_said(&Record::new(&case.stranger()), &[&message("x")], now);
    assert_eq!(create(&case, key, other.clone()).await, Created::Exists);
    case.end_one(key).await;
    assert_eq!(
        create(&case, key, other).await,
        Created::Refused(EndReason::LoggedOut)
    );
    case.ended(key).await;
}

/// The record limit is about the record: a conversation has bounds of its own.
pub async fn rule_17_a_conversation_is_not_the_records_size<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let made = demo(&case).await;
    let limit = case.store.record_limit();
    let long = "x".repeat(60 << 10);
    for _ in 0..limit.min(1 << 19) / (60 << 10) + 2 {
        say(&case, made.key, &long).await;
    }
    assert_eq!(
        case.apply(made.key, set("a", "1")).await,
        Applied::Saved(None)
    );
    let record = case.live(made.key).await;
    assert!(record.size() > limit.min(1 << 19));
    assert_eq!(record.value("a"), Some(&b"1"[..]));
    assert!(contents(&record).iter().all(|text| *text == long));
}
