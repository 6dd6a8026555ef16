//! Values in pages, dense: one that is taken out is replaced by the last.
//!
//! So many of them take no allocation each, none of them moves when there are more, and what is taken out gives memory
//! back page by page, in whatever order it goes.

/// So many values in a page are two to this.
const PAGE: u32 = 3;

#[derive(Debug)]
pub(super) struct Pages<T> {
    /// All are full but the last one.
    pages: Vec<Vec<T>>,
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self { pages: Vec::new() }
    }
}

const fn at(number: usize) -> (usize, usize) {
    (number >> PAGE, number % (1 << PAGE))
}

impl<T> Pages<T> {
    pub(super) fn len(&self) -> usize {
        let full = self.pages.len().saturating_sub(1) << PAGE;
        full + self.pages.last().map_or(0, Vec::len)
    }

    /// Adds one; its number.
    pub(super) fn push(&mut self, value: T) -> usize {
        let number = self.len();
        match self.pages.last_mut() {
            Some(page) if page.len() < 1 << PAGE => page.push(value),
            Some(_) | None => {
                let mut page = Vec::with_capacity(1 << PAGE);
                page.push(value);
                self.pages.push(page);
            }
        }
        number
    }

    pub(super) fn get(&self, number: usize) -> &T {
        let (page, at) = at(number);
        &self.pages[page][at]
    }

    pub(super) fn get_mut(&mut self, number: usize) -> &mut T {
        let (page, at) = at(number);
        &mut self.pages[page][at]
    }

    /// Takes one out. The last one has its number then.
    pub(super) fn swap_remove(&mut self, number: usize) -> T {
        let page = self.pages.last_mut().expect("there is a page");
        let last = page.pop().expect("no page is empty");
        if page.is_empty() {
            self.pages.pop();
            if self.pages.len() < self.pages.capacity() / 4 {
                self.pages.shrink_to(self.pages.len() * 2);
            }
        }
        if number == self.len() {
            return last;
        }
        std::mem::replace(self.get_mut(number), last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn inv11_pages_hold_what_is_in_them_and_no_more(steps in prop::collection::vec(any::<Option<usize>>(), 0..200)) {
            let (mut pages, mut there) = (Pages::default(), Vec::new());
            for (n, step) in steps.into_iter().enumerate() {
                match step {
                    Some(at) if !there.is_empty() => {
                        let at = at % there.len();
                        prop_assert_eq!(pages.swap_remove(at), there.swap_remove(at));
                    }
                    Some(_) | None => {
                        prop_assert_eq!(pages.push(n), there.len());
                        there.push(n);
                    }
                }
                let all: Vec<usize> = (0..pages.len()).map(|number| *pages.get(number)).collect();
                prop_assert_eq!(&all, &there);
                prop_assert_eq!(pages.pages.len(), there.len().div_ceil(1 << PAGE));
            }
        }
    }
}
