//! Rule 8: new ids.

use std::sync::Arc;

use super::fixture::{Case, HOUR, LAG, MINUTE, digest, handle, seen, set, sign_in, signing_in};
use crate::record::{EndReason, Entry, NewRecord, Record};
use crate::store::{EndScope, Renewal, Replaced, SessionStore, SignIn};

#[track_caller]
fn record_of(replaced: Replaced) -> Record {
    match replaced {
        Replaced::Replaced { record, .. } => record,
        other => panic!("not replaced: {other:?}"),
    }
}

/// Values, name, owner, birth, sign-in and absolute end are the session's; only the id and what was seen are new.
pub async fn rule_08_a_new_id_is_the_same_session<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    for new in [
        NewRecord {
            seen: seen(case.now() - MINUTE),
            persistent: true,
            ..case.signed_in_before(HOUR)
        },
        NewRecord {
            seen: seen(case.now() - MINUTE),
            ..case.stranger()
        },
    ] {
        let made = case.made_from(&new).await;
        let (successor, told) = case.regenerated(made.key).await;
        let record = case.live(successor).await;
        assert_eq!(record, told);
        assert!(record.seen_at() > new.seen.at);
        let as_before = NewRecord {
            seen: seen(record.seen_at()),
            ..new
        };
        assert_eq!(record, Record::new(&as_before));
    }
}

/// So that whoever holds the old id is told that it moved, and a retry finds its own work.
pub async fn rule_08_the_old_id_names_its_successor<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    for new in [case.new_record(), case.stranger()] {
        let made = case.made_from(&new).await;
        let before = case.now();
        let (successor, _) = case.regenerated(made.key).await;
        let tombstone = case.ended(made.key).await;
        assert_eq!(tombstone.end.reason, EndReason::Regenerated);
        assert_eq!(tombstone.handle, made.handle);
        assert_eq!(tombstone.successor, Some(successor.digest));
        assert!(tombstone.end.at >= before && tombstone.end.at <= case.store.now() + LAG);
    }
}

/// The second sending answers as the first.
pub async fn rule_08_replace_sent_twice_is_done_once<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let new = case.new_record();
    for renewal in [Renewal::SameSession, signing_in(sign_in(&new, case.now()))] {
        let made = case.made().await;
        let successor = digest();
        let first = case.replace(made.key, successor, renewal.clone()).await;
        let first = record_of(first);
        let next = made.key.sibling(successor);
        case.apply(next, set("since", "1")).await;
        let second = record_of(case.replace(made.key, successor, renewal).await);
        assert_eq!(second.handle(), first.handle());
        assert_eq!(second, case.live(next).await);
        assert_eq!(second.value("since"), Some(&b"1"[..]));
        assert_eq!(case.listed().await, [first.handle()]);
        case.end_one(next).await;
    }
}

/// A late second sending revives nothing, and tells the truth about what its first made.
pub async fn rule_08_replace_sent_again_after_the_end_tells_of_the_end<S: SessionStore>(
    store: Arc<S>,
) {
    let case = Case::new(store);
    let made = case.made().await;
    let (successor, _) = case.regenerated(made.key).await;
    case.end_one(successor).await;
    let again = case.replace(made.key, successor.digest, Renewal::SameSession);
    let again = again.await;
    assert!(
        matches!(&again, Replaced::Ended(end) if end.reason == EndReason::LoggedOut),
        "{again:?}"
    );
    assert!(!case.is_live(successor).await && !case.is_live(made.key).await);
}

/// Only one successor.
pub async fn rule_08_a_superseded_id_is_not_replaced_again<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let made = case.made().await;
    let (successor, record) = case.regenerated(made.key).await;
    let other = digest();
    let new = case.new_record();
    for renewal in [Renewal::SameSession, signing_in(sign_in(&new, case.now()))] {
        let replaced = case.replace(made.key, other, renewal).await;
        assert_eq!(replaced, Replaced::Moved);
    }
    assert_eq!(case.load(made.key.sibling(other)).await, None);
    assert_eq!(case.live(successor).await, record);
    assert_eq!(case.listed().await, [made.handle]);
}

