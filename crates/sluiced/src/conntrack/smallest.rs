//! [`SmallestK`]: the smallest items of a stream, in bounded memory.

use std::collections::BinaryHeap;

/// Keeps the `limit` smallest items of a stream in any order, and counts all items.
#[derive(Clone, Debug)]
pub(super) struct SmallestK<T> {
    limit: usize,
    /// A max-heap: the greatest kept item is on top.
    kept: BinaryHeap<T>,
    total: u64,
}

impl<T: Ord> SmallestK<T> {
    /// An empty collection of at most `limit` items.
    pub(super) fn new(limit: usize) -> Self {
        SmallestK { limit, kept: BinaryHeap::new(), total: 0 }
    }

    /// Adds an item.
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

    /// Number of items added.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The kept items in ascending order.
    pub(super) fn into_sorted(self) -> Vec<T> {
        self.kept.into_sorted_vec()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::SmallestK;

    proptest! {
        #[test]
        fn smallest_items_of_any_stream_are_the_first_of_the_sorted_stream(
            numbers in prop::collection::vec(0u32..50, 0..60),
            limit in 0usize..20,
        ) {
            let mut smallest = SmallestK::new(limit);
            numbers.iter().for_each(|number| smallest.add(*number));
            let mut sorted = numbers.clone();
            sorted.sort_unstable();
            sorted.truncate(limit);
            prop_assert_eq!(smallest.total(), numbers.len() as u64);
            prop_assert_eq!(smallest.into_sorted(), sorted);
        }
    }
}
