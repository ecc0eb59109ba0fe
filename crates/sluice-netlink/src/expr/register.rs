//! The kernel's scratch memory: sixteen words of four bytes.

/// The word that a value starts at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Register(u8);

impl Register {
    /// The first word, which the kernel calls register 1.
    pub(crate) const FIRST: Register = Register(0);

    const WORDS: usize = 16;

    /// The register `words` further on.
    pub(crate) fn plus(self, words: usize) -> Register {
        Register(self.0.saturating_add(words as u8))
    }

    /// Whether a value of so many words fits from here on.
    pub(crate) fn fits(self, words: usize) -> bool {
        usize::from(self.0) + words <= Self::WORDS
    }

    /// Number in a message: every fourth word has one of the old numbers, 1 to 4, and nft and the
    /// kernel prefer that (`NFT_REG_1`, `NFT_REG32_00`).
    pub(crate) fn number(self) -> u32 {
        let word = u32::from(self.0);
        if word.is_multiple_of(4) { 1 + word / 4 } else { 8 + word }
    }

    /// The register of a number; `None` for the verdict register and unknown numbers.
    pub(crate) fn of(number: u32) -> Option<Register> {
        match number {
            1..=4 => Some(Register((number as u8 - 1) * 4)),
            8..=23 => Some(Register(number as u8 - 8)),
            _ => None,
        }
    }
}

/// Words that a value of `width` bytes takes.
pub(crate) fn words(width: usize) -> usize {
    width.div_ceil(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn register_number_of_every_word_names_it_again() {
        for word in 0..16 {
            let register = Register::FIRST.plus(word);
            assert_eq!(Register::of(register.number()), Some(register));
        }
        assert_eq!([0, 1, 2, 3, 4, 5, 12].map(|w| Register(w).number()), [1, 9, 10, 11, 2, 13, 4]);
        assert_eq!(Register::of(0), None);
    }
}