/// Id after id, and each of them is the one session.
pub async fn rule_08_a_successor_is_replaced_in_its_turn<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let made = case.made().await;
    let mut key = made.key;
    for _ in 0..5 {
        let (next, record) = case.regenerated(key).await;
        assert_eq!(record.handle(), made.handle);
        assert!(!case.is_live(key).await);
        assert_eq!(case.listed().await, [made.handle]);
        key = next;
    }
    let by_handle = EndScope::Handle(case.user.clone(), made.handle);
    let ended = case.end(by_handle, EndReason::Revoked).await;
    assert_eq!(ended.sessions.len(), 1);
    assert_eq!(case.ended(key).await.end.reason, EndReason::Revoked);
}

/// Its values and its name stay; both clocks start again.
pub async fn rule_08_proving_oneself_again_starts_both_clocks<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let new = NewRecord {
        absolute_end: case.now() + MINUTE,
        seen: seen(case.now() - MINUTE),
        ..case.signed_in_before(HOUR)
    };
    let made = case.made_from(&new).await;
    let (now, successor) = (case.now(), digest());
    let renewal = Renewal::Reauthenticated {
        signed_in_at: now,
        absolute_end: now + 12 * HOUR,
        began_at: now,
    };
    let record = record_of(case.replace(made.key, successor, renewal).await);
    assert_eq!(record, case.live(made.key.sibling(successor)).await);
    assert!(record.seen_at() >= now);
    let expected = NewRecord {
        signed_in_at: Some(now),
        absolute_end: now + 12 * HOUR,
        seen: seen(record.seen_at()),
        ..new
    };
    assert_eq!(record, Record::new(&expected));
    assert_eq!(case.ended(made.key).await.successor, Some(successor));
    assert_eq!(case.listed().await, [made.handle]);
}

/// Only what the login names crosses, as last stored, and what the login brings stands before it.
pub async fn rule_08_a_sign_in_takes_over_what_it_names_and_nothing_else<S: SessionStore>(
    store: Arc<S>,
) {
    let case = Case::new(store);
    let made = case.made().await;
    for (name, json) in [
        ("kept", "1"),
        ("brought", "1"),
        ("left", "1"),
        ("kept", "2"),
    ] {
        case.apply(made.key, set(name, json)).await;
    }
    let new = NewRecord {
        values: vec![("brought".into(), b"9".to_vec())],
        ..case.new_record()
    };
    let sign_in = SignIn {
        keep: vec!["kept".into(), "brought".into(), "never".into()],
        ..sign_in(&new, case.now())
    };
    let successor = digest();
    let replaced = case.replace(made.key, successor, signing_in(sign_in)).await;
    let record = record_of(replaced);
    assert_eq!(record, case.live(made.key.sibling(successor)).await);
    let mut names: Vec<_> = record.names().collect();
    names.sort_unstable();
    assert_eq!(names, ["brought", "kept"]);
    assert_eq!(record.value("kept"), Some(&b"2"[..]));
    assert_eq!(record.value("brought"), Some(&b"9"[..]));
    assert_eq!(record.handle(), new.handle);
    assert_eq!(record.signed_in_at(), new.signed_in_at);
    assert_eq!(record.absolute_end(), new.absolute_end);
    assert_eq!(case.listed().await, [new.handle]);
    let tombstone = case.ended(made.key).await;
    assert_eq!(tombstone.handle, made.handle);
    assert_eq!(tombstone.end.reason, EndReason::Regenerated);
}

/// An end that comes for the id from before does not reach the session under its new one.
pub async fn rule_08_the_end_of_a_superseded_id_ends_nothing<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let made = case.made().await;
    let (successor, _) = case.regenerated(made.key).await;
    let ended = case.end_one(made.key).await;
    assert_eq!((ended.sessions, ended.last), (Vec::new(), None));
    assert!(matches!(
        case.load(made.key).await,
        Some(Entry::Ended(tombstone)) if tombstone.end.reason == EndReason::Regenerated
    ));
    assert!(case.is_live(successor).await);
    let nobody = EndScope::Handle(case.user.clone(), handle());
    assert_eq!(case.end(nobody, EndReason::Revoked).await.sessions, []);
    assert_eq!(case.listed().await, [made.handle]);
}
