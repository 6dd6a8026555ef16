//! Rule 2, and others that hold however many act on one session at once: 3, 4 and 8.
//!
//! Each race is run many times; nothing depends on who wins, only on that somebody does. Tasks that go round until
//! another is done yield each time: a store whose futures never wait would keep the thread for itself.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::fixture::{Case, add, boxed, digest, set, together};
use crate::record::{Changes, EndReason, Guard, Op};
use crate::store::{Applied, Created, EndScope, Renewal, Replaced, SessionStore};

/// Every sum is told to exactly one.
pub async fn rule_02_parallel_additions_lose_none<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let key = case.made().await.key;
    let sums = together((0..50).map(|_| {
        let case = case.clone();
        async move {
            match case.apply(key, add("n", 1)).await {
                Applied::Saved(Some(sum)) => sum,
                other => panic!("not added: {other:?}"),
            }
        }
    }))
    .await;
    let distinct: HashSet<i64> = sums.into_iter().collect();
    assert_eq!(distinct, (1..=50).collect());
    assert_eq!(case.live(key).await.value("n"), Some(&b"50"[..]));
}

/// Requests in parallel that write different values.
pub async fn rule_02_parallel_changes_of_different_values_all_survive<S: SessionStore>(
    store: Arc<S>,
) {
    let case = Case::new(store);
    let key = case.made().await.key;
    together((0..50).map(|n: u32| {
        let case = case.clone();
        async move {
            let op = Op::Set(n.to_string().into_bytes());
            let changes = Changes::one(format!("value {n}").into(), op);
            assert_eq!(case.apply(key, changes).await, Applied::Saved(None));
        }
    }))
    .await;
    let record = case.live(key).await;
    for n in 0..50 {
        let value = record.value(&format!("value {n}"));
        assert_eq!(value, Some(n.to_string().as_bytes()));
    }
}

/// Read, then write where nobody else has: who loses tries again, and no step is lost or taken twice.
pub async fn rule_02_parallel_guarded_changes_lose_none<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let key = case.made().await.key;
    together((0..8).map(|_| {
        let case = case.clone();
        async move {
            let mut done = 0;
            while done < 10 {
                let record = case.live(key).await;
                let read = record.value("n");
                let n: u32 = read.map_or(0, |json| {
                    let json = str::from_utf8(json).expect("an integer was written");
                    json.parse().expect("an integer was written")
                });
                let next = Op::Set((n + 1).to_string().into_bytes());
                let guard = Guard::Unchanged(read.map(Into::into));
                match case
                    .apply(key, Changes::guarded("n".into(), guard, next))
                    .await
                {
                    Applied::Saved(_) => done += 1,
                    Applied::Conflict => {}
                    other => panic!("neither saved nor in conflict: {other:?}"),
                }
                tokio::task::yield_now().await;
            }
        }
    }))
    .await;
    assert_eq!(case.live(key).await.value("n"), Some(&b"80"[..]));
}

/// Twice the same creation at once: a request that was sent again.
pub async fn rule_04_the_same_creation_in_parallel_makes_one_session<S: SessionStore>(
    store: Arc<S>,
) {
    for _ in 0..20 {
        let case = Case::new(Arc::clone(&store));
        let (key, new) = (case.key(), case.new_record());
        let created = together((0..4).map(|_| {
            let (case, new) = (case.clone(), new.clone());
            async move { case.create(key, &new).await }
        }))
        .await;
        assert_eq!(created, vec![Created::Created(Vec::new()); 4]);
        assert_eq!(case.listed().await, [new.handle]);
    }
}

/// A save that is under way when its session ends: before it, or refused.
pub async fn rule_03_a_save_in_parallel_does_not_revive_an_ended_session<S: SessionStore>(
    store: Arc<S>,
) {
    for round in 0..50 {
        let case = Case::new(Arc::clone(&store));
        let made = case.made().await;
        let saves = (0..4).map(|n| {
            let case = case.clone();
            let ends = n == round % 4;
            async move {
                if ends {
                    case.end_one(made.key).await;
                    return;
                }
                match case.apply(made.key, set("a", "1")).await {
                    Applied::Saved(None) => {}
                    Applied::Ended(end) => assert_eq!(end.reason, EndReason::LoggedOut),
                    other => panic!("neither saved nor ended: {other:?}"),
                }
            }
        });
        together(saves).await;
        assert_eq!(case.ended(made.key).await.end.reason, EndReason::LoggedOut);
        assert_eq!(case.listed().await, []);
    }
}

