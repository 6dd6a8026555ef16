//! How long a record is for a store that may measure it in another form than this process keeps it in.
//!
//! What is accepted here and refused there later would be lost, though it was said to be saved.

use crate::record::Record;

/// Without its conversation, by the form in which it is longer: few long values are longer as they are written, many
/// short ones as they are kept. Writing it costs: far below the limit the one form is not over it if the other is not.
pub(super) fn length(record: &Record, limit: usize) -> usize {
    let kept = record.limited_size();
    if kept < limit - limit / 4 {
        return kept;
    }
    kept.max(record.written_size())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::instant;
    use crate::id::{Fresh, Kind, RecordKey};
    use crate::record::{Changes, Entry, NewRecord, Op, Seen};
    use crate::store::outage::local::Locals;
    use crate::store::outage::memory::{Course, Limits, Memory, Moment};
    use crate::store::outage::stamp::Stamp;
    use crate::store::{Applied, Apply, Create, Created, Outage};
    use proptest::prelude::*;
    use std::time::Duration;

    const NOW: u64 = 1_800_000_000_000_000;
    const LIMIT: usize = 2048;
    const HOUR: Duration = Duration::from_secs(3600);

    fn now() -> Moment {
        Moment {
            here: Stamp::new(NOW, NOW),
            store: instant(NOW),
        }
    }

    fn seen(agent: &str) -> Seen {
        Seen {
            at: instant(NOW),
            address: None,
            agent: Some(agent.into()),
        }
    }

    fn key() -> RecordKey {
        Fresh::draw().unwrap().id(7.into()).key(Kind::User)
    }

    /// So many values, the last of which has so many bytes.
    fn record(values: usize, last: usize) -> Record {
        let short = (1..values).map(|n| (format!("{n}").into(), b"1".to_vec()));
        let long = std::iter::once(("last".into(), vec![b'1'; last]));
        Record::new(&NewRecord {
            handle: Fresh::draw().unwrap().handle(),
            user: None,
            created_at: instant(NOW),
            signed_in_at: None,
            absolute_end: instant(NOW) + HOUR,
            idle_timeout: HOUR,
            touch_threshold: Duration::from_secs(10),
            persistent: false,
            seen: seen("agent"),
            values: short.chain(long).collect(),
        })
    }

    /// How long the last of so many values is in a record that is over the limit by one byte in the one form.
    fn just_over(values: usize, size: fn(&Record) -> usize) -> usize {
        let over = (0..LIMIT).find(|last| size(&record(values, *last)) > LIMIT);
        over.expect("it is longer than its values")
    }

    /// The number of values, and the length of the last: over in the one form, and under in the other.
    fn both_ways() -> [(usize, usize); 2] {
        let written = just_over(1, Record::written_size);
        assert!(record(1, written).limited_size() < LIMIT);
        let kept = just_over(100, Record::limited_size);
        assert!(record(100, kept).written_size() < LIMIT);
        [(1, written), (100, kept)]
    }

    fn setting(key: RecordKey, last: usize) -> Apply {
        Apply {
            key,
            changes: Changes::one("last".into(), Op::Set(vec![b'1'; last])),
            seen: None,
            read: None,
        }
    }

    fn create(key: RecordKey, record: Record) -> Create {
        Create {
            key,
            record,
            began_at: instant(NOW),
            limit: None,
            held: false,
        }
    }

    #[test]
    fn inv10_what_the_store_would_refuse_as_too_large_is_refused_on_a_lease_at_once() {
        for (values, last) in both_ways() {
            let mut memory = Memory::new(Limits {
                outages: [Outage::Local { lease: HOUR }; 2],
                lease_bytes: 1 << 20,
                local_ttl: HOUR,
                local_bytes: 1 << 20,
                staged_bytes: 1 << 20,
                ends: 16,
                record_bytes: LIMIT,
            });
            let key = key();
            let there = Entry::Live(record(values, 1));
            memory.loaded(&key, Some(there), now().here, now());
            let mut put = |last| match memory.apply(&setting(key, last), false, now()) {
                Course::Here(applied, _) => applied,
                course => panic!("{course:?}"),
            };
            assert_eq!(put(last), Applied::TooLarge, "{values} values");
            assert_eq!(put(last - 1), Applied::Saved(None), "{values} values");
        }
    }

    #[test]
    fn inv10_what_the_store_would_not_take_is_not_made_here_and_does_not_become_so() {
        for (values, last) in both_ways() {
            let mut locals = Locals::new(1 << 20, LIMIT, HOUR);
            let mut make = |last| {
                let create = create(key(), record(values, last));
                locals.create(&create, now().store, now().here).unwrap()
            };
            assert_eq!(make(last), Created::TooLarge);
            assert_eq!(make(last - 1), Created::Created(Vec::new()));
            let key = key();
            let small = create(key, record(values, 1));
            locals.create(&small, now().store, now().here).unwrap();
            let mut put = |last| {
                let applied = locals.apply(&setting(key, last), now().store, now().here);
                applied.unwrap()
            };
            assert_eq!(put(last), Applied::TooLarge);
            assert_eq!(put(last - 1), Applied::Saved(None));
        }
    }

    #[test]
    fn inv10_a_touch_does_not_keep_a_session_that_was_made_here_from_the_store() {
        for (values, last) in both_ways() {
            let mut locals = Locals::new(1 << 20, LIMIT, HOUR);
            let key = key();
            let made = create(key, record(values, last - 1));
            locals.create(&made, now().store, now().here).unwrap();
            let touch = Apply {
                changes: Changes::default(),
                seen: Some(seen(&"long ".repeat(50))),
                ..setting(key, 0)
            };
            let touched = locals.apply(&touch, now().store, now().here);
            assert_eq!(touched, Ok(Applied::Saved(None)));
            let sent = locals.promotion(&key, now().store, now().here).unwrap();
            assert!(length(&sent.record, LIMIT) <= LIMIT);
            assert_eq!(sent.record.value("last").map(<[u8]>::len), Some(last - 1));
        }
    }

    proptest! {
        /// Else the one would have to be written where it is far from the limit in the other.
        #[test]
        fn the_two_forms_are_not_far_apart(values in 1..40usize, last in 0..60_000usize) {
            let record = record(values, last);
            prop_assert!(record.written_size() <= record.limited_size() + 128);
        }
    }
}
