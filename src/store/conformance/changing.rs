//! Rules 6 and 7: what changes a session.

use std::sync::Arc;
use std::time::Duration;

use super::fixture::{Case, HOUR, add, digest, ok, seen, set};
use super::newer;
use crate::record::{Change, Changes, Clear, Guard, Op, Record, Seen};
use crate::store::{Applied, Apply, Create, Created, Renewal, SessionStore};

const SECOND: Duration = Duration::from_secs(1);

/// Setting, adding and removing, each where it belongs.
pub async fn rule_06_values_that_are_not_named_stay<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let made = case.made().await;
    let mut changes = set("a", "[1]");
    changes.put("b".into(), Op::Set(b"\"b\"".to_vec()));
    assert_eq!(case.apply(made.key, changes).await, Applied::Saved(None));
    let before = case.live(made.key).await;
    let mut changes = set("a", "[2]");
    changes.put("c".into(), Op::Add(5));
    changes.put("b".into(), Op::Remove);
    changes.put("never".into(), Op::Remove);
    assert_eq!(case.apply(made.key, changes).await, Applied::Saved(Some(5)));
    let after = case.live(made.key).await;
    assert_eq!(after.value("cart"), before.value("cart"));
    assert_eq!(after.value("a"), Some(&b"[2]"[..]));
    assert_eq!(after.value("b"), None);
    assert_eq!(after.value("c"), Some(&b"5"[..]));
    assert_eq!(after.names().count(), 3);
    assert_eq!(after.seen_at(), before.seen_at());
}

/// A guard that fails, or a value that is no integer, beside a change that would have gone well.
pub async fn rule_06_all_changes_are_applied_or_none<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let made = case.made().await;
    let before = case.live(made.key).await;
    for (name, guard, op, expected) in [
        (
            "cart",
            Guard::Unchanged(None),
            Op::Remove,
            Applied::Conflict,
        ),
        ("cart", Guard::Any, Op::Add(1), Applied::NotAnInteger),
    ] {
        let mut changes = set("first", "1");
        changes.each.push(Change {
            name: name.into(),
            guard,
            op,
        });
        changes.put("last".into(), Op::Set(b"1".to_vec()));
        // What is cleared is no longer there to be guarded or added to: this one is kept.
        changes.clear = Some(Clear {
            keep: vec!["cart".into()],
        });
        let apply = Apply {
            read: None,
            key: made.key,
            changes,
            seen: Some(seen(case.now() + SECOND)),
        };
        assert_eq!(ok(case.store.apply(apply).await), expected);
        assert_eq!(case.live(made.key).await, before);
    }
}

/// Byte for byte, and absence is a value too.
pub async fn rule_06_a_guard_holds_what_was_read<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let made = case.made().await;
    let guarded = |expected: Option<&str>, json: &str| {
        let guard = Guard::Unchanged(expected.map(|json| json.as_bytes().into()));
        Changes::guarded("a".into(), guard, Op::Set(json.into()))
    };
    let saved = Applied::Saved(None);
    for (changes, expected) in [
        (guarded(Some("1"), "2"), Applied::Conflict),
        (guarded(None, "1"), saved.clone()),
        (guarded(None, "2"), Applied::Conflict),
        (guarded(Some("1 "), "2"), Applied::Conflict),
        (guarded(Some("1"), "2"), saved),
    ] {
        assert_eq!(case.apply(made.key, changes).await, expected);
    }
    assert_eq!(case.live(made.key).await.value("a"), Some(&b"2"[..]));
}

/// From nothing, downwards, and not past what fits.
pub async fn rule_06_additions_answer_with_the_sum<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let made = case.made().await;
    let (most, least) = (i64::MAX, i64::MIN);
    for (by, expected) in [
        (2, Applied::Saved(Some(2))),
        (-5, Applied::Saved(Some(-3))),
        (3, Applied::Saved(Some(0))),
        (most, Applied::Saved(Some(most))),
        (1, Applied::NotAnInteger),
        (0, Applied::Saved(Some(most))),
        (least, Applied::Saved(Some(-1))),
    ] {
        assert_eq!(case.apply(made.key, add("n", by)).await, expected, "{by}");
    }
    assert_eq!(case.live(made.key).await.value("n"), Some(&b"-1"[..]));
    for no_integer in ["1.5", "\"1\"", "null", "[1]", "9223372036854775808"] {
        case.apply(made.key, set("n", no_integer)).await;
        let added = case.apply(made.key, add("n", 1)).await;
        assert_eq!(added, Applied::NotAnInteger, "{no_integer}");
        let record = case.live(made.key).await;
        assert_eq!(record.value("n"), Some(no_integer.as_bytes()));
    }
}

