//! Rules 5, 9 and 15: what is read, and when it is over.

use std::sync::Arc;
use std::time::Duration;

use super::fixture::{Case, HOUR, IDLE, MINUTE, THRESHOLD, ok, seen};
use crate::id::{Bucket, Kind, RecordKey};
use crate::record::{EndReason, Entry, NewRecord, Record};
use crate::store::{Created, SessionStore};

const SECOND: Duration = Duration::from_secs(1);

/// Absent is no error.
pub async fn rule_05_what_was_never_there_is_none<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    assert_eq!(case.load(case.key()).await, None);
    assert_eq!(case.listed().await, []);
}

/// A digest is found only where it was put.
pub async fn rule_05_a_wrong_bucket_or_kind_is_none<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    for new in [case.new_record(), case.stranger()] {
        let made = case.made_from(&new).await;
        // The next one, and one that is far away: some stores keep several buckets in one place.
        for other in [1, 1 << 15] {
            let elsewhere = RecordKey {
                bucket: Bucket::from(made.key.bucket.get() ^ other),
                ..made.key
            };
            assert_eq!(case.load(elsewhere).await, None);
        }
        let demo = RecordKey {
            kind: Kind::Demo,
            ..made.key
        };
        assert_eq!(case.load(demo).await, None);
    }
}

/// For twin cookies: what is absent keeps its place.
pub async fn rule_05_load_each_answers_in_the_order_of_the_keys<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let (live, over) = (case.made().await, case.made().await);
    let other = case.somebody_else().made().await;
    case.end_one(over.key).await;
    let keys = [over.key, case.key(), other.key, live.key];
    let each = ok(case.store.load_each(&keys).await);
    assert_eq!(each.len(), 4);
    for (entry, key) in each.iter().zip(keys) {
        assert_eq!(*entry, case.load(key).await);
    }
    assert!(matches!(&each[3], Some(Entry::Live(record)) if record.handle() == live.handle));
    assert_eq!(ok(case.store.load_each(&[]).await), []);
}

/// A store that reads at once reads the same, whatever stands there.
pub async fn rule_05_what_is_read_at_once_is_what_is_loaded<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let over = case.made().await;
    case.end_one(over.key).await;
    let mut keys = vec![case.key(), over.key];
    for new in [case.new_record(), case.stranger()] {
        keys.push(case.made_from(&new).await.key);
        let idle = NewRecord {
            handle: case.new_record().handle,
            seen: seen(case.now() - IDLE - THRESHOLD - SECOND),
            ..new
        };
        keys.push(case.made_from(&idle).await.key);
    }
    for key in keys {
        if let Some(entry) = case.store.load_now(&key) {
            assert_eq!(entry, case.load(key).await);
        }
    }
}

/// The end is idle timeout and threshold after the last request.
pub async fn rule_05_a_session_past_its_idle_end_is_over_as_idle<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    for new in [case.new_record(), case.stranger()] {
        let at = case.now() - IDLE - THRESHOLD - SECOND;
        let new = NewRecord {
            seen: seen(at),
            ..new
        };
        let made = case.made_from(&new).await;
        let tombstone = case.ended(made.key).await;
        assert_eq!(tombstone.end.reason, EndReason::Idle);
        assert_eq!(tombstone.end.at, at + IDLE + THRESHOLD);
        assert_eq!(tombstone.handle, made.handle);
    }
}

/// Never early: what was seen is known only to the threshold.
pub async fn rule_05_a_session_within_its_threshold_is_live<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let new = NewRecord {
        seen: seen(case.now() - IDLE - THRESHOLD / 4),
        ..case.new_record()
    };
    let made = case.made_from(&new).await;
    assert_eq!(case.live(made.key).await.handle(), made.handle);
    assert_eq!(case.listed().await, [made.handle]);
}

/// However much it is used.
pub async fn rule_05_a_session_past_its_absolute_end_is_over<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    for new in [case.new_record(), case.stranger()] {
        let end = case.now() - SECOND;
        let new = NewRecord {
            absolute_end: end,
            ..new
        };
        let made = case.made_from(&new).await;
        let tombstone = case.ended(made.key).await;
        assert_eq!(tombstone.end.reason, EndReason::Absolute);
        assert_eq!(tombstone.end.at, end);
    }
}