/// One successor; everybody else is told that it moved.
pub async fn rule_08_of_many_that_replace_one_wins<S: SessionStore>(store: Arc<S>) {
    for _ in 0..20 {
        let case = Case::new(Arc::clone(&store));
        let made = case.made().await;
        let successors: Vec<_> = (0..10).map(|_| digest()).collect();
        let replaced = together(successors.clone().into_iter().map(|successor| {
            let case = case.clone();
            async move {
                case.replace(made.key, successor, Renewal::SameSession)
                    .await
            }
        }))
        .await;
        let mut winners = Vec::new();
        for (replaced, successor) in replaced.into_iter().zip(successors) {
            let key = made.key.sibling(successor);
            match replaced {
                Replaced::Replaced { .. } => winners.push(key),
                Replaced::Moved => assert_eq!(case.load(key).await, None),
                other => panic!("neither replaced nor moved: {other:?}"),
            }
        }
        assert_eq!(winners.len(), 1);
        assert!(case.is_live(winners[0]).await);
        let tombstone = case.ended(made.key).await;
        assert_eq!(tombstone.successor, Some(winners[0].digest));
        assert_eq!(case.listed().await, [made.handle]);
    }
}

/// Whoever reads in between finds the session under one id.
pub async fn rule_08_at_no_instant_do_both_ids_open_the_session_nor_neither<S: SessionStore>(
    store: Arc<S>,
) {
    for _ in 0..30 {
        let case = Case::new(Arc::clone(&store));
        let made = case.made().await;
        let next = made.key.sibling(digest());
        let done = Arc::new(AtomicBool::new(false));
        let tasks = (0..3).map(|n| {
            let (case, done) = (case.clone(), Arc::clone(&done));
            async move {
                match n {
                    0 => {
                        let renewal = Renewal::SameSession;
                        case.replace(made.key, next.digest, renewal).await;
                        done.store(true, Ordering::SeqCst);
                    }
                    1 => {
                        // The old one first: once it is dead, the new one lives.
                        while !done.load(Ordering::SeqCst) {
                            let old = case.is_live(made.key).await;
                            assert!(old || case.is_live(next).await, "neither opened it");
                            tokio::task::yield_now().await;
                        }
                    }
                    _ => {
                        // The new one first: once it lives, the old one is dead.
                        while !done.load(Ordering::SeqCst) {
                            let new = case.is_live(next).await;
                            assert!(!(new && case.is_live(made.key).await), "both opened it");
                            assert_eq!(case.listed().await, [made.handle]);
                            tokio::task::yield_now().await;
                        }
                    }
                }
            }
        });
        together(tasks).await;
    }
}

/// One comes first. By handle the end always reaches the session; by key, unless the key was superseded.
pub async fn rule_02_an_end_and_a_new_id_come_one_after_the_other<S: SessionStore>(store: Arc<S>) {
    for round in 0..60 {
        let case = Case::new(Arc::clone(&store));
        let made = case.made().await;
        let next = made.key.sibling(digest());
        let by_key = round % 2 == 0;
        let scope = if by_key {
            EndScope::One(made.key, None)
        } else {
            EndScope::Handle(case.user.clone(), made.handle)
        };
        let replacing = {
            let case = case.clone();
            async move {
                let replaced = case.replace(made.key, next.digest, Renewal::SameSession);
                match replaced.await {
                    Replaced::Replaced { .. } => Some(true),
                    Replaced::Ended(end) => {
                        assert_eq!(end.reason, EndReason::Revoked);
                        Some(false)
                    }
                    other => panic!("neither replaced nor ended: {other:?}"),
                }
            }
        };
        let ending = {
            let case = case.clone();
            async move {
                let ended = case.end(scope, EndReason::Revoked).await;
                assert!(by_key || ended.sessions.len() == 1, "the end missed it");
                None
            }
        };
        let told = together([boxed(replacing), boxed(ending)]).await;
        let was_replaced = told.contains(&Some(true));
        assert!(!case.is_live(made.key).await);
        assert_eq!(case.is_live(next).await, by_key && was_replaced);
        assert_eq!(
            case.listed().await.len(),
            usize::from(by_key && was_replaced)
        );
    }
}
