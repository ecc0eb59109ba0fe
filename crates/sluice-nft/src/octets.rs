//! Short byte strings kept inline: a ruleset holds hundreds of thousands of them.

use std::fmt;

/// At most `N` bytes without an allocation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Octets<const N: usize> {
    // Unused bytes stay zero, so the derived comparisons see only the contents and the length.
    bytes: [u8; N],
    len: u8,
}

impl<const N: usize> Octets<N> {
    /// No bytes.
    pub const EMPTY: Self = Octets { bytes: [0; N], len: 0 };

    /// Copies `bytes`; `None` when there are more than `N`.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut octets = Self::EMPTY;
        octets.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        octets.len = bytes.len() as u8;
        Some(octets)
    }

    /// The contents.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Appends one field of a concatenation, zero-padded to four bytes as in the kernel's registers.
    ///
    /// # Panics
    /// When the result exceeds `N` bytes: the shapes are fixed at compile time.
    #[must_use]
    pub fn with(mut self, field: &[u8]) -> Self {
        let start = usize::from(self.len);
        self.bytes[start..start + field.len()].copy_from_slice(field);
        self.len += field.len().next_multiple_of(4) as u8;
        assert!(usize::from(self.len) <= N, "concatenation longer than {N} bytes");
        self
    }
}

impl<const N: usize> fmt::Debug for Octets<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
