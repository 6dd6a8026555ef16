//! In which order entries will be over, roughly.
//!
//! Not a queue that is kept exact: moving an entry at every touch would cost every request. An entry is filed once
//! under the slot of time when it would be over, looked at when that slot has passed, and filed again if it lives on.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::waste::Waste;
use crate::clock::micros;

/// The width of a slot, in seconds: what is over is found at most this much later.
const SLOT_SECONDS: u64 = 64;

/// Entries by the slot of time when they should be looked at. 8 bytes an entry.
#[derive(Debug, Default)]
pub(super) struct Wheel {
    slots: BTreeMap<u64, Vec<u64>>,
    len: usize,
}

impl Wheel {
    /// Files an entry, named by its hash, to be looked at once `at` has passed.
    pub(super) fn file(&mut self, hash: u64, at: SystemTime) {
        self.slots.entry(Slot::of(at).0 + 1).or_default().push(hash);
        self.len += 1;
    }

    /// Drops all of it.
    pub(super) fn drop_into(self, waste: &mut Waste) {
        for slot in self.slots.into_values() {
            waste.add(slot);
        }
    }

    /// How many are filed, those included that have become something else since.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// An entry whose time has passed, in no order within a slot.
    pub(super) fn due(&mut self, now: Slot, waste: &mut Waste) -> Option<u64> {
        let first = *self.slots.first_key_value()?.0;
        if first > now.0 {
            None
        } else {
            self.soonest(waste)
        }
    }

    /// An entry of the first slot, whether it has passed or not.
    pub(super) fn soonest(&mut self, waste: &mut Waste) -> Option<u64> {
        loop {
            let mut first = self.slots.first_entry()?;
            match first.get_mut().pop() {
                Some(hash) => {
                    self.len -= 1;
                    return Some(hash);
                }
                None => waste.add(first.remove()),
            }
        }
    }
}

/// A slot of time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot(u64);

impl Slot {
    pub(super) fn of(at: SystemTime) -> Self {
        Self(micros(at) / 1_000_000 / SLOT_SECONDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn an_entry_is_due_after_its_time_and_never_before() {
        for second in [0, 1, 63, 64, 65, 1000] {
            let at = UNIX_EPOCH + Duration::from_secs(second);
            let mut wheel = Wheel::default();
            wheel.file(7, at);
            let mut due = |after| {
                let slot = Slot::of(at + Duration::from_secs(after));
                wheel.due(slot, &mut Waste::default())
            };
            assert_eq!(due(0), None);
            assert_eq!(due(SLOT_SECONDS), Some(7));
            assert_eq!(due(9999), None);
        }
    }

    #[test]
    fn the_soonest_comes_first() {
        let mut wheel = Wheel::default();
        wheel.file(2, UNIX_EPOCH + Duration::from_secs(900));
        wheel.file(1, UNIX_EPOCH + Duration::from_secs(100));
        let mut soonest = || wheel.soonest(&mut Waste::default());
        assert_eq!([soonest(), soonest(), soonest()], [Some(1), Some(2), None]);
    }
}
