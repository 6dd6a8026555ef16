//! Rule 18: a user's history and activities.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::conversing::{demo, demo_key};
use super::fixture::{Case, HOUR, MINUTE, digest, handle, ok, set, sign_in, signing_in, together};
use crate::id::Handle;
use crate::record::{Activity, EndReason, HistoryEntry, HistoryEvent, Record, UserLog};
use crate::store::{
    AtLimit, Create, Created, EndScope, EndSessions, Limit, Renewal, Replace, Replaced,
    SessionStore,
};

async fn log<S: SessionStore>(case: &Case<S>) -> UserLog {
    ok(case.store.log(case.user.clone()).await)
}

/// The history, oldest first, as "event reason".
async fn told<S: SessionStore>(case: &Case<S>) -> Vec<(String, Handle)> {
    let history = log(case).await.history;
    let tell = |entry: &HistoryEntry| {
        let reason = match &entry.event {
            HistoryEvent::Ended { reason, .. } => format!(" {reason}"),
            HistoryEvent::SignedIn | HistoryEvent::Reauthenticated | HistoryEvent::Regenerated => {
                String::new()
            }
        };
        (format!("{}{reason}", entry.event.as_str()), entry.handle)
    };
    history.iter().rev().map(tell).collect()
}

fn activity<S: SessionStore>(case: &Case<S>, n: usize) -> Activity {
    Activity {
        at: case.now(),
        kind: "view".into(),
        resource: format!("/page/{n} é").into(),
        handle: Some(handle()),
        address: Some("192.0.2.1".into()),
        user_agent: None,
    }
}

/// Each step of a session's life stands there once, in order, with what is known of it.
pub async fn rule_18_each_step_of_a_life_stands_in_the_history(store: Arc<impl SessionStore>) {
    let case = Case::new(store);
    let first = case.made().await;
    let (key, _) = case.regenerated(first.key).await;
    case.apply(key, set("n", "1")).await;
    let now = case.now();
    let renewal = Renewal::Reauthenticated {
        signed_in_at: now,
        absolute_end: now + HOUR,
        began_at: case.store.now(),
    };
    let next = digest();
    let replaced = case.replace(key, next, renewal).await;
    assert!(
        matches!(replaced, Replaced::Replaced { .. }),
        "{replaced:?}"
    );
    let second = case.new_record();
    let other = digest();
    let renewal = signing_in(sign_in(&second, case.store.now()));
    let replaced = case.replace(key.sibling(next), other, renewal).await;
    assert!(
        matches!(replaced, Replaced::Replaced { .. }),
        "{replaced:?}"
    );
    let end = EndSessions {
        scope: EndScope::One(key.sibling(other), None),
        reason: EndReason::Revoked,
        note: Some("a note, é".into()),
        before: None,
    };
    ok(case.store.end(end).await);
    let expected = [
        ("signed_in", first.handle),
        ("regenerated", first.handle),
        ("reauthenticated", first.handle),
        ("ended regenerated", first.handle),
        ("signed_in", second.handle),
        ("ended revoked", second.handle),
    ];
    assert_eq!(
        told(&case).await,
        expected.map(|(event, handle)| (event.to_owned(), handle))
    );
    let history = log(&case).await.history;
    for entry in &history {
        assert_eq!(entry.address.as_deref(), Some("192.0.2.1"), "{entry:?}");
        assert_eq!(
            entry.user_agent.as_deref(),
            Some("conformance/1"),
            "{entry:?}"
        );
        assert!(
            entry.at + MINUTE > now && entry.at < now + HOUR,
            "{entry:?}"
        );
    }
    let HistoryEvent::Ended { note, .. } = &history[0].event else {
        panic!("{:?}", history[0]);
    };
    assert_eq!(note.as_deref(), Some("a note, é"));
}

