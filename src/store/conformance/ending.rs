//! Rules 3, 11 and 13: ends, and who may come after them.

use std::sync::Arc;
use std::time::Duration;

use super::fixture::{Case, HOUR, LAG, Made, digest, handle, ok, set, sign_in, signing_in};
use crate::id::{Handle, Kind, RecordKey};
use crate::record::{EndReason, NewRecord};
use crate::store::{
    Applied, Created, EndScope, EndSessions, EndedSessions, Renewal, Replaced, SessionStore,
};

const SECOND: Duration = Duration::from_secs(1);

fn handles(ended: &EndedSessions) -> Vec<Handle> {
    let mut handles: Vec<_> = ended.sessions.iter().map(|ended| ended.handle).collect();
    handles.sort_unstable();
    handles
}

fn sorted(made: &[Made]) -> Vec<Handle> {
    let mut handles: Vec<_> = made.iter().map(|made| made.handle).collect();
    handles.sort_unstable();
    handles
}

/// Why, when, with which note, and what took its place.
pub async fn rule_03_whoever_loads_an_ended_session_is_told_why<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    for (reason, note) in [
        (EndReason::LoggedOut, None),
        (EndReason::Revoked, Some("by an operator: é \"x\"")),
    ] {
        let made = case.made().await;
        let (before, successor) = (case.now(), digest());
        let end = EndSessions {
            scope: EndScope::One(made.key, Some(successor)),
            reason,
            note: note.map(Into::into),
            before: None,
        };
        ok(case.store.end(end).await);
        let tombstone = case.ended(made.key).await;
        assert_eq!(tombstone.handle, made.handle);
        assert_eq!(tombstone.end.reason, reason);
        assert_eq!(tombstone.end.note.as_deref(), note);
        assert_eq!(tombstone.successor, Some(successor));
        assert!(tombstone.end.at >= before && tombstone.end.at <= case.store.now() + LAG);
    }
}

/// So that a login can carry over what its stranger had.
pub async fn rule_03_ending_one_gives_the_record_as_last_stored<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    for new in [case.new_record(), case.stranger()] {
        let made = case.made_from(&new).await;
        case.apply(made.key, set("a", "1")).await;
        let last = case.live(made.key).await;
        let ended = case.end_one(made.key).await;
        assert_eq!(ended.last, Some(last));
        assert_eq!(ended.sessions.len(), 1);
        assert_eq!(ended.sessions[0].handle, made.handle);
        assert_eq!(ended.sessions[0].user, new.user);
        assert!(!case.is_live(made.key).await);
    }
}

/// A demo session is ended by its key.
pub async fn rule_03_a_session_of_the_other_kind_ends_too<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let key = RecordKey {
        kind: Kind::Demo,
        ..case.key()
    };
    case.create(key, &case.stranger()).await;
    assert!(case.end_one(key).await.last.is_some());
    assert_eq!(case.ended(key).await.end.reason, EndReason::LoggedOut);
}

/// The first end counts.
pub async fn rule_03_a_second_end_changes_nothing<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let made = case.made().await;
    case.end_one(made.key).await;
    let tombstone = case.ended(made.key).await;
    let again = EndScope::One(made.key, Some(digest()));
    let again = case.end(again, EndReason::Revoked).await;
    assert_eq!((again.sessions, again.last), (Vec::new(), None));
    assert_eq!(case.end_all().await.sessions, []);
    assert_eq!(case.ended(made.key).await, tombstone);
}

/// What is there ends as by its key, and what is not there yet never is.
pub async fn rule_13_the_end_of_what_may_come_keeps_it_out<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    for new in [case.new_record(), case.stranger()] {
        let key = case.key();
        let ended = case.end(EndScope::Unborn(key), EndReason::LoggedOut).await;
        assert_eq!((ended.sessions, ended.last), (Vec::new(), None));
        assert_eq!(
            case.create(key, &new).await,
            Created::Refused(EndReason::LoggedOut)
        );
        let tombstone = case.ended(key).await;
        assert!(tombstone.handle.as_uuid().is_nil());
        // The first end counts, here too.
        case.end(EndScope::Unborn(key), EndReason::Revoked).await;
        assert_eq!(case.ended(key).await, tombstone);
        let made = case.made_from(&new).await;
        let ended = case
            .end(EndScope::Unborn(made.key), EndReason::LoggedOut)
            .await;
        assert_eq!(ended.sessions.len(), 1);
        assert_eq!(ended.last.map(|record| record.handle()), Some(made.handle));
        assert_eq!(case.ended(made.key).await.handle, made.handle);
    }
    assert_eq!(case.listed().await, []);
}

