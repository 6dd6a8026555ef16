//! One commit in place of two, where that comes to the same.

use hashbrown::HashMap;

use super::{COMMITS, Full, Writes};
use crate::record::{Change, Changes, Guard, Op};

/// Where a commit goes.
pub(super) enum Place {
    /// It changes nothing.
    Nowhere,
    Last(Changes),
    /// In place of that one, which it has become part of.
    At(usize, Changes),
}

impl Writes {
    /// Where a commit that changes something goes.
    pub(super) fn place_of(&self, changes: Changes) -> Result<Place, Full> {
        let is_full = self.commits.len() == COMMITS;
        let each = changes.each.iter();
        let names: HashMap<&str, &Guard> = each.map(|it| (&*it.name, &it.guard)).collect();
        let concerns = |commit: &Changes| {
            let mut each = commit.each.iter();
            each.any(|change| names.contains_key(&*change.name))
        };
        // What is on its way must stay as it is.
        let last = self.commits.iter().rposition(concerns);
        let last = last.filter(|at| *at >= self.sent);
        // The store may have such a value also where all since was dropped. Where there is room for no more, that the new
        // one is dropped with it is better than that it is refused.
        let comes_back = |change: &Change| {
            let wanted = names.get(&*change.name);
            wanted.is_some_and(|guard| change.guard == Guard::Any || change.guard == **guard)
        };
        let last = last.filter(|at| {
            let mut earlier = self.commits[..*at].iter().flat_map(|commit| &commit.each);
            is_full || !earlier.any(comes_back)
        });
        drop(names);
        if let Some(at) = last
            && let Some(one) = merged(&self.commits[at], &changes, is_full)
        {
            return Ok(Place::At(at, one));
        }
        if is_full {
            return Err(Full);
        }
        Ok(Place::Last(changes))
    }
}

/// What `later` makes of `earlier`: one commit with the conditions of the earlier one. `None`: two it must be. Nothing
/// between them may concern a name of the later one.
///
/// It comes to the same where the later one goes on from what the earlier one leaves: if the conditions hold, both are
/// made, and if one fails, both are dropped. With `sums`, additions are put together too: what is added twice may be
/// refused once, as the sum does not fit.
fn merged(earlier: &Changes, later: &Changes, sums: bool) -> Option<Changes> {
    let is_all = earlier.each.len() == later.each.len();
    let places = earlier.each.iter().enumerate();
    let places: HashMap<&str, usize> = places.map(|(at, change)| (&*change.name, at)).collect();
    let mut merged = earlier.clone();
    for change in &later.each {
        let known = &mut merged.each[*places.get(&*change.name)?];
        known.op = match (&known.op, &change.op) {
            // Where there are other names the earlier one may be dropped for one of those, and the later one not.
            (Op::Add(by), Op::Add(more))
                if sums && is_all && known.guard == Guard::Any && change.guard == Guard::Any =>
            {
                Op::Add(by.checked_add(*more)?)
            }
            (Op::Set(_) | Op::Remove, Op::Set(_) | Op::Remove)
                if goes_on(known, change) && (is_all || changes(known)) =>
            {
                change.op.clone()
            }
            (Op::Set(_) | Op::Remove | Op::Add(_), _) => return None,
        };
    }
    Some(merged)
}

/// Whether the later one wants what the earlier one leaves.
fn goes_on(earlier: &Change, later: &Change) -> bool {
    match &later.guard {
        Guard::Any => false,
        Guard::Unchanged(value) => left_by(&earlier.op) == Some(value.as_deref()),
    }
}

/// Whether it leaves another value than it wants.
fn changes(change: &Change) -> bool {
    match &change.guard {
        Guard::Any => false,
        Guard::Unchanged(value) => left_by(&change.op) != Some(value.as_deref()),
    }
}