/// What is sent twice has happened once, and stands there once.
pub async fn rule_18_what_is_sent_twice_stands_there_once(store: Arc<impl SessionStore>) {
    let case = Case::new(store);
    let new = case.new_record();
    let create = Create {
        key: case.key(),
        record: Record::new(&new),
        began_at: case.store.now(),
        limit: None,
        held: false,
    };
    for _ in 0..2 {
        let created = ok(case.store.create(create.clone()).await);
        assert_eq!(created, Created::Created(Vec::new()));
    }
    let replace = Replace {
        key: create.key,
        successor: digest(),
        renewal: Renewal::SameSession,
        seen: super::fixture::seen(case.now()),
    };
    for _ in 0..2 {
        let replaced = ok(case.store.replace(replace.clone()).await);
        assert!(
            matches!(replaced, Replaced::Replaced { .. }),
            "{replaced:?}"
        );
    }
    for _ in 0..2 {
        case.end_one(create.key.sibling(replace.successor)).await;
        case.end_all().await;
    }
    let events: Vec<_> = told(&case)
        .await
        .into_iter()
        .map(|(event, _)| event)
        .collect();
    assert_eq!(events, ["signed_in", "regenerated", "ended logged_out"]);
}

/// What changes nothing writes nothing.
pub async fn rule_18_what_changes_nothing_stands_nowhere(store: Arc<impl SessionStore>) {
    let case = Case::new(store);
    case.end_all().await;
    case.end_one(case.key()).await;
    let long_ago = case.now() - HOUR;
    let refused = case
        .create_with(case.key(), &case.signed_in_before(HOUR), long_ago, None)
        .await;
    assert_eq!(refused, Created::Refused(EndReason::Revoked));
    case.replace(case.key(), digest(), Renewal::SameSession)
        .await;
    let stranger = case.made_from(&case.stranger()).await;
    case.regenerated(stranger.key).await;
    assert_eq!(log(&case).await, UserLog::default());
    let limit = Limit {
        sessions: NonZeroU32::MIN,
        at_limit: AtLimit::Refuse,
    };
    case.made().await;
    let refused = case
        .create_with(
            case.key(),
            &case.new_record(),
            case.store.now(),
            Some(limit),
        )
        .await;
    assert_eq!(refused, Created::AtLimit);
    assert_eq!(told(&case).await.len(), 1);
}

/// Each session that is ended with others stands there, with the reason; those of others do not.
pub async fn rule_18_each_of_several_that_end_stands_there(store: Arc<impl SessionStore>) {
    let case = Case::new(store);
    let other = case.somebody_else();
    other.made().await;
    let mut handles = Vec::new();
    for n in 0..3 {
        handles.push(
            case.made_from(&case.signed_in_before((3 - n) * MINUTE))
                .await
                .handle,
        );
    }
    let scope = EndScope::Handle(case.user.clone(), handles[1]);
    case.end(scope, EndReason::Revoked).await;
    let scope = EndScope::Others(case.user.clone(), handles[2]);
    case.end(scope, EndReason::Revoked).await;
    case.end_all().await;
    let ends: Vec<_> = told(&case).await.split_off(3);
    let ended = |handle| ("ended revoked".to_owned(), handle);
    assert_eq!(
        ends,
        [ended(handles[1]), ended(handles[0]), ended(handles[2])]
    );
    assert_eq!(told(&other).await.len(), 1);
}

/// Whoever makes room for a login stands there, in parallel too.
pub async fn rule_18_in_parallel_each_stands_there_once(store: Arc<impl SessionStore>) {
    let case = Case::new(store);
    let limit = Limit {
        sessions: NonZeroU32::MIN.saturating_add(4),
        at_limit: AtLimit::EndOldest,
    };
    let logins = (0..20).map(|_| {
        let case = case.clone();
        async move {
            let began_at = case.store.now();
            case.create_with(case.key(), &case.new_record(), began_at, Some(limit))
                .await
        }
    });
    together(logins).await;
    let told = told(&case).await;
    let of = |event: &str| {
        let mut handles: Vec<_> = told
            .iter()
            .filter(|(e, _)| e == event)
            .map(|(_, h)| *h)
            .collect();
        let all = handles.len();
        handles.sort_unstable();
        handles.dedup();
        assert_eq!(handles.len(), all, "each once");
        all
    };
    assert_eq!(
        (of("signed_in"), of("ended limit"), told.len()),
        (20, 15, 35)
    );
}