/// By its name, from the list.
pub async fn rule_03_ending_by_handle_ends_that_one_only<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let (kept, gone) = (case.made().await, case.made().await);
    let by_handle = EndScope::Handle(case.user.clone(), gone.handle);
    let ended = case.end(by_handle, EndReason::Revoked).await;
    assert_eq!(handles(&ended), [gone.handle]);
    assert_eq!(ended.sessions[0].user.as_ref(), Some(&case.user));
    assert_eq!(case.ended(gone.key).await.end.reason, EndReason::Revoked);
    assert_eq!(case.listed().await, [kept.handle]);
    assert!(case.is_live(kept.key).await);
}

/// This one goes on, and takes changes, and new ids.
pub async fn rule_03_ending_the_others_spares_one<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let kept = case.made().await;
    let gone = [case.made().await, case.made().await, case.made().await];
    let others = EndScope::Others(case.user.clone(), kept.handle);
    let ended = case.end(others, EndReason::Revoked).await;
    assert_eq!(handles(&ended), sorted(&gone));
    for made in gone {
        assert_eq!(case.ended(made.key).await.end.reason, EndReason::Revoked);
    }
    let applied = case.apply(kept.key, set("a", "1")).await;
    assert_eq!(applied, Applied::Saved(None));
    case.regenerated(kept.key).await;
    assert_eq!(case.listed().await, [kept.handle]);
}

/// All of the user's, and nobody else's.
pub async fn rule_03_ending_all_ends_all_of_one_user<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let gone = [case.made().await, case.made().await, case.made().await];
    let stranger = case.made_from(&case.stranger()).await;
    let other = case.somebody_else();
    let others = other.made().await;
    let ended = case.end_all().await;
    assert_eq!(handles(&ended), sorted(&gone));
    for made in gone {
        assert_eq!(case.ended(made.key).await.end.reason, EndReason::Revoked);
    }
    assert_eq!(case.listed().await, []);
    assert!(case.is_live(stranger.key).await && other.is_live(others.key).await);
    assert_eq!(other.listed().await, [others.handle]);
    // And nobody else is kept out.
    let began_before = other.now() - HOUR;
    let created = other
        .create_with(other.key(), &other.new_record(), began_before, None)
        .await;
    assert_eq!(created, Created::Created(Vec::new()));
}

/// "All" and "others" alike; it does not matter whether the user had a session then.
pub async fn rule_11_a_login_that_began_before_the_end_of_all_is_refused<S: SessionStore>(
    store: Arc<S>,
) {
    for others in [false, true] {
        let case = Case::new(Arc::clone(&store));
        let (key, new, began) = (case.key(), case.new_record(), case.store.now());
        let scope = if others {
            EndScope::Others(case.user.clone(), handle())
        } else {
            EndScope::All(case.user.clone())
        };
        case.end(scope, EndReason::Revoked).await;
        let now = case.store.now();
        let request_before = case.create_with(key, &case.new_record(), began, None).await;
        assert_eq!(request_before, Created::Refused(EndReason::Revoked));
        let signed_in_before = case.create_with(key, &new, now, None);
        assert_eq!(signed_in_before.await, Created::Refused(EndReason::Revoked));
        assert_eq!(case.load(key).await, None);
        assert_eq!(case.listed().await, []);
    }
}

/// However soon: the two are told apart also within one tick of a clock.
pub async fn rule_11_a_login_that_began_after_the_end_of_all_is_let_in<S: SessionStore>(
    store: Arc<S>,
) {
    let case = Case::new(store);
    for _ in 0..50 {
        let began = case.store.now();
        let before = case.new_record();
        case.end_all().await;
        let made = case.made().await;
        let late = case.create_with(case.key(), &before, began, None).await;
        assert_eq!(late, Created::Refused(EndReason::Revoked));
        assert_eq!(case.listed().await, [made.handle]);
    }
}

