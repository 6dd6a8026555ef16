//! How often something happened of late, for many at a time, in a fixed table: no lock, no allocation.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::clock::{micros, span_micros};
use crate::id::Handle;

const SLOTS: usize = 4096;

/// How often, for each of many. Those that meet in a slot displace each other: the count may be too small, or not known,
/// and never too large, but for one in 16 million.
#[derive(Debug)]
pub(crate) struct Rates {
    /// Each: mark of whose it is (24 bits), number of the window (16), count in it (24).
    slots: Box<[AtomicU64]>,
    window: Duration,
}

impl Rates {
    pub(crate) fn new(window: Duration) -> Self {
        Self {
            slots: std::iter::repeat_with(AtomicU64::default)
                .take(SLOTS)
                .collect(),
            window,
        }
    }

    /// Once more.
    pub(crate) fn add(&self, handle: Handle, now: SystemTime) {
        let (slot, mark) = self.place(handle);
        let mine = mark << 40 | self.number(now) << 24;
        // One that is lost between the two is one too few.
        let there = slot.load(Ordering::Relaxed);
        let next = match there & !0xff_ffff == mine {
            true if there & 0xff_ffff == 0xff_ffff => there,
            true => there + 1,
            false => mine + 1,
        };
        slot.store(next, Ordering::Relaxed);
    }

    /// How often within this window or the one before, as far as is known.
    pub(crate) fn get(&self, handle: Handle, now: SystemTime) -> Option<u32> {
        let (slot, mark) = self.place(handle);
        let there = slot.load(Ordering::Relaxed);
        if there == 0 {
            return Some(0);
        }
        if there >> 40 != mark {
            return None;
        }
        let (number, last) = (self.number(now), there >> 24 & 0xffff);
        let is_recent = number == last || number == (last + 1) & 0xffff;
        let count = u32::try_from(there & 0xff_ffff).expect("24 bits");
        Some(if is_recent { count } else { 0 })
    }

    fn place(&self, handle: Handle) -> (&AtomicU64, u64) {
        // A handle is random, all of it but the version.
        let bits = handle.as_uuid().as_u128();
        let slot = usize::try_from(bits & (SLOTS as u128 - 1)).expect("12 bits");
        let mark = u64::try_from(bits >> 16 & 0xff_ffff).expect("24 bits");
        (&self.slots[slot], mark)
    }

    fn number(&self, now: SystemTime) -> u64 {
        (micros(now) / span_micros(self.window)) & 0xffff
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::instant;

    #[test]
    fn what_is_counted_is_forgotten_after_a_window() {
        let rates = Rates::new(Duration::from_secs(60));
        let handle = Handle::random().unwrap();
        let now = instant(600_000_000);
        assert_eq!(rates.get(handle, now), Some(0));
        for _ in 0..7 {
            rates.add(handle, now);
        }
        assert_eq!(rates.get(handle, now), Some(7));
        assert_eq!(rates.get(handle, now + Duration::from_secs(60)), Some(7));
        assert_eq!(rates.get(handle, now + Duration::from_secs(120)), Some(0));
        rates.add(handle, now + Duration::from_secs(120));
        assert_eq!(rates.get(handle, now + Duration::from_secs(120)), Some(1));
    }

    #[test]
    fn inv11_who_meets_another_in_a_slot_is_not_known_and_never_too_many() {
        let rates = Rates::new(Duration::from_secs(60));
        let now = instant(600_000_000);
        let of = |n: u128| Handle::from(uuid::Uuid::from_u128(n));
        let (a, b) = (of(1 << 16 | 5), of(2 << 16 | 5));
        rates.add(a, now);
        rates.add(a, now);
        assert_eq!((rates.get(a, now), rates.get(b, now)), (Some(2), None));
        rates.add(b, now);
        assert_eq!((rates.get(a, now), rates.get(b, now)), (None, Some(1)));
    }
}
