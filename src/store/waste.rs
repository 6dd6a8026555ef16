//! Memory that is no longer used, until it is dropped.
//!
//! An allocator that gives much back to the system at once takes milliseconds for it, and meanwhile keeps those waiting
//! who want more. So nothing large is dropped by whoever has a lock, and what is much is dropped in the order in which
//! an allocator gives it back little by little: from the end of its heap.

use hashbrown::HashTable;

use super::pool::Place;

#[derive(Debug, Default)]
pub(super) struct Waste {
    pages: Vec<Vec<u8>>,
    slots: Vec<Vec<u64>>,
    tables: Vec<HashTable<Place>>,
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

impl Waste {
    /// Takes that along.
    pub(super) fn take_along(&mut self, mut other: Self) {
        self.bytes += other.bytes;
        self.pages.append(&mut other.pages);
        self.slots.append(&mut other.slots);
        self.tables.append(&mut other.tables);
    }

    /// Drops it in pieces; each call of the iterator one.
    pub(super) fn pieces(mut self) -> impl Iterator<Item = ()> {
        self.pages.sort_unstable_by_key(|page| page.as_ptr());
        // They lie in between, and keep what is below them from being given back.
        (self.slots, self.tables) = Default::default();
        std::iter::from_fn(move || {
            let mut dropped = 0;
            while dropped < AT_ONCE
                && let Some(page) = self.pages.pop()
            {
                dropped += page.capacity();
            }
            (dropped > 0).then_some(())
        })
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

impl Large for HashTable<Place> {
    fn add_to(self, waste: &mut Waste) {
        waste.bytes += self.allocation_size();
        waste.tables.push(self);
    }
}
