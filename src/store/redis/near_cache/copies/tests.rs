use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use super::*;
use crate::id::{Handle, Kind};
use crate::record::{NewRecord, Seen};

const PLENTY: usize = 1 << 20;

fn key(n: u8) -> RecordKey {
    RecordKey {
        kind: Kind::User,
        bucket: Bucket::from(u16::from(n / 4)),
        digest: Digest::from_bytes([n; 32]),
    }
}

/// A session with this value.
fn record(value: u64) -> Record {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    Record::new(&NewRecord {
        handle: Handle::from(uuid::Uuid::nil()),
        user: Some("alice".into()),
        created_at: now,
        signed_in_at: Some(now),
        absolute_end: now + Duration::from_secs(3600),
        idle_timeout: Duration::from_secs(600),
        touch_threshold: Duration::from_secs(60),
        persistent: false,
        seen: Seen {
            at: now,
            address: None,
            agent: None,
        },
        values: vec![("n".into(), value.to_string().into_bytes())],
    })
}

fn value(copy: Option<&Record>) -> Option<u64> {
    let json = copy?.value("n")?.to_vec();
    String::from_utf8(json).ok()?.parse().ok()
}

fn started(most: usize) -> Copies {
    let mut copies = Copies::new(most);
    copies.start(1);
    copies
}

fn kept(copies: &mut Copies, n: u8) -> bool {
    let read = copies.begin(&key(n), 1).unwrap();
    copies.end(&key(n), read, Some(record(n.into())), PLENTY)
}

/// Nothing is left behind but copies.
fn is_tidy(copies: &Copies) {
    let slots: Vec<_> = copies.slots.iter().flatten().collect();
    assert_eq!(copies.reads, 0);
    assert_eq!(copies.kept, slots.len());
    assert_eq!(
        copies.buckets.values().map(Vec::len).sum::<usize>(),
        slots.len()
    );
    let bytes = slots.iter().filter_map(|slot| slot.copy.as_ref());
    assert_eq!(
        copies.bytes,
        bytes.map(|record| record.size() + OVERHEAD).sum::<usize>()
    );
}

#[test]
fn what_was_read_is_kept_until_it_changes() {
    let mut copies = started(8);
    assert!(kept(&mut copies, 1));
    assert_eq!(value(copies.get(&key(1))), Some(1));
    assert!(copies.changed(&key(1)));
    assert_eq!(copies.get(&key(1)), None);
    assert!(!copies.changed(&key(1)), "nothing is known of it any more");
    is_tidy(&copies);
}

#[test]
fn a_reply_is_not_kept_if_a_change_was_told_since_before_it_was_sent() {
    let mut copies = started(8);
    let one = copies.begin(&key(1), 1).unwrap();
    assert!(copies.changed(&key(1)));
    let another = copies.begin(&key(1), 1).unwrap();
    assert!(!copies.end(&key(1), one, Some(record(1)), PLENTY));
    assert_eq!(copies.get(&key(1)), None);
    // It was sent behind the change.
    assert!(copies.end(&key(1), another, Some(record(2)), PLENTY));
    assert_eq!(value(copies.get(&key(1))), Some(2));
    is_tidy(&copies);
}

#[test]
fn a_change_of_a_whole_bucket_and_one_of_everything_mark_what_is_read() {
    let whole: [fn(&mut Copies); 2] = [
        |copies| assert_eq!(copies.bucket_changed(key(1).bucket), 2),
        |copies| assert_eq!(copies.drop_all(), 2),
    ];
    for change in whole {
        let mut copies = started(8);
        assert!(kept(&mut copies, 2) && kept(&mut copies, 9));
        let read = copies.begin(&key(1), 1).unwrap();
        change(&mut copies);
        assert!(!copies.end(&key(1), read, Some(record(1)), PLENTY));
        assert_eq!(copies.get(&key(2)), None);
        is_tidy(&copies);
    }
}

#[test]
fn with_its_connection_a_copy_dies_and_a_read_keeps_nothing() {
    let mut copies = started(8);
    assert!(kept(&mut copies, 1));
    let read = copies.begin(&key(2), 1).unwrap();
    copies.start(2);
    assert_eq!(copies.len(), 0);
    assert!(!copies.end(&key(2), read, Some(record(2)), PLENTY));
    // Nor is one registered by who has not heard of it.
    assert_eq!(copies.begin(&key(3), 1), None);
    is_tidy(&copies);
}

