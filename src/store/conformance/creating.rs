//! Rules 4, 10 and 14: what comes into being, and how much of it.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::fixture::{Case, HOUR, MINUTE, digest, handle, ok, set, sign_in, signing_in, too_large};
use crate::id::Kind;
use crate::record::{EndReason, Entry, NewRecord, Record};
use crate::store::{
    Applied, AtLimit, Created, EndScope, Limit, Renewal, Replaced, SessionStore, SignIn,
};

fn at_most(sessions: u32, at_limit: AtLimit) -> Option<Limit> {
    let sessions = NonZeroU32::new(sessions).expect("limits of the suite are not zero");
    Some(Limit { sessions, at_limit })
}

/// Every field comes back as it was given.
pub async fn rule_04_what_was_created_is_loaded_as_it_was<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    for new in [
        case.new_record(),
        case.stranger(),
        NewRecord {
            persistent: true,
            values: vec![
                ("é:\"{}\\".into(), b"[1, 2.50, null]".to_vec()),
                ("n".repeat(64).into(), b"\"\\u0000 \xc3\xa9\"".to_vec()),
            ],
            ..case.signed_in_before(HOUR)
        },
        NewRecord {
            values: vec![("some".into(), vec![b'7'; 8 << 10])],
            ..case.new_record()
        },
    ] {
        let made = case.made_from(&new).await;
        assert_eq!(case.live(made.key).await, Record::new(&new));
    }
}

/// The second sending changes nothing, not even what was written since the first.
pub async fn rule_04_create_sent_twice_made_one_session<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let (key, new) = (case.key(), case.new_record());
    assert_eq!(case.create(key, &new).await, Created::Created(Vec::new()));
    assert_eq!(case.apply(key, set("a", "1")).await, Applied::Saved(None));
    assert_eq!(case.create(key, &new).await, Created::Created(Vec::new()));
    assert_eq!(case.listed().await, [new.handle]);
    assert_eq!(case.live(key).await.value("a"), Some(&b"1"[..]));
}

/// It must not count itself.
pub async fn rule_04_create_sent_twice_at_the_limit_ends_nobody<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let one = at_most(1, AtLimit::EndOldest);
    for limit in [one, at_most(1, AtLimit::Refuse)] {
        let (key, new) = (case.key(), case.new_record());
        let began = case.store.now();
        case.create_with(key, &new, began, one).await;
        let again = case.create_with(key, &new, began, limit).await;
        assert_eq!(again, Created::Created(Vec::new()));
        assert_eq!(case.listed().await, [new.handle]);
        assert!(case.is_live(key).await);
    }
}

/// Same digest, another handle.
pub async fn rule_04_create_over_another_session_changes_nothing<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let there = case.made().await;
    let before = case.live(there.key).await;
    let other = case.new_record();
    assert_eq!(case.create(there.key, &other).await, Created::Exists);
    assert_eq!(case.live(there.key).await, before);
    assert_eq!(case.listed().await, [there.handle]);
}

/// A creation that was delayed past the end of what it made.
pub async fn rule_04_create_over_a_tombstone_is_refused_with_its_reason<S: SessionStore>(
    store: Arc<S>,
) {
    let case = Case::new(store);
    for new in [case.new_record(), case.stranger()] {
        let made = case.made_from(&new).await;
        case.end_one(made.key).await;
        let again = case.create(made.key, &new).await;
        assert_eq!(again, Created::Refused(EndReason::LoggedOut));
        assert_eq!(case.ended(made.key).await.end.reason, EndReason::LoggedOut);
        assert_eq!(case.listed().await, []);
    }
}

/// Kind and bucket are part of the key: the same digest may stand under several.
pub async fn rule_04_the_same_digest_of_another_kind_is_another_session<S: SessionStore>(
    store: Arc<S>,
) {
    let case = Case::new(store);
    let made = case.made_from(&case.stranger()).await;
    let demo = case.stranger();
    let key = crate::RecordKey {
        kind: Kind::Demo,
        ..made.key
    };
    assert_eq!(case.create(key, &demo).await, Created::Created(Vec::new()));
    case.end_one(made.key).await;
    assert_eq!(case.live(key).await.handle(), demo.handle);
}

