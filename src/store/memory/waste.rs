//! Memory that is no longer used, until it is dropped.
//!
//! An allocator that gives much back to the system at once takes milliseconds for it, and meanwhile keeps those waiting
//! who want more. So nothing large is dropped by whoever has a lock, and what is much is dropped in the order in which
//! an allocator gives it back little by little: from the end of its heap.

#[derive(Debug, Default)]
pub(super) struct Waste {
    pages: Vec<Vec<u8>>,
    slots: Vec<Vec<u64>>,
    /// How much it is, about.
    pub(super) bytes: usize,
}

/// What may be large.
pub(super) trait Large {
    fn add_to(self, waste: &mut Waste);
}

/// What is less is not large.
const SMALL: usize = 4 << 10;
/// So many bytes are given back at a time.
const AT_ONCE: usize = 256 << 10;

/// From so much on it is listed apart.
const LISTED_APART: usize = 16 << 20;
/// What is larger than 32 MiB is nothing of glibc's heap, whatever its settings have become: it is mapped by itself, and
/// takes the memory that is written to.
const MAPPED: usize = 33 << 20;

impl Waste {
    /// Takes that along.
    pub(super) fn take_along(&mut self, mut other: Self) {
        self.bytes += other.bytes;
        self.pages.append(&mut other.pages);
        self.slots.append(&mut other.slots);
    }

    /// Drops it in pieces; each call of the iterator one.
    pub(super) fn pieces(mut self) -> impl Iterator<Item = ()> {
        self.pages.sort_unstable_by_key(|page| page.as_ptr());
        self.slots.sort_unstable_by_key(|slot| slot.as_ptr());
        self.list_apart();
        std::iter::from_fn(move || {
            let mut dropped = 0;
            while dropped < AT_ONCE
                && let Some(bytes) = self.drop_last()
            {
                dropped += bytes;
            }
            (dropped > 0).then_some(())
        })
    }

    /// Drops what lies behind all else; how many bytes that was.
    fn drop_last(&mut self) -> Option<usize> {
        let page = self.pages.last().map(|page| page.as_ptr().addr());
        let slot = self.slots.last().map(|slot| slot.as_ptr().addr());
        if page > slot {
            self.pages.pop().map(|page| page.capacity())
        } else {
            let slot = self.slots.pop()?;
            Some(slot.capacity() * size_of::<u64>())
        }
    }

    /// The list of the pages was made last, and lies above them in the heap: all that is below it would be given back at
    /// once with it, which takes some 10 ms for a million sessions. So it moves out of the heap, where there is room.
    fn list_apart(&mut self) {
        let mut apart = Vec::new();
        if self.bytes >= LISTED_APART
            && apart
                .try_reserve_exact(MAPPED / size_of::<Vec<u8>>())
                .is_ok()
        {
            apart.append(&mut self.pages);
            self.pages = apart;
        }
    }

    pub(super) fn add(&mut self, large: impl Large) {
        large.add_to(self);
    }
}

impl Large for Vec<u8> {
    fn add_to(self, waste: &mut Waste) {
        // What is small is dropped at once.
        if self.capacity() >= SMALL {
            waste.bytes += self.capacity();
            waste.pages.push(self);
        }
    }
}

impl Large for Vec<u64> {
    fn add_to(self, waste: &mut Waste) {
        let bytes = self.capacity() * size_of::<u64>();
        if bytes >= SMALL {
            waste.bytes += bytes;
            waste.slots.push(self);
        }
    }
}
