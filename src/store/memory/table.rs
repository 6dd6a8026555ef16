//! Finds things by a hash that is kept beside each of them: growing the table looks at none of them, and they may be
//! anywhere in memory.

use hashbrown::HashTable;
use hashbrown::hash_table::OccupiedEntry;

/// It is not worth giving back less than this.
const FEW: usize = 64;

#[derive(Debug)]
pub(super) struct Table<T> {
    cells: HashTable<Cell<T>>,
}

#[derive(Debug)]
struct Cell<T> {
    hash: u32,
    value: T,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            cells: HashTable::new(),
        }
    }
}

impl<T> Table<T> {
    /// Of those with this hash, and perhaps of some with another one, the first that `is_it`.
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(&T) -> bool) -> Option<&T> {
        let cell = self
            .cells
            .find(whole(short(hash)), |cell| is_it(&cell.value))?;
        Some(&cell.value)
    }

    /// As [`find`](Self::find).
    pub(super) fn find_mut(
        &mut self,
        hash: u64,
        mut is_it: impl FnMut(&T) -> bool,
    ) -> Option<&mut T> {
        let cell = self
            .cells
            .find_mut(whole(short(hash)), |cell| is_it(&cell.value))?;
        Some(&mut cell.value)
    }

    /// Takes out what [`find`](Self::find) would find.
    pub(super) fn remove(&mut self, hash: u64, mut is_it: impl FnMut(&T) -> bool) -> Option<T> {
        let found = self
            .cells
            .find_entry(whole(short(hash)), |cell| is_it(&cell.value));
        let (cell, _) = found.ok().map(OccupiedEntry::remove)?;
        Some(cell.value)
    }

    /// Puts it in, though the same may be there.
    pub(super) fn insert(&mut self, hash: u64, value: T) {
        let hash = short(hash);
        self.cells
            .insert_unique(whole(hash), Cell { hash, value }, |cell| whole(cell.hash));
    }

    pub(super) fn len(&self) -> usize {
        self.cells.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.cells.iter().map(|cell| &cell.value)
    }

    /// Gives memory back once most of it is unused.
    pub(super) fn shrink(&mut self) {
        let (len, capacity) = (self.cells.len(), self.cells.capacity());
        if capacity > FEW && len < capacity / 8 {
            self.cells.shrink_to(len * 2, |cell| whole(cell.hash));
        }
    }
}

/// Half of a hash is kept: enough for the tables of a shard.
const fn short(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// A table takes its place from the lower bits, and what tells neighbours apart from the upper ones.
const fn whole(hash: u32) -> u64 {
    (hash as u64) << 32 | hash as u64
}