/// A history is bounded, and the newest stay.
pub async fn rule_18_a_history_is_bounded(store: Arc<impl SessionStore>) {
    let case = Case::new(store);
    let mut key = case.made().await.key;
    for _ in 0..HistoryEntry::MOST + 5 {
        (key, _) = case.regenerated(key).await;
    }
    case.end_one(key).await;
    let told = told(&case).await;
    assert_eq!(told.len(), HistoryEntry::MOST);
    assert_eq!(
        (told[0].0.as_str(), told[told.len() - 1].0.as_str()),
        ("regenerated", "ended logged_out")
    );
}

/// A demo is nobody's to remember, also where it carries a user: its steps are in no history.
pub async fn rule_18_a_demo_stands_in_nobodys_history(store: Arc<impl SessionStore>) {
    let case = Case::new(store);
    let renewals = [
        Renewal::SameSession,
        Renewal::Adopted(case.user.clone()),
        Renewal::SameSession,
    ];
    let mut key = demo(&case).await.key;
    for renewal in renewals {
        let next = digest();
        let replaced = case.replace(key, next, renewal).await;
        assert!(
            matches!(replaced, Replaced::Replaced { .. }),
            "{replaced:?}"
        );
        key = key.sibling(next);
    }
    assert!(case.live(key).await.user().is_some());
    case.end_one(key).await;
    // One that is the user's from its beginning.
    let key = demo_key(&case);
    assert_eq!(
        case.create(key, &case.new_record()).await,
        Created::Created(Vec::new())
    );
    case.end_one(key).await;
    assert_eq!(log(&case).await, UserLog::default());
}

/// What the application recorded is given back as it was, newest first, and bounded.
pub async fn rule_18_activities_are_kept_as_they_were_recorded(store: Arc<impl SessionStore>) {
    let case = Case::new(store);
    let activities: Vec<_> = (0..Activity::MOST + 5)
        .map(|n| activity(&case, n))
        .collect();
    for (n, activity) in activities.iter().enumerate() {
        ok(case.store.record(case.user.clone(), activity.clone()).await);
        if n == 1 {
            let log = log(&case).await;
            assert_eq!(
                log.activities,
                [activities[1].clone(), activities[0].clone()]
            );
            assert_eq!(log.history, []);
        }
    }
    let kept = log(&case).await.activities;
    assert_eq!(kept.len(), Activity::MOST);
    assert_eq!(
        (&kept[0], &kept[kept.len() - 1]),
        (&activities[activities.len() - 1], &activities[5])
    );
}

/// What is too old is not told.
pub async fn rule_18_what_is_too_old_is_not_told(store: Arc<impl SessionStore>) {
    let case = Case::new(store);
    let old = Activity {
        at: case.now() - Activity::KEPT - MINUTE,
        ..activity(&case, 1)
    };
    ok(case.store.record(case.user.clone(), old).await);
    let new = activity(&case, 2);
    ok(case.store.record(case.user.clone(), new.clone()).await);
    assert_eq!(log(&case).await.activities, [new]);
}

/// What was erased is gone, and a history may begin anew.
pub async fn rule_18_what_is_erased_is_gone(store: Arc<impl SessionStore>) {
    let case = Case::new(store);
    let other = case.somebody_else();
    for case in [&case, &other] {
        let made = case.made().await;
        case.end_one(made.key).await;
        ok(case
            .store
            .record(case.user.clone(), activity(case, 1))
            .await);
    }
    for _ in 0..2 {
        ok(case.store.erase(case.user.clone()).await);
    }
    assert_eq!(log(&case).await, UserLog::default());
    let rest = log(&other).await;
    assert_eq!((rest.history.len(), rest.activities.len()), (2, 1));
    case.made().await;
    assert_eq!(told(&case).await.len(), 1);
}
