//! Rule 1: what never makes a session, nor brings one back.

use std::sync::Arc;
use std::time::Duration;

use super::fixture::{Case, HOUR, add, digest, seen, set, sign_in, signing_in};
use crate::record::{Changes, EndReason, NewRecord};
use crate::store::{Applied, Created, EndScope, Renewal, Replaced, SessionStore};

const SECOND: Duration = Duration::from_secs(1);

/// It is over as lost, and stays absent.
pub async fn rule_01_apply_to_an_unknown_key_creates_nothing<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let key = case.key();
    for changes in [set("a", "1"), add("n", 1), Changes::default()] {
        is_over(case.apply(key, changes).await, EndReason::StoreLost);
    }
    is_over(
        case.touch(key, seen(case.now())).await,
        EndReason::StoreLost,
    );
    assert_eq!(case.load(key).await, None);
    assert_eq!(case.listed().await, []);
}

/// Whatever a late request brings, the tombstone stays as it is.
pub async fn rule_01_apply_to_an_ended_session_does_not_revive_it<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    for new in [case.new_record(), case.stranger()] {
        let made = case.made_from(&new).await;
        case.end_one(made.key).await;
        let tombstone = case.ended(made.key).await;
        is_over(
            case.apply(made.key, set("a", "1")).await,
            EndReason::LoggedOut,
        );
        let late = seen(case.now() + SECOND);
        is_over(case.touch(made.key, late).await, EndReason::LoggedOut);
        assert_eq!(case.ended(made.key).await, tombstone);
        assert_eq!(case.listed().await, []);
    }
}

/// A request that comes after the end is no use of the session.
pub async fn rule_01_a_touch_does_not_revive_what_is_over<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let idle = case.made_from(&case.idle_out()).await;
    let absolute = case
        .made_from(&NewRecord {
            absolute_end: case.now() - SECOND,
            ..case.new_record()
        })
        .await;
    for (made, reason) in [(idle, EndReason::Idle), (absolute, EndReason::Absolute)] {
        is_over(case.touch(made.key, seen(case.now())).await, reason);
        is_over(case.apply(made.key, set("a", "1")).await, reason);
        assert_eq!(case.ended(made.key).await.end.reason, reason);
    }
    assert_eq!(case.listed().await, []);
}

/// By none of the three ways to a new id.
pub async fn rule_01_replace_of_an_unknown_key_creates_nothing<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    for renewal in renewals(&case) {
        let (key, successor) = (case.key(), digest());
        let replaced = case.replace(key, successor, renewal).await;
        assert!(
            matches!(&replaced, Replaced::Ended(end) if end.reason == EndReason::StoreLost),
            "{replaced:?}"
        );
        assert_eq!(case.load(key).await, None);
        assert_eq!(case.load(key.sibling(successor)).await, None);
    }
    assert_eq!(case.listed().await, []);
}

/// Neither what was ended, nor what is over by its clocks.
pub async fn rule_01_replace_does_not_revive_what_is_over<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    for renewal in renewals(&case) {
        let ended = case.made().await;
        case.end_one(ended.key).await;
        let idle = case.made_from(&case.idle_out()).await;
        for (made, reason) in [(ended, EndReason::LoggedOut), (idle, EndReason::Idle)] {
            let successor = digest();
            let replaced = case.replace(made.key, successor, renewal.clone()).await;
            assert!(
                matches!(&replaced, Replaced::Ended(end) if end.reason == reason),
                "{replaced:?}"
            );
            assert_eq!(case.load(made.key.sibling(successor)).await, None);
            assert_eq!(case.ended(made.key).await.end.reason, reason);
        }
    }
    assert_eq!(case.listed().await, []);
}

/// Not even a tombstone, which would keep a session from being made there.
pub async fn rule_01_the_end_of_an_unknown_key_creates_nothing<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let (key, successor) = (case.key(), digest());
    let scope = EndScope::One(key, Some(successor));
    case.end(scope, EndReason::LoggedOut).await;
    assert_eq!(case.load(key).await, None);
    let created = case.create(key, &case.new_record()).await;
    assert_eq!(created, Created::Created(Vec::new()));
}

fn renewals<S: SessionStore>(case: &Case<S>) -> [Renewal; 3] {
    let now = case.now();
    let reauthenticated = Renewal::Reauthenticated {
        signed_in_at: now,
        absolute_end: now + HOUR,
        began_at: now,
    };
    let new = case.new_record();
    [
        Renewal::SameSession,
        reauthenticated,
        signing_in(sign_in(&new, now)),
    ]
}

#[track_caller]
fn is_over(applied: Applied, reason: EndReason) {
    match applied {
        Applied::Ended(end) => assert_eq!(end.reason, reason),
        other => panic!("over as {reason} was expected, and it is {other:?}"),
    }
}
