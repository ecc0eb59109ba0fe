//! The least of very many, in little memory.

use std::collections::BinaryHeap;

/// Keeps the least so many of what comes in any order, and counts all.
#[derive(Clone, Debug)]
pub(super) struct First<T> {
    limit: usize,
    /// The greatest on top.
    kept: BinaryHeap<T>,
    total: u64,
}

impl<T: Ord> First<T> {
    /// Nothing yet; keeps `limit` at most.
    pub(super) fn new(limit: usize) -> Self {
        First { limit, kept: BinaryHeap::new(), total: 0 }
    }

    /// Takes one.
    pub(super) fn add(&mut self, item: T) {
        self.total += 1;
        if self.kept.len() < self.limit {
            self.kept.push(item);
        } else if let Some(mut greatest) = self.kept.peek_mut()
            && item < *greatest
        {
            *greatest = item;
        }
    }

    /// How many there were.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Those that were kept, in order.
    pub(super) fn into_sorted(self) -> Vec<T> {
        self.kept.into_sorted_vec()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::First;

    proptest! {
        #[test]
        fn first_of_many_are_those_that_come_first_in_order(
            numbers in prop::collection::vec(0u32..50, 0..60),
            limit in 0usize..20,
        ) {
            let mut first = First::new(limit);
            numbers.iter().for_each(|number| first.add(*number));
            let mut sorted = numbers.clone();
            sorted.sort_unstable();
            sorted.truncate(limit);
            prop_assert_eq!(first.total(), numbers.len() as u64);
            prop_assert_eq!(first.into_sorted(), sorted);
        }
    }
}