/// The oldest by sign-in, told to who asked, and to its holder.
pub async fn rule_10_at_the_limit_the_one_signed_in_longest_ago_ends<S: SessionStore>(
    store: Arc<S>,
) {
    let case = Case::new(store);
    // Neither the first that was made, nor the one least recently used.
    let newer = case.made_from(&case.signed_in_before(MINUTE)).await;
    let oldest = case.made_from(&case.signed_in_before(2 * HOUR)).await;
    let older = case.made_from(&case.signed_in_before(HOUR)).await;
    let (key, new) = (case.key(), case.new_record());
    let limit = at_most(3, AtLimit::EndOldest);
    let created = case.create_with(key, &new, case.now(), limit).await;
    let Created::Created(ended) = created else {
        panic!("not made: {created:?}");
    };
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].handle, oldest.handle);
    assert_eq!(ended[0].user.as_ref(), Some(&case.user));
    assert_eq!(case.ended(oldest.key).await.end.reason, EndReason::Limit);
    assert_eq!(
        case.listed().await,
        [new.handle, newer.handle, older.handle]
    );
}

/// A limit that was higher before.
pub async fn rule_10_a_lowered_limit_ends_as_many_as_it_takes<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    for minutes in 1..=6 {
        case.made_from(&case.signed_in_before(minutes * MINUTE))
            .await;
    }
    let before = case.listed().await;
    let (key, new) = (case.key(), case.new_record());
    let limit = at_most(2, AtLimit::EndOldest);
    let created = case.create_with(key, &new, case.now(), limit).await;
    let Created::Created(ended) = created else {
        panic!("not made: {created:?}");
    };
    assert_eq!(ended.len(), 5);
    assert_eq!(case.listed().await, [new.handle, before[0]]);
}

/// Refusing ends nobody and makes nothing.
pub async fn rule_10_a_limit_that_refuses_changes_nothing<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let old = case.made_from(&case.signed_in_before(HOUR)).await;
    let other = case.made().await;
    let key = case.key();
    let limit = at_most(2, AtLimit::Refuse);
    let refused = case
        .create_with(key, &case.new_record(), case.now(), limit)
        .await;
    assert_eq!(refused, Created::AtLimit);
    assert_eq!(case.load(key).await, None);
    assert_eq!(case.listed().await, [other.handle, old.handle]);
    // And a place that becomes free is free.
    case.end_one(old.key).await;
    let let_in = case
        .create_with(key, &case.new_record(), case.now(), limit)
        .await;
    assert_eq!(let_in, Created::Created(Vec::new()));
}

/// Whoever closed the browser does not keep others out.
pub async fn rule_10_sessions_that_are_over_do_not_count<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    for _ in 0..4 {
        case.made_from(&case.idle_out()).await;
    }
    let made = case.made_from(&case.signed_in_before(HOUR)).await;
    let new = case.new_record();
    let limit = at_most(2, AtLimit::Refuse);
    let created = case.create_with(case.key(), &new, case.now(), limit).await;
    assert_eq!(created, Created::Created(Vec::new()));
    assert_eq!(case.listed().await, [new.handle, made.handle]);
}

/// Neither a stranger's in the same bucket, nor another user's.
pub async fn rule_10_only_the_users_own_sessions_count<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let stranger = case.made_from(&case.stranger()).await;
    let other = case.somebody_else();
    let others = other.made().await;
    let limit = at_most(1, AtLimit::EndOldest);
    let created = case
        .create_with(case.key(), &case.new_record(), case.now(), limit)
        .await;
    assert_eq!(created, Created::Created(Vec::new()));
    assert!(case.is_live(stranger.key).await && other.is_live(others.key).await);
}

/// The place that becomes free is the new session's.
pub async fn rule_10_a_sign_in_does_not_count_the_session_that_it_replaces<S: SessionStore>(
    store: Arc<S>,
) {
    for at_limit in [AtLimit::EndOldest, AtLimit::Refuse] {
        let case = Case::new(Arc::clone(&store));
        let other = case.made_from(&case.signed_in_before(HOUR)).await;
        let made = case.made().await;
        let new = case.new_record();
        let sign_in = SignIn {
            limit: at_most(2, at_limit),
            ..sign_in(&new, case.now())
        };
        let replaced = case.replace(made.key, digest(), signing_in(sign_in)).await;
        let Replaced::Replaced { ended, .. } = replaced else {
            panic!("not replaced: {replaced:?}");
        };
        assert_eq!(ended, []);
        assert_eq!(case.listed().await, [new.handle, other.handle]);
    }
}