/// One is the idle end, one the absolute.
pub async fn rule_05_where_both_ends_are_past_the_earlier_is_the_reason<S: SessionStore>(
    store: Arc<S>,
) {
    let case = Case::new(store);
    let idle_end = case.now() - 10 * MINUTE;
    for (absolute_end, reason) in [
        (idle_end + SECOND, EndReason::Idle),
        (idle_end - SECOND, EndReason::Absolute),
    ] {
        let new = NewRecord {
            absolute_end,
            seen: seen(idle_end - IDLE - THRESHOLD),
            ..case.new_record()
        };
        let made = case.made_from(&new).await;
        let end = case.ended(made.key).await.end;
        assert_eq!((end.reason, end.at), (reason, absolute_end.min(idle_end)));
    }
}

/// By the sign-in, not by the order in which they were made or used.
pub async fn rule_09_a_list_is_newest_first<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let mut expected = Vec::new();
    for minutes in [3, 1, 5, 2, 4] {
        let made = case
            .made_from(&case.signed_in_before(minutes * MINUTE))
            .await;
        expected.push((minutes, made.handle));
    }
    expected.sort_unstable();
    let handles: Vec<_> = expected.into_iter().map(|(_, handle)| handle).collect();
    assert_eq!(case.listed().await, handles);
}

/// The records in it are those that are loaded.
pub async fn rule_09_a_list_holds_the_records_as_they_are<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let made = case.made().await;
    case.apply(made.key, super::fixture::set("a", "1")).await;
    case.touch(made.key, seen(case.now() + SECOND)).await;
    let listed = ok(case.store.list(case.user.clone()).await);
    assert_eq!(listed, [case.live(made.key).await]);
}

/// Neither what is over, nor what ended, nor what is somebody else's or nobody's.
pub async fn rule_09_a_list_is_exactly_the_live_sessions_of_the_user<S: SessionStore>(
    store: Arc<S>,
) {
    let case = Case::new(store);
    case.made_from(&case.idle_out()).await;
    case.made_from(&NewRecord {
        absolute_end: case.now() - SECOND,
        ..case.new_record()
    })
    .await;
    case.made_from(&case.stranger()).await;
    case.somebody_else().made().await;
    let logged_out = case.made().await;
    case.end_one(logged_out.key).await;
    let first = case.made_from(&case.signed_in_before(HOUR)).await;
    let second = case.made().await;
    let (_, moved) = case.regenerated(first.key).await;
    assert_eq!(moved.handle(), first.handle);
    assert_eq!(case.listed().await, [second.handle, first.handle]);
}

/// A user may have more than fit a short list, and fewer again.
pub async fn rule_09_a_long_list_is_complete<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let mut made = Vec::new();
    for _ in 0..60 {
        made.push(case.made().await);
    }
    for left in [60, 50, 5, 0] {
        while made.len() > left {
            let gone = made.remove(0);
            case.end_one(gone.key).await;
        }
        let mut live: Vec<_> = made.iter().map(|made| made.handle).collect();
        let mut listed = case.listed().await;
        listed.sort_unstable();
        live.sort_unstable();
        assert_eq!(listed, live);
    }
}

/// What is live is counted, each kind on its own. At least that: others may use the store as well.
pub async fn rule_09_live_sessions_are_counted<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    for _ in 0..3 {
        case.made().await;
    }
    let demo = RecordKey {
        kind: Kind::Demo,
        ..case.key()
    };
    let created = case.create(demo, &case.stranger()).await;
    assert_eq!(created, Created::Created(Vec::new()));
    assert!(ok(case.store.count(Kind::User).await) >= 3);
    assert!(ok(case.store.count(Kind::Demo).await) >= 1);
}

/// Whether it was dropped already or not, nobody is served by it.
pub async fn rule_15_what_is_long_over_is_gone_for_everybody<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let long_ago = case.now() - 1000 * HOUR;
    let new = NewRecord {
        created_at: long_ago,
        signed_in_at: Some(long_ago),
        absolute_end: long_ago + HOUR,
        seen: seen(long_ago),
        ..case.new_record()
    };
    assert!(Entry::Live(Record::new(&new)).kept_until() < case.now());
    let made = case.made_from(&new).await;
    assert!(!case.is_live(made.key).await);
    assert_eq!(case.listed().await, []);
    assert_eq!(case.end_all().await.sessions, []);
}