/// A sign-in from a session that was spared is a login too.
pub async fn rule_11_a_sign_in_from_a_session_that_began_before_is_refused<S: SessionStore>(
    store: Arc<S>,
) {
    let case = Case::new(store);
    let kept = case.made().await;
    let (new, before) = (case.new_record(), case.now());
    let others = EndScope::Others(case.user.clone(), kept.handle);
    case.end(others, EndReason::Revoked).await;
    let after = case.now();
    let again = |signed_in_at, began_at| Renewal::Reauthenticated {
        signed_in_at,
        absolute_end: after + HOUR,
        began_at,
    };
    let successor = digest();
    for renewal in [
        signing_in(sign_in(&case.new_record(), before)),
        signing_in(sign_in(&new, after)),
        again(after, before),
        again(before, after),
    ] {
        let what = format!("{renewal:?}");
        let replaced = case.replace(kept.key, successor, renewal).await;
        assert_eq!(replaced, Replaced::Refused(EndReason::Revoked), "{what}");
    }
    assert!(case.is_live(kept.key).await);
    assert_eq!(case.load(kept.key.sibling(successor)).await, None);
    assert_eq!(case.listed().await, [kept.handle]);
    let replaced = case.replace(kept.key, successor, again(after, after)).await;
    assert!(
        matches!(replaced, Replaced::Replaced { .. }),
        "{replaced:?}"
    );
}

/// Only "all" and "others" keep logins out.
pub async fn rule_11_the_end_of_one_keeps_nobody_out<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let began = case.store.now() - SECOND;
    let (first, second) = (case.made().await, case.made().await);
    case.end_one(first.key).await;
    let by_handle = EndScope::Handle(case.user.clone(), second.handle);
    case.end(by_handle, EndReason::Revoked).await;
    let new = case.new_record();
    let created = case.create_with(case.key(), &new, began, None).await;
    assert_eq!(created, Created::Created(Vec::new()));
    assert_eq!(case.listed().await, [new.handle]);
}

/// It belongs to nobody.
pub async fn rule_11_a_strangers_session_knows_no_end_of_all<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let began = case.store.now() - SECOND;
    case.end_all().await;
    let created = case
        .create_with(case.key(), &case.stranger(), began, None)
        .await;
    assert_eq!(created, Created::Created(Vec::new()));
}

/// Unknown keys, names, users; a name that is somebody else's.
pub async fn rule_13_ending_what_is_not_there_ends_nothing<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let other = case.somebody_else();
    let (made, others) = (case.made().await, other.made().await);
    let nobody = case.somebody_else().user;
    for scope in [
        EndScope::One(case.key(), None),
        EndScope::Handle(case.user.clone(), handle()),
        EndScope::Handle(case.user.clone(), others.handle),
        EndScope::Handle(nobody.clone(), made.handle),
        EndScope::Others(nobody.clone(), made.handle),
        EndScope::All(nobody),
    ] {
        let ended = case.end(scope, EndReason::Revoked).await;
        assert_eq!((ended.sessions, ended.last), (Vec::new(), None));
    }
    assert!(case.is_live(made.key).await && other.is_live(others.key).await);
    assert_eq!(case.listed().await, [made.handle]);
    assert_eq!(other.listed().await, [others.handle]);
}

/// It was over by itself, and its holder is told so.
pub async fn rule_13_ending_what_is_over_ends_nothing<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let idle = case.made_from(&case.idle_out()).await;
    let absolute = case
        .made_from(&NewRecord {
            absolute_end: case.now() - SECOND,
            ..case.new_record()
        })
        .await;
    for scope in [
        EndScope::One(idle.key, None),
        EndScope::One(absolute.key, None),
        EndScope::Handle(case.user.clone(), idle.handle),
        EndScope::All(case.user.clone()),
    ] {
        let ended = case.end(scope, EndReason::Revoked).await;
        assert_eq!((ended.sessions, ended.last), (Vec::new(), None));
    }
    assert_eq!(case.ended(idle.key).await.end.reason, EndReason::Idle);
    let reason = case.ended(absolute.key).await.end.reason;
    assert_eq!(reason, EndReason::Absolute);
}
