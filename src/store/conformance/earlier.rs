//! Rule 11: ends that happened earlier, and reach the store late.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::fixture::{Case, HOUR, LAG, MINUTE, handle, ok};
use crate::record::{EndReason, NewRecord};
use crate::store::{Created, EndScope, EndSessions, EndedSessions, SessionStore};

/// As short as instants are told apart.
const TICK: Duration = Duration::from_micros(1);

impl<S: SessionStore> Case<S> {
    async fn end_before(&self, scope: EndScope, before: SystemTime) -> EndedSessions {
        let end = EndSessions {
            scope,
            reason: EndReason::Revoked,
            note: None,
            before: Some(before),
        };
        ok(self.store.end(end).await)
    }

    async fn all_before(&self, before: SystemTime) -> EndedSessions {
        self.end_before(EndScope::All(self.user.clone()), before)
            .await
    }

    /// What comes of a login that was begun, or done, at that instant.
    async fn login(&self, signed_in_at: SystemTime, began_at: SystemTime) -> Created {
        let new = NewRecord {
            created_at: signed_in_at,
            signed_in_at: Some(signed_in_at),
            ..self.new_record()
        };
        self.create_with(self.key(), &new, began_at, None).await
    }
}

/// The session of the very instant is not before it. Also of one that says nothing of a sign-in: it counts as of when it
/// was made.
pub async fn rule_11_an_end_that_comes_late_spares_who_signed_in_after_it<S: SessionStore>(
    store: Arc<S>,
) {
    for others in [false, true] {
        let case = Case::new(Arc::clone(&store));
        let before = case.now() - 10 * MINUTE;
        let mut made = Vec::new();
        for signed_in in [true, false] {
            for (at, spared) in [
                (before - HOUR, false),
                (before - TICK, false),
                (before, true),
                (before + MINUTE, true),
            ] {
                let new = NewRecord {
                    created_at: if signed_in { before - HOUR } else { at },
                    signed_in_at: signed_in.then_some(at),
                    ..case.new_record()
                };
                made.push((case.made_from(&new).await, spared));
            }
        }
        // It is older than all of them, and is the one that is kept.
        let kept = case.made_from(&case.signed_in_before(3 * HOUR)).await;
        made.push((kept, others));
        let scope = match others {
            true => EndScope::Others(case.user.clone(), kept.handle),
            false => EndScope::All(case.user.clone()),
        };
        let ended = case.end_before(scope, before).await;
        let mut told: Vec<_> = ended.sessions.iter().map(|ended| ended.handle).collect();
        told.sort_unstable();
        let gone = made.iter().filter(|(_, spared)| !spared);
        let mut gone: Vec<_> = gone.map(|(made, _)| made.handle).collect();
        gone.sort_unstable();
        assert_eq!(told, gone);
        assert_eq!(ended.since, Some(before));
        for (made, spared) in &made {
            if *spared {
                assert!(case.is_live(made.key).await);
            } else {
                let tombstone = case.ended(made.key).await;
                assert_eq!(tombstone.end.reason, EndReason::Revoked);
            }
        }
        assert_eq!(case.listed().await.len(), made.len() - gone.len());
    }
}

/// A login that was under way then, and arrives even later.
pub async fn rule_11_an_end_that_comes_late_refuses_what_began_before_it<S: SessionStore>(
    store: Arc<S>,
) {
    for others in [false, true] {
        let case = Case::new(Arc::clone(&store));
        let (before, now) = (case.now() - 10 * MINUTE, case.now());
        let scope = match others {
            true => EndScope::Others(case.user.clone(), handle()),
            false => EndScope::All(case.user.clone()),
        };
        case.end_before(scope, before).await;
        let refused = Created::Refused(EndReason::Revoked);
        assert_eq!(case.login(before - TICK, now).await, refused);
        assert_eq!(case.login(now, before - TICK).await, refused);
        let let_in = Created::Created(Vec::new());
        assert_eq!(case.login(before, before).await, let_in);
        assert_eq!(case.login(before + TICK, now).await, let_in);
        assert_eq!(case.listed().await.len(), 2);
    }
}

/// Whoever does not know whether it arrived sends it again.
pub async fn rule_11_an_end_that_comes_twice_is_one<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let before = case.now() - 10 * MINUTE;
    let old = case.made_from(&case.signed_in_before(HOUR)).await;
    let first = case.all_before(before).await;
    assert_eq!((first.sessions.len(), first.since), (1, Some(before)));
    let tombstone = case.ended(old.key).await;
    let new = case.made().await;
    let second = case.all_before(before).await;
    assert_eq!((second.sessions, second.since), (Vec::new(), Some(before)));
    assert_eq!(case.ended(old.key).await, tombstone);
    assert_eq!(case.listed().await, [new.handle]);
}

/// In whichever order they come, the latest counts.
pub async fn rule_11_since_never_moves_back<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(Arc::clone(&store));
    let now = case.now();
    let [early, late] = [now - 20 * MINUTE, now - 10 * MINUTE];
    for (before, since) in [(early, early), (late, late), (early, late)] {
        assert_eq!(case.all_before(before).await.since, Some(since));
    }
    let refused = Created::Refused(EndReason::Revoked);
    assert_eq!(case.login(late - TICK, late - TICK).await, refused);
    let since = case.end_all().await.since;
    assert!(since > Some(now - LAG), "{since:?}");
    for before in [early, late] {
        assert_eq!(case.all_before(before).await.since, since);
    }
    assert_eq!(case.login(late, late).await, refused);
    case.made().await;
}

/// Of a clock that was ahead: it keeps nobody out who comes after it, and moves nobody's clock.
pub async fn rule_11_no_end_is_later_than_now<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let made = case.made().await;
    let now = case.now();
    let ended = case.all_before(now + HOUR).await;
    assert_eq!(ended.sessions.len(), 1);
    assert!(ended.since < Some(now + MINUTE), "{ended:?}");
    assert!(case.now() < now + MINUTE);
    assert!(!case.is_live(made.key).await);
    case.made().await;
}

/// They end what they name, whenever that signed in; and they keep nobody out.
pub async fn rule_11_the_end_of_one_knows_no_before<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let before = case.now() - HOUR;
    let (first, second) = (case.made().await, case.made().await);
    for scope in [
        EndScope::One(first.key, None),
        EndScope::Handle(case.user.clone(), second.handle),
    ] {
        let ended = case.end_before(scope, before).await;
        assert_eq!((ended.sessions.len(), ended.since), (1, None));
    }
    let let_in = Created::Created(Vec::new());
    assert_eq!(case.login(before - TICK, before - TICK).await, let_in);
}
