//! Registers: sixteen words of four bytes.

/// The first word of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Register(u8);

impl Register {
    /// The first word, register 1 in the kernel.
    pub(crate) const FIRST: Register = Register(0);

    const WORDS: usize = 16;

    /// The register `words` words later.
    pub(crate) fn plus(self, words: usize) -> Register {
        Register(self.0.saturating_add(words as u8))
    }

    /// Whether a value of this many words fits at this register.
    pub(crate) fn fits(self, words: usize) -> bool {
        usize::from(self.0) + words <= Self::WORDS
    }

    /// Its number in a message: every fourth word also has one of the numbers 1 to 4, which nft and the
    /// kernel prefer (`NFT_REG_1`, `NFT_REG32_00`).
    pub(crate) fn number(self) -> u32 {
        let word = u32::from(self.0);
        if word.is_multiple_of(4) { 1 + word / 4 } else { 8 + word }
    }

    /// The register with this number; `None` for the verdict register and unknown numbers.
    pub(crate) fn of(number: u32) -> Option<Register> {
        match number {
            1..=4 => Some(Register((number as u8 - 1) * 4)),
            8..=23 => Some(Register(number as u8 - 8)),
            _ => None,
        }
    }
}

/// Number of words of a value of `width` bytes.
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