/// A limit that was higher before holds for a sign-in from a session, too.
pub async fn rule_10_a_sign_in_from_a_session_keeps_to_the_limit<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let oldest = case.made_from(&case.signed_in_before(2 * HOUR)).await;
    let other = case.made_from(&case.signed_in_before(HOUR)).await;
    let made = case.made().await;
    let new = case.new_record();
    let sign_in = SignIn {
        limit: at_most(2, AtLimit::EndOldest),
        ..sign_in(&new, case.now())
    };
    let replaced = case.replace(made.key, digest(), signing_in(sign_in)).await;
    let Replaced::Replaced { ended, .. } = replaced else {
        panic!("not replaced: {replaced:?}");
    };
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].handle, oldest.handle);
    assert_eq!(case.ended(oldest.key).await.end.reason, EndReason::Limit);
    assert_eq!(case.listed().await, [new.handle, other.handle]);
}

/// And nobody is ended for it.
pub async fn rule_14_a_creation_that_is_too_large_changes_nothing<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let there = case.made().await;
    let key = case.key();
    let new = NewRecord {
        values: vec![("big".into(), too_large())],
        ..case.new_record()
    };
    let limit = at_most(1, AtLimit::EndOldest);
    let created = case.create_with(key, &new, case.now(), limit).await;
    assert_eq!(created, Created::TooLarge);
    assert_eq!(case.load(key).await, None);
    assert_eq!(case.listed().await, [there.handle]);
}

/// Of several changes none is applied.
pub async fn rule_14_a_change_that_is_too_large_changes_nothing<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let made = case.made().await;
    let before = case.live(made.key).await;
    let mut changes = set("small", "1");
    changes.put("big".into(), crate::record::Op::Set(too_large()));
    assert_eq!(case.apply(made.key, changes).await, Applied::TooLarge);
    assert_eq!(case.live(made.key).await, before);
}

/// The session from before goes on.
pub async fn rule_14_a_sign_in_that_is_too_large_changes_nothing<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let made = case.made().await;
    let before = case.live(made.key).await;
    let new = NewRecord {
        values: vec![("big".into(), too_large())],
        ..case.new_record()
    };
    let successor = digest();
    let renewal = signing_in(sign_in(&new, case.now()));
    let replaced = case.replace(made.key, successor, renewal).await;
    assert_eq!(replaced, Replaced::TooLarge);
    assert_eq!(case.live(made.key).await, before);
    assert_eq!(case.load(made.key.sibling(successor)).await, None);
    assert_eq!(case.listed().await, [made.handle]);
}

/// The names that applications give their users: text of any sort, to 256 bytes.
pub async fn rule_16_any_user_id_will_do<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    for odd in [
        "{a}{b}",
        "a b\tc",
        "a\nb\r\nc",
        "a:b*?[c]",
        "../../etc/",
        "é…☃",
        "a\0b",
        "\"'\\%$",
    ] {
        let case = Case {
            user: format!("{odd}{}", handle()).into(),
            ..case.clone()
        };
        uses_all(&case).await;
    }
    let longest = format!("{:-<256}", handle().to_string());
    let case = Case {
        user: longest.into(),
        ..case
    };
    uses_all(&case).await;
}

/// A short life of a session.
async fn uses_all<S: SessionStore>(case: &Case<S>) {
    let made = case.made().await;
    assert_eq!(case.live(made.key).await.user(), Some(case.user.as_str()));
    let applied = case.apply(made.key, set("a", "1")).await;
    assert_eq!(applied, Applied::Saved(None));
    let successor = digest();
    let replaced = case.replace(made.key, successor, Renewal::SameSession);
    assert!(matches!(replaced.await, Replaced::Replaced { .. }));
    assert_eq!(case.listed().await, [made.handle]);
    let by_handle = EndScope::Handle(case.user.clone(), made.handle);
    let ended = case.end(by_handle, EndReason::Revoked).await;
    assert_eq!(ended.sessions.len(), 1);
    let entries = ok(case.store.load_each(&[made.key]).await);
    assert!(matches!(entries[..], [Some(Entry::Ended(_))]));
    assert_eq!(case.end_all().await.sessions, []);
}