/// It comes before the changes beside it.
pub async fn rule_06_a_clear_removes_all_but_what_it_keeps<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let made = case.made().await;
    for name in ["kept", "gone", "set", "added"] {
        case.apply(made.key, set(name, "7")).await;
    }
    let mut changes = set("set", "8");
    changes.put("added".into(), Op::Add(1));
    changes.clear = Some(Clear {
        keep: vec!["kept".into(), "never".into()],
    });
    assert_eq!(case.apply(made.key, changes).await, Applied::Saved(Some(1)));
    let record = case.live(made.key).await;
    let mut names: Vec<_> = record.names().collect();
    names.sort_unstable();
    assert_eq!(names, ["added", "kept", "set"]);
    assert_eq!(record.value("set"), Some(&b"8"[..]));
    assert_eq!(record.value("added"), Some(&b"1"[..]));
}

/// The holder of the old id has to learn of the new one.
pub async fn rule_06_apply_to_a_superseded_id_is_moved<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let made = case.made().await;
    let (successor, record) = case.regenerated(made.key).await;
    assert_eq!(case.apply(made.key, set("a", "1")).await, Applied::Moved);
    let late = seen(case.now() + SECOND);
    assert_eq!(case.touch(made.key, late).await, Applied::Moved);
    assert_eq!(case.live(successor).await, record);
}

/// What a newer version wrote passes through an older one: parts, and fields behind those that are known.
pub async fn rule_06_what_a_newer_version_wrote_is_kept<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let (key, new) = (case.key(), case.new_record());
    let create = Create {
        key,
        record: newer::record(&new),
        began_at: case.store.now(),
        limit: None,
        held: false,
    };
    let created = ok(case.store.create(create).await);
    assert_eq!(created, Created::Created(Vec::new()));
    newer::assert_kept(&case.live(key).await);

    let mut changes = set("a", "1");
    changes.clear = Some(Clear::default());
    let apply = Apply {
        read: None,
        key,
        changes,
        seen: Some(seen(case.now() + SECOND)),
    };
    assert_eq!(ok(case.store.apply(apply).await), Applied::Saved(None));
    let record = case.live(key).await;
    assert_eq!(record.value("a"), Some(&b"1"[..]));
    newer::assert_kept(&record);

    let (successor, _) = case.regenerated(key).await;
    newer::assert_kept(&case.live(successor).await);
    let renewal = Renewal::Reauthenticated {
        signed_in_at: case.now(),
        absolute_end: case.now() + HOUR,
        began_at: case.store.now(),
    };
    let last = digest();
    case.replace(successor, last, renewal).await;
    newer::assert_kept(&case.live(successor.sibling(last)).await);
}

/// A slow request that is overtaken takes nothing back; its values are saved all the same.
pub async fn rule_07_an_older_request_does_not_move_seen_back<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let made = case.made().await;
    let before = case.live(made.key).await;
    let older = Seen {
        at: before.seen_at() - SECOND,
        address: Some("198.51.100.9".into()),
        agent: Some("older/1".into()),
    };
    let apply = Apply {
        read: None,
        key: made.key,
        changes: set("a", "1"),
        seen: Some(older),
    };
    assert_eq!(ok(case.store.apply(apply).await), Applied::Saved(None));
    let after = case.live(made.key).await;
    assert_eq!(seen_of(&after), seen_of(&before));
    assert_eq!(after.value("a"), Some(&b"1"[..]));
}

/// When, from where and with what; what is not known this time stays.
pub async fn rule_07_a_newer_request_moves_seen_forward<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let made = case.made().await;
    let at = case.live(made.key).await.seen_at();
    let newer = Seen {
        at: at + SECOND,
        address: Some("198.51.100.9".into()),
        agent: Some("newer/2 (a b; é)".into()),
    };
    assert_eq!(
        case.touch(made.key, newer.clone()).await,
        Applied::Saved(None)
    );
    assert_eq!(seen_of(&case.live(made.key).await), newer);
    let nameless = Seen {
        at: at + 2 * SECOND,
        address: None,
        agent: None,
    };
    case.touch(made.key, nameless.clone()).await;
    let expected = Seen {
        at: nameless.at,
        ..newer
    };
    assert_eq!(seen_of(&case.live(made.key).await), expected);
}

/// Texts longer than they may be are cut, and the record stays readable.
pub async fn rule_07_a_long_agent_is_cut<S: SessionStore>(store: Arc<S>) {
    let case = Case::new(store);
    let made = case.made().await;
    let long = Seen {
        at: case.now() + SECOND,
        address: Some("é".repeat(100).into()),
        agent: Some("é".repeat(1000).into()),
    };
    assert_eq!(case.touch(made.key, long).await, Applied::Saved(None));
    let record = case.live(made.key).await;
    assert_eq!(record.user_agent(), Some("é".repeat(128).as_str()));
    assert_eq!(record.address(), Some("é".repeat(32).as_str()));
}

fn seen_of(record: &Record) -> Seen {
    Seen {
        at: record.seen_at(),
        address: record.address().map(Into::into),
        agent: record.user_agent().map(Into::into),
    }
}