#[test]
fn copies_are_bounded_in_number_and_in_bytes() {
    let mut copies = started(3);
    for n in 0..200 {
        assert!(kept(&mut copies, n));
        assert!(copies.len() <= 3);
    }
    assert_eq!(copies.len(), 3);
    assert!(copies.slots.len() <= 6, "places are used again");
    is_tidy(&copies);

    let mut copies = started(100);
    let size = record(100).size() + OVERHEAD;
    for n in 100..200 {
        let read = copies.begin(&key(n), 1).unwrap();
        assert!(copies.end(&key(n), read, Some(record(n.into())), 5 * size));
        assert!(copies.bytes() <= 5 * size);
    }
    assert_eq!(copies.len(), 5);
    // One that could never fit costs nobody else a copy.
    let read = copies.begin(&key(1), 1).unwrap();
    assert!(!copies.end(&key(1), read, Some(record(100)), size - 1));
    assert_eq!(copies.len(), 5);
    is_tidy(&copies);
}

#[test]
fn who_is_asked_for_stays_longer_than_who_is_not() {
    let mut copies = started(8);
    for n in 0..200 {
        kept(&mut copies, n);
        copies.get(&key(0));
    }
    assert_eq!(value(copies.get(&key(0))), Some(0));
}

#[test]
fn reads_under_way_are_bounded() {
    let mut copies = started(3);
    let reads: Vec<_> = (0..3).map(|n| copies.begin(&key(n), 1).unwrap()).collect();
    assert_eq!(copies.begin(&key(9), 1), None);
    for (n, read) in (0..).zip(reads) {
        copies.end(&key(n), read, None, PLENTY);
    }
    assert!(copies.begin(&key(9), 1).is_some());
}

/// A server that holds two sessions, two directions of one connection, each in its order, and tasks that have their replies
/// and go on at some time, when more was told already: whatever happens in whatever order, a copy is never older than what was
/// told.
#[test]
fn in_any_order_of_events_no_copy_is_older_than_what_was_told() {
    enum Said {
        Reply(u8, Read, u64),
        Changed(u8),
    }
    let mut seed = 1_u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % below
    };
    let mut hits = 0;
    for _ in 0..2_000 {
        let mut copies = started(1 + random(3) as usize);
        let mut values = [0_u64; 2];
        // What the server tracks, what it was asked, what it said, and the value that was told of last.
        let mut tracked = [false; 2];
        let (mut asked, mut said) = (VecDeque::new(), VecDeque::new());
        let mut replies = Vec::new();
        let mut told = [0_u64; 2];
        for _ in 0..40 {
            let n = random(2) as u8;
            let at = usize::from(n);
            match random(8) {
                0 | 1 => {
                    if let Some(read) = copies.begin(&key(n), 1) {
                        asked.push_back((n, read));
                    }
                }
                2 => {
                    if let Some((n, read)) = asked.pop_front() {
                        tracked[usize::from(n)] = true;
                        said.push_back((Said::Reply(n, read, values[usize::from(n)]), 0));
                    }
                }
                3 => {
                    values[at] += 1;
                    if std::mem::take(&mut tracked[at]) {
                        said.push_back((Said::Changed(n), values[at]));
                    }
                }
                4 | 5 => {
                    if !replies.is_empty() {
                        let any = random(replies.len() as u64) as usize;
                        let (n, read, value) = replies.swap_remove(any);
                        copies.end(&key(n), read, Some(record(value)), PLENTY);
                    }
                }
                _ => match said.pop_front() {
                    Some((Said::Reply(n, read, value), _)) => replies.push((n, read, value)),
                    Some((Said::Changed(n), now)) => {
                        copies.changed(&key(n));
                        told[usize::from(n)] = now;
                    }
                    None => {}
                },
            }
            for n in 0..2 {
                if let Some(copy) = value(copies.get(&key(n))) {
                    hits += 1;
                    assert!(copy >= told[usize::from(n)], "{copy} of {told:?}");
                }
            }
        }
    }
    assert!(hits > 1_000);
}
