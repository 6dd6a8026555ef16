//! Rules 10 and 12: a user who signs in from everywhere at once.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::fixture::{Case, MINUTE, Made, boxed, digest, sign_in, signing_in, together};
use crate::id::RecordKey;
use crate::record::{EndReason, Entry};
use crate::store::{AtLimit, Created, Limit, Renewal, Replaced, SessionStore, SignIn};

/// Fifty logins at once leave exactly as many sessions as allowed, and the others know why they are over.
pub async fn rule_10_parallel_logins_keep_to_a_limit_that_ends_the_oldest<S: SessionStore>(
    store: Arc<S>,
) {
    for _ in 0..10 {
        let case = Case::new(Arc::clone(&store));
        let made = logins(&case, 50, AtLimit::EndOldest).await;
        let mut told = HashSet::new();
        for (_, created) in &made {
            let Created::Created(ended) = created else {
                panic!("not made: {created:?}");
            };
            for ended in ended {
                assert!(told.insert(ended.handle), "it was ended twice");
            }
        }
        assert_eq!(told.len(), 45);
        let listed: HashSet<_> = case.listed().await.into_iter().collect();
        assert_eq!(listed.len(), 5);
        for (made, _) in made {
            match case.load(made.key).await {
                Some(Entry::Live(_)) => assert!(listed.contains(&made.handle)),
                Some(Entry::Ended(tombstone)) => {
                    assert_eq!(tombstone.end.reason, EndReason::Limit);
                    assert!(told.contains(&made.handle));
                }
                None => panic!("it was made and is absent"),
            }
        }
    }
}

/// Exactly as many are let in as allowed.
pub async fn rule_10_parallel_logins_keep_to_a_limit_that_refuses<S: SessionStore>(store: Arc<S>) {
    for _ in 0..10 {
        let case = Case::new(Arc::clone(&store));
        let made = logins(&case, 50, AtLimit::Refuse).await;
        let mut let_in = 0;
        for (made, created) in made {
            match created {
                Created::Created(ended) => {
                    assert_eq!(ended, []);
                    assert!(case.is_live(made.key).await);
                    let_in += 1;
                }
                Created::AtLimit => assert_eq!(case.load(made.key).await, None),
                other => panic!("neither made nor at the limit: {other:?}"),
            }
        }
        assert_eq!(let_in, 5);
        assert_eq!(case.listed().await.len(), 5);
    }
}

/// Logins with and without a session from before, at once.
pub async fn rule_10_parallel_logins_from_sessions_keep_to_the_limit<S: SessionStore>(
    store: Arc<S>,
) {
    for _ in 0..10 {
        let case = Case::new(Arc::clone(&store));
        let mut keys = Vec::new();
        for n in 0..5 {
            let made = case
                .made_from(&case.signed_in_before(MINUTE * (n + 1)))
                .await;
            keys.push(made.key);
        }
        let sign_ins = keys.into_iter().map(Some).chain([None; 5]);
        together(sign_ins.map(|from| {
            let case = case.clone();
            async move {
                let (new, limit) = (case.new_record(), at_most_five(AtLimit::EndOldest));
                let began = case.store.now();
                let Some(from) = from else {
                    case.create_with(case.key(), &new, began, limit).await;
                    return;
                };
                let sign_in = SignIn {
                    limit,
                    ..sign_in(&new, began)
                };
                match case.replace(from, digest(), signing_in(sign_in)).await {
                    Replaced::Replaced { .. } => {}
                    Replaced::Ended(end) => assert_eq!(end.reason, EndReason::Limit),
                    other => panic!("neither replaced nor over the limit: {other:?}"),
                }
            }
        }))
        .await;
        assert_eq!(case.listed().await.len(), 5);
    }
}

/// However fast someone signs in: each end comes to its end, and nothing begun before it survives it.
pub async fn rule_12_ending_all_terminates_while_somebody_signs_in_without_end<S: SessionStore>(
    store: Arc<S>,
) {
    let case = Case::new(store);
    let (ends, stop) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let tasks = (0..4).map(|n| {
        let (case, ends, stop) = (case.clone(), Arc::clone(&ends), Arc::clone(&stop));
        async move {
            let mut made: Vec<(RecordKey, u64)> = Vec::new();
            if n > 0 {
                // As good as without end, and no flood for a store that is slow to end them.
                while !stop.load(Ordering::SeqCst) && made.len() < 500 {
                    let (key, new, began) = (case.key(), case.new_record(), case.store.now());
                    // Read after the login began: an end of this number or later came after it.
                    let before = ends.load(Ordering::SeqCst);
                    match case.create_with(key, &new, began, None).await {
                        Created::Created(_) => made.push((key, before)),
                        Created::Refused(reason) => assert_eq!(reason, EndReason::Revoked),
                        other => panic!("neither made nor refused: {other:?}"),
                    }
                    tokio::task::yield_now().await;
                }
                return made;
            }
            for _ in 0..20 {
                ends.fetch_add(1, Ordering::SeqCst);
                case.end_all().await;
                tokio::task::yield_now().await;
            }
            stop.store(true, Ordering::SeqCst);
            made
        }
    });
    let made = together(tasks).await.concat();
    let last = ends.load(Ordering::SeqCst);
    for (key, before) in &made {
        assert!(
            *before == last || !case.is_live(*key).await,
            "a login survived the end of all that it began before"
        );
    }
    case.end_all().await;
    assert_eq!(case.listed().await, []);
    for (key, _) in made {
        assert!(!case.is_live(key).await);
    }
}

/// Nor does a session slip through by changing its id.
pub async fn rule_12_ending_all_reaches_a_session_that_changes_its_id_without_end<
    S: SessionStore,
>(
    store: Arc<S>,
) {
    for _ in 0..30 {
        let case = Case::new(Arc::clone(&store));
        let made = case.made().await;
        let changing = {
            let case = case.clone();
            async move {
                let mut key = made.key;
                loop {
                    let successor = digest();
                    match case.replace(key, successor, Renewal::SameSession).await {
                        Replaced::Replaced { .. } => key = key.sibling(successor),
                        Replaced::Ended(end) => {
                            assert_eq!(end.reason, EndReason::Revoked);
                            return Some(key);
                        }
                        other => panic!("neither replaced nor ended: {other:?}"),
                    }
                    tokio::task::yield_now().await;
                }
            }
        };
        let ending = {
            let case = case.clone();
            async move {
                let ended = case.end_all().await;
                assert_eq!(ended.sessions.len(), 1);
                assert_eq!(ended.sessions[0].handle, made.handle);
                None
            }
        };
        let keys = together([boxed(changing), boxed(ending)]).await;
        for key in keys.into_iter().flatten() {
            assert_eq!(case.ended(key).await.end.reason, EndReason::Revoked);
        }
        assert_eq!(case.listed().await, []);
    }
}

fn at_most_five(at_limit: AtLimit) -> Option<Limit> {
    let sessions = NonZeroU32::new(5).expect("five is not zero");
    Some(Limit { sessions, at_limit })
}

/// So many logins at once, at a limit of five.
async fn logins<S: SessionStore>(
    case: &Case<S>,
    many: usize,
    at_limit: AtLimit,
) -> Vec<(Made, Created)> {
    together((0..many).map(|_| {
        let case = case.clone();
        async move {
            let (key, new) = (case.key(), case.new_record());
            let limit = at_most_five(at_limit);
            let created = case.create_with(key, &new, case.store.now(), limit).await;
            let handle = new.handle;
            (Made { key, handle }, created)
        }
    }))
    .await
}
