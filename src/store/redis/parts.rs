//! Numbers for the primaries of a cluster, each the same for as long as the store is there.

use std::collections::HashMap;

use super::slots::MOST;
use crate::store::Part;

/// Servers come and go, with new addresses too; those of old ones are forgotten when there are so many.
const KEPT: usize = 4 * MOST;

/// Which number a server has, by its address.
#[derive(Debug, Default)]
pub(super) struct Parts {
    numbers: HashMap<Box<str>, Part>,
    /// No number is given twice: what is known of a part is never taken for another's.
    next: u32,
}

impl Parts {
    /// The numbers of these servers, in their order.
    pub(super) fn of<'a>(&mut self, names: impl Iterator<Item = &'a str> + Clone) -> Vec<Part> {
        if self.numbers.len() > KEPT {
            let names = names.clone();
            self.numbers
                .retain(|known, _| names.clone().any(|name| name == &**known));
        }
        names.map(|name| self.number(name)).collect()
    }

    fn number(&mut self, name: &str) -> Part {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = Part::from(self.next);
        self.next = self.next.wrapping_add(1);
        self.numbers.insert(name.into(), number);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(parts: &mut Parts, names: &[&str]) -> Vec<u32> {
        let parts = parts.of(names.iter().copied());
        parts.into_iter().map(Part::get).collect()
    }

    #[test]
    fn a_server_has_one_number_whoever_comes_and_goes() {
        let mut parts = Parts::default();
        assert_eq!(numbers(&mut parts, &["a", "b", "c"]), [0, 1, 2]);
        assert_eq!(numbers(&mut parts, &["c", "d"]), [2, 3]);
        assert_eq!(numbers(&mut parts, &["b", "a", "e"]), [1, 0, 4]);
    }

    #[test]
    fn inv11_servers_that_are_long_gone_are_forgotten_and_their_numbers_not_given_again() {
        let mut parts = Parts::default();
        assert_eq!(numbers(&mut parts, &["here"]), [0]);
        for n in 0..3 * KEPT {
            numbers(&mut parts, &["here", &format!("gone-{n}")]);
            assert!(parts.numbers.len() <= KEPT + 1);
        }
        let next = u32::try_from(3 * KEPT + 1).unwrap();
        assert_eq!(numbers(&mut parts, &["new", "here"]), [next, 0]);
    }
}
