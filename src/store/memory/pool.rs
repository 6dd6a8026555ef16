//! Runs of bytes in places of a fixed width, dense: one that is dropped is replaced by the last of its width.
//!
//! So many small things take what they are long and little more, no allocation each, and what is dropped gives memory
//! back page by page, in whatever order it goes. A run may move when another one is dropped: whoever keeps places is
//! told.

use super::waste::Waste;

/// So many places in a page are two to this; half as many with each doubling of their width, down to one.
const PAGE: u32 = 5;
/// For so many there is room at first.
const FIRST: usize = 4;
/// The widths: so many equal steps to each doubling, from this one on. At most one in thirty-two bytes is too many.
const STEPS: usize = 32;
const STEP: usize = 8;

/// Where a run is: its class of width, and its number in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(u32);

/// So many runs of one class at most; more are in the next one.
const MOST: usize = 1 << NUMBER_BITS;
const NUMBER_BITS: u32 = 22;

#[derive(Debug, Default)]
pub(super) struct Pool {
    classes: Vec<Class>,
    /// What all pages have room for.
    bytes: usize,
}

/// The runs of one width.
#[derive(Debug)]
struct Class {
    width: usize,
    /// In a page are two to this places.
    page: u32,
    /// All are full but the last one.
    pages: Vec<Vec<u8>>,
    len: usize,
}

impl Place {
    fn new(class: usize, number: usize) -> Self {
        let place = (class << NUMBER_BITS) | number;
        Self(u32::try_from(place).expect("there are fewer than 1024 classes, of at most 2^22"))
    }

    const fn class(self) -> usize {
        (self.0 >> NUMBER_BITS) as usize
    }

    const fn number(self) -> usize {
        self.0 as usize % MOST
    }
}

/// The narrowest class for so many bytes.
fn class_for(len: usize) -> usize {
    let steps = len.div_ceil(STEP).max(1);
    if steps <= 2 * STEPS {
        return steps - 1;
    }
    // From here on a step is the larger the longer the run.
    let doublings = (steps - 1).ilog2() as usize - STEPS.ilog2() as usize;
    doublings * STEPS + ((steps - 1) >> doublings)
}

/// The bytes of a place of that class.
const fn width(class: usize) -> usize {
    if class < 2 * STEPS {
        return (class + 1) * STEP;
    }
    let doublings = class / STEPS - 1;
    (((class - doublings * STEPS) + 1) << doublings) * STEP
}

impl Pool {
    /// The place of a run of so many bytes, which are those of what was there last, or nothing.
    pub(super) fn add(&mut self, len: usize) -> Place {
        let mut class = class_for(len);
        while self
            .classes
            .get(class)
            .is_some_and(|class| class.len == MOST)
        {
            class += 1;
        }
        if self.classes.len() <= class {
            // And some more, for a run that becomes longer.
            let narrower = self.classes.len()..(class + 1).next_multiple_of(STEPS / 2);
            self.classes.extend(narrower.map(Class::new));
        }
        let number = self.classes[class].push(&mut self.bytes);
        Place::new(class, number)
    }

    /// Takes a run away; the place of the one that is here in its stead, if one is.
    pub(super) fn remove(&mut self, place: Place, waste: &mut Waste) -> Option<Place> {
        let class = place.class();
        let last = self.classes[class].swap_remove(place.number(), &mut self.bytes, waste);
        (last != place.number()).then(|| Place::new(class, last))
    }

    /// Whether a run of that length would be in a place as wide.
    pub(super) fn fits(place: Place, len: usize) -> bool {
        class_for(len) == place.class()
    }

    /// Gives memory back where most of it is unused. It looks at every class, and is for when much was removed: one that
    /// becomes empty gives its page back without it.
    pub(super) fn shrink(&mut self) {
        for class in &mut self.classes {
            class.shrink_page(&mut self.bytes);
        }
    }

    /// What it takes, used or not.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn get(&self, place: Place) -> &[u8] {
        let class = &self.classes[place.class()];
        let (page, start) = class.at(place.number());
        &class.pages[page][start..start + class.width]
    }

    pub(super) fn get_mut(&mut self, place: Place) -> &mut [u8] {
        let class = &mut self.classes[place.class()];
        let (page, start) = class.at(place.number());
        &mut class.pages[page][start..start + class.width]
    }
}

impl Class {
    const fn new(class: usize) -> Self {
        let doublings = (class / STEPS).saturating_sub(1);
        Self {
            width: width(class),
            page: PAGE.saturating_sub(doublings as u32),
            pages: Vec::new(),
            len: 0,
        }
    }

    /// In which page the n-th is, and where there.
    const fn at(&self, number: usize) -> (usize, usize) {
        let page = number >> self.page;
        (page, (number - (page << self.page)) * self.width)
    }

