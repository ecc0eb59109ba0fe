//! The least of very many, in little memory.

use std::collections::BinaryHeap;

/// Keeps the least so many of what comes in any order, and counts all.
#[derive(Clone, Debug)]
pub struct First<T> {
    limit: usize,
    /// The greatest on top.
    kept: BinaryHeap<T>,
    total: u64,
}

impl<T: Ord> First<T> {
    /// Nothing yet; keeps `limit` at most.
    pub fn new(limit: usize) -> Self {
        First { limit, kept: BinaryHeap::new(), total: 0 }
    }

    /// Takes one.
    pub fn add(&mut self, item: T) {
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
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Those that were kept, in order.
    pub fn into_sorted(self) -> Vec<T> {
        self.kept.into_sorted_vec()
    }
}
