//! Byte strings of bounded length, stored inline: a ruleset holds hundreds of thousands of them.

use std::fmt;

/// At most `N` bytes without an allocation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Octets<const N: usize> {
    // Unused bytes are always zero, so that the derived comparisons depend only on contents and length.
    bytes: [u8; N],
    len: u8,
}

impl<const N: usize> Octets<N> {
    /// No bytes.
    pub const EMPTY: Self = Octets { bytes: [0; N], len: 0 };

    /// Copies `bytes`; `None` if there are more than `N`.
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
    /// If the result exceeds `N` bytes: the widths of keys and data are fixed at compile time.
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

#[cfg(test)]
mod tests {
    use super::Octets;

    #[test]
    fn fields_are_padded_to_four_bytes() {
        let octets = Octets::<12>::EMPTY.with(&[6]).with(&[0, 80]).with(&[10, 0, 2, 11]);
        assert_eq!(octets.as_slice(), [6, 0, 0, 0, 0, 80, 0, 0, 10, 0, 2, 11]);
    }

    #[test]
    fn octets_are_compared_by_contents_then_length() {
        let octets = |bytes: &[u8]| Octets::<4>::new(bytes).expect("it fits");
        assert!(octets(&[1, 2]) < octets(&[1, 3]));
        assert!(octets(&[1, 2]) < octets(&[2]));
        assert!(octets(&[1]) < octets(&[1, 0]));
        assert_eq!(octets(&[]), Octets::EMPTY);
        assert_ne!(octets(&[0]), Octets::EMPTY);
    }

    #[test]
    fn more_than_fits_is_refused() {
        assert!(Octets::<4>::new(&[0; 4]).is_some());
        assert!(Octets::<4>::new(&[0; 5]).is_none());
    }

    #[test]
    #[should_panic]
    fn field_beyond_the_end_panics() {
        let _ = Octets::<4>::EMPTY.with(&[1]).with(&[2]);
    }

    #[test]
    fn octets_print_as_hexadecimal() {
        assert_eq!(format!("{:?}", Octets::<4>::EMPTY.with(&[0x0a, 0xff])), "0aff0000");
    }
}