    /// `bytes` is what all pages have room for.
    fn push(&mut self, bytes: &mut usize) -> usize {
        let (number, width) = (self.len, self.width);
        let (_, start) = self.at(number);
        if start == 0 {
            self.pages.push(Vec::new());
        }
        let page = self.pages.last_mut().expect("there is one");
        if page.capacity() < start + width {
            // By doubling, which ends with the page: it has two to some power of places.
            let before = page.capacity();
            page.reserve_exact(start.max(FIRST.min(1 << self.page) * width));
            *bytes += page.capacity() - before;
        }
        page.resize(start + width, 0);
        self.len += 1;
        number
    }

    /// The number of the last one, which is in that place now.
    fn swap_remove(&mut self, number: usize, bytes: &mut usize, waste: &mut Waste) -> usize {
        let (last, width) = (self.len - 1, self.width);
        if self.page == 0 {
            // Each has a page of its own: what is long is not copied.
            let page = self.pages.swap_remove(number);
            self.len = last;
            *bytes -= page.capacity();
            waste.add(page);
            self.shrink();
            return last;
        }
        let (last_page, start) = self.at(last);
        if number != last {
            let (page, there) = self.at(number);
            let (before, after) = self.pages.split_at_mut(last_page);
            match before.get_mut(page) {
                Some(earlier) => {
                    earlier[there..there + width].copy_from_slice(&after[0][start..start + width]);
                }
                None => after[0].copy_within(start..start + width, there),
            }
        }
        self.len = last;
        if start == 0 {
            if let Some(page) = self.pages.pop() {
                *bytes -= page.capacity();
                waste.add(page);
            }
            self.shrink();
        } else {
            self.pages[last_page].truncate(start);
        }
        last
    }

    /// Gives the room for more pages back once most of it is unused.
    fn shrink(&mut self) {
        if self.pages.len() < self.pages.capacity() / 4 {
            self.pages.shrink_to(self.pages.len() * 2);
        }
    }

    /// The same of the room for more runs in the last page.
    fn shrink_page(&mut self, bytes: &mut usize) {
        let Some(page) = self.pages.last_mut() else {
            return;
        };
        let before = page.capacity();
        if before > FIRST * self.width && page.len() <= before / 4 {
            page.shrink_to(page.len().max(FIRST * self.width));
            *bytes -= before - page.capacity();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_class_is_as_wide_as_it_must_be_and_hardly_wider() {
        let mut before = 0;
        for len in 1..200_000 {
            let class = class_for(len);
            assert!(class == before || class == before + 1, "none is left out");
            before = class;
            assert!(width(class) >= len);
            assert!(width(class) < len + STEP.max(len / STEPS + 1), "{len}");
            assert!(class == 0 || width(class - 1) < len.max(1), "{len}");
        }
    }

    #[test]
    fn the_longest_run_has_a_class() {
        assert!(class_for(u32::MAX as usize) < 1 << (32 - NUMBER_BITS));
    }

    /// Of which many are in a page, or one.
    fn lengths() -> impl Strategy<Value = usize> {
        prop_oneof![20 => 0usize..300, 1 => 17_000usize..17_100]
    }

    fn held(pool: &Pool) -> usize {
        let pages = pool.classes.iter().flat_map(|class| &class.pages);
        pages.map(Vec::capacity).sum()
    }

    proptest! {
        #[test]
        fn runs_stay_what_they_are_whatever_comes_and_goes(steps in prop::collection::vec((any::<bool>(), lengths(), any::<u8>()), 0..600)) {
            let mut pool = Pool::default();
            let mut there: Vec<(Place, usize, u8)> = Vec::new();
            for (adds, n, byte) in steps {
                if adds || there.is_empty() {
                    let place = pool.add(n);
                    pool.get_mut(place)[..n].fill(byte);
                    there.push((place, n, byte));
                } else {
                    let (place, ..) = there.swap_remove(n % there.len());
                    if let Some(moved) = pool.remove(place, &mut Waste::default()) {
                        let (other, ..) = there.iter_mut().find(|(other, ..)| *other == moved).unwrap();
                        *other = place;
                    }
                }
                for (place, n, byte) in &there {
                    prop_assert!(pool.get(*place)[..*n].iter().all(|own| own == byte));
                }
            }
            let pages: usize = pool.classes.iter().map(|class| class.pages.len()).sum();
            prop_assert!(pages <= there.len());
            prop_assert_eq!(pool.bytes(), held(&pool));
        }
    }

    #[test]
    fn inv11_what_is_dropped_is_given_back() {
        let mut pool = Pool::default();
        let places: Vec<Place> = (0..1000).map(|_| pool.add(300)).collect();
        assert!(held(&pool) <= (1000 + (1 << PAGE)) * width(class_for(300)));
        // The first of them each time, where the last one is then.
        for left in (0..1000).rev() {
            pool.remove(places[0], &mut Waste::default());
            assert!(held(&pool) <= (left + (1 << PAGE)) * width(class_for(300)));
            if left % 32 == 1 {
                pool.shrink();
                assert!(held(&pool) <= (left + FIRST) * width(class_for(300)));
            }
            assert_eq!(held(&pool), pool.bytes());
        }
        assert_eq!(held(&pool), 0);
    }
}