/// The value, or that there is none. `None`: it depends.
fn left_by(op: &Op) -> Option<Option<&[u8]>> {
    match op {
        Op::Set(json) => Some(Some(json)),
        Op::Remove => Some(None),
        Op::Add(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use super::*;
    use crate::clock::instant;
    use crate::id::{Fresh, Kind};
    use crate::record::NewRecord;
    use proptest::prelude::*;
    use std::time::Duration;

    const NOW: u64 = 1_800_000_000_000_000;
    /// Those of numbers, and those of texts.
    const NAMES: [&str; 5] = ["m", "n", "a", "b", "c"];

    fn key() -> RecordKey {
        Fresh::draw().unwrap().id(7.into()).key(Kind::User)
    }

    fn seen(second: u64, agent: &str) -> Seen {
        Seen {
            at: instant(NOW) + Duration::from_secs(second),
            address: None,
            agent: Some(agent.into()),
        }
    }

    /// Some values are there, and none that is written later.
    fn record() -> Record {
        Record::new(&NewRecord {
            handle: Fresh::draw().unwrap().handle(),
            user: None,
            created_at: instant(NOW),
            signed_in_at: None,
            absolute_end: instant(NOW) + Duration::from_secs(1000),
            idle_timeout: Duration::from_secs(1000),
            touch_threshold: Duration::from_secs(10),
            persistent: false,
            seen: seen(0, "agent"),
            values: vec![("m".into(), b"1".to_vec()), ("a".into(), b"\"a\"".to_vec())],
        })
    }

    fn writing(names: &[&'static str], value: &str) -> Changes {
        let mut changes = Changes::default();
        for name in names {
            changes.put((*name).into(), Op::Set(value.as_bytes().to_vec()));
        }
        changes
    }

    fn of_one(staged: &Staged) -> usize {
        let writes = staged.sessions.values();
        writes.map(|writes| writes.commits.len()).sum()
    }

    /// The bytes are those of what is there.
    fn is_exact(staged: &Staged) -> bool {
        let each = staged.sessions.values().map(|writes| {
            let commits: usize = writes.commits.iter().map(size_of).sum();
            let messages = writes.messages.iter();
            let messages: usize = messages.map(|it| it.message.body.len() + OVERHEAD).sum();
            let bytes = commits + messages + writes.seen.as_ref().map_or(0, size_of_seen);
            (bytes == writes.bytes).then_some(bytes)
        });
        each.sum::<Option<usize>>() == Some(staged.bytes)
    }

    /// A session on a lease.
    struct Leased {
        record: Record,
        key: RecordKey,
        staged: Staged,
    }

    impl Leased {
        fn new(max_bytes: usize) -> Self {
            let (record, key, staged) = (record(), key(), Staged::new(max_bytes));
            Self {
                record,
                key,
                staged,
            }
        }

        /// As a request does it: what is staged, if there is room.
        fn write(&mut self, changes: &Changes) -> Option<Changes> {
            let changed = self.record.changed(changes, None).ok()?;
            let changes = compared(changes, &self.record);
            self.staged.add(self.key, changes.clone(), None).ok()?;
            self.record = changed;
            Some(changes)
        }
    }

    #[test]
    fn inv11_the_same_name_written_again_and_again_is_one_commit() {
        let mut leased = Leased::new(1 << 20);
        for n in 0..1000 {
            assert!(leased.write(&writing(&["a"], &n.to_string())).is_some());
        }
        assert_eq!(of_one(&leased.staged), 1);
        let (only, _) = leased.staged.next(&leased.key).unwrap();
        let stored = record().changed(&only, None).unwrap();
        assert_eq!(stored.value("a"), Some(&b"999"[..]));
        // Now it is on its way, and what comes next comes after it.
        assert!(leased.write(&writing(&["a"], "1000")).is_some());
        assert_eq!(leased.staged.next(&leased.key).unwrap().0, only);
        leased.staged.written(&leased.key, None);
        let (last, _) = leased.staged.next(&leased.key).unwrap();
        let stored = stored.changed(&last, None).unwrap();
        assert_eq!(stored.value("a"), Some(&b"1000"[..]));
        leased.staged.written(&leased.key, None);
        assert_eq!((leased.staged.bytes, leased.staged.len()), (0, 0));
    }

    #[test]
    fn inv11_additions_are_summed_only_where_there_is_room_for_no_more() {
        let mut leased = Leased::new(1 << 20);
        for n in 1..=COMMITS {
            assert!(
                leased
                    .write(&Changes::one("n".into(), Op::Add(1)))
                    .is_some()
            );
            assert_eq!(of_one(&leased.staged), n);
        }
        for _ in 0..1000 {
            assert!(
                leased
                    .write(&Changes::one("n".into(), Op::Add(1)))
                    .is_some()
            );
        }
        assert_eq!(of_one(&leased.staged), COMMITS);
        let mut stored = record();
        while let Some((commit, _)) = leased.staged.next(&leased.key) {
            stored = stored.changed(&commit, None).unwrap();
            leased.staged.written(&leased.key, None);
        }
        assert_eq!(stored.value("n"), leased.record.value("n"));
        // What is no part of any is refused.
        for _ in 0..COMMITS {
            assert!(
                leased
                    .write(&Changes::one("n".into(), Op::Add(1)))
                    .is_some()
            );
        }
        assert!(leased.write(&writing(&["b"], "1")).is_none());
    }

    #[test]
    fn inv11_what_a_commit_adds_to_another_is_bounded_and_what_it_takes_is_not() {
        let mut leased = Leased::new(2000);
        assert!(
            leased
                .write(&writing(&["a", "b"], &"1".repeat(700)))
                .is_some()
        );
        assert!(leased.write(&writing(&["a"], &"2".repeat(1400))).is_none());
        assert!(leased.write(&writing(&["a"], "2")).is_some());
        assert!(leased.write(&writing(&["a"], &"3".repeat(700))).is_some());
        assert_eq!(of_one(&leased.staged), 1);
        assert!(is_exact(&leased.staged));
        let activity = seen(9, "an agent");
        let (changes, key) = (Changes::default(), leased.key);
        assert!(leased.staged.add(key, changes, Some(&activity)).is_ok());
        assert!(is_exact(&leased.staged));
        leased.staged.next(&key);
        leased.staged.written(&key, Some(activity.at));
        assert_eq!((leased.staged.bytes, leased.staged.len()), (0, 0));
    }

    /// One that changes more than the next may be dropped for something that does not concern the next.
    #[test]
    fn inv07_a_commit_that_leaves_a_value_as_it_was_takes_nothing_along() {
        let mut leased = Leased::new(1 << 20);
        let mut both = writing(&["a"], "\"a\"");
        both.put("b".into(), Op::Set(b"1".to_vec()));
        leased.write(&both).unwrap();
        leased.write(&writing(&["a"], "2")).unwrap();
        let mut stored = record().changed(&writing(&["b"], "7"), None).unwrap();
        while let Some((commit, _)) = leased.staged.next(&leased.key) {
            stored = stored.changed(&commit, None).unwrap_or(stored);
            leased.staged.written(&leased.key, None);
        }
        let values = (stored.value("a"), stored.value("b"));
        assert_eq!(values, (Some(&b"2"[..]), Some(&b"7"[..])));
    }

    #[derive(Debug, Clone)]
    enum Step {
        /// Names by their number, what becomes of each, and whether all else is cleared.
        Commit(Vec<(usize, What)>, bool),
        /// The first is on its way.
        Sent,
        /// The store said something to it.
        Written,
    }

    #[derive(Debug, Clone, Copy)]
    enum What {
        Set,
        /// What the lease has.
        Same,
        Remove,
        Add(i64),
    }

    fn what() -> impl Strategy<Value = What> {
        prop_oneof![
            4 => Just(What::Set),
            1 => Just(What::Same),
            1 => Just(What::Remove),
            4 => (1..9i64).prop_map(What::Add),
        ]
    }

    fn step() -> impl Strategy<Value = Step> {
        let each = prop::collection::vec((0..NAMES.len(), what()), 1..4);
        prop_oneof![
            30 => (each, prop::bool::weighted(0.02)).prop_map(|(each, clear)| Step::Commit(each, clear)),
            1 => Just(Step::Sent),
            1 => Just(Step::Written),
        ]
    }

    /// What is staged on that lease. `unique`: no value comes back.
    fn changes(
        each: &[(usize, What)],
        clear: bool,
        record: &Record,
        step: usize,
        unique: bool,
    ) -> Changes {
        let mut changes = Changes::default();
        if clear && !unique {
            changes.clear();
        }
        for (name, what) in each {
            let name = NAMES[*name];
            let current = record.value(name);
            // Never twice the same, and never what additions come to.
            let set = Op::Set((10_000_000 + 10_000 * step).to_string().into());
            let op = match (what, current) {
                (What::Add(by), _) if name > "c" => Op::Add(*by),
                (What::Same, Some(json)) if !unique => Op::Set(json.into()),
                (What::Remove | What::Same, _) if !unique => Op::Remove,
                (What::Set | What::Add(_) | What::Same | What::Remove, _) => set,
            };
            changes.put(name.into(), op);
        }
        changes
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

        #[test]
        fn inv07_what_is_merged_comes_to_the_same(
            steps in prop::collection::vec(step(), 1..120),
            others in prop::collection::vec(0..NAMES.len(), 0..3),
            is_number in any::<bool>(),
            unique in any::<bool>(),
            max_bytes in prop_oneof![Just(3000usize), Just(1 << 20)],
        ) {
            let mut leased = Leased::new(max_bytes);
            let mut all = Vec::new();
            // What others have written is never a value of ours.
            let theirs = if is_number { "-5000000" } else { "\"theirs\"" };
            let theirs = others.iter().fold(record(), |record, name| {
                record.changed(&writing(&[NAMES[*name]], theirs), None).unwrap()
            });
            let mut stored = theirs.clone();
            let mut sent = None;
            // So few that they are not summed, nor put together with what may go on without them.
            let most = if unique { steps.len() } else { COMMITS };
            for (n, step) in steps.iter().take(most).enumerate() {
                match step {
                    Step::Commit(each, clear) => {
                        let changes = changes(each, *clear, &leased.record, n, unique);
                        all.extend(leased.write(&changes));
                    }
                    Step::Sent => sent = leased.staged.next(&leased.key),
                    Step::Written => if let Some((commit, _)) = sent.take() {
                        // As it was when it was sent.
                        prop_assert_eq!(&leased.staged.next(&leased.key).unwrap().0, &commit);
                        leased.staged.written(&leased.key, None);
                        match stored.changed(&commit, None) {
                            Ok(changed) => stored = changed,
                            // The lease is dropped: nothing more is written on it.
                            Err(_) => break,
                        }
                    }
                }
                prop_assert!(is_exact(&leased.staged));
                prop_assert!(leased.staged.bytes <= max_bytes);
                prop_assert!(of_one(&leased.staged) <= COMMITS);
            }
            while let Some((commit, _)) = leased.staged.next(&leased.key) {
                stored = stored.changed(&commit, None).unwrap_or(stored);
                leased.staged.written(&leased.key, None);
            }
            prop_assert_eq!((leased.staged.bytes, leased.staged.len()), (0, 0));
            let one_by_one = all.iter().fold(theirs, |record, commit| {
                record.changed(commit, None).unwrap_or(record)
            });
            for name in NAMES {
                prop_assert_eq!(stored.value(name), one_by_one.value(name), "{}", name);
            }
        }
    }
}
