//! Jenkins' lookup3 hash as in the kernel, to predict the slot that `jhash` picks for a client.

/// Hash of `data`; `seed` is the initial value. The hash depends on the byte order of the machine.
///
/// Source: include/linux/jhash.h.
pub fn jhash(data: &[u8], seed: u32) -> u32 {
    let start = 0xdead_beef_u32.wrapping_add(data.len() as u32).wrapping_add(seed);
    let [mut a, mut b, mut c] = [start; 3];
    let mut rest = data;
    while rest.len() > 12 {
        let (block, tail) = rest.split_at(12);
        a = a.wrapping_add(word(&block[..4]));
        b = b.wrapping_add(word(&block[4..8]));
        c = c.wrapping_add(word(&block[8..]));
        (a, b, c) = mix(a, b, c);
        rest = tail;
    }
    if rest.is_empty() {
        return c;
    }
    // The kernel reads whole blocks in host order but assembles the last one as little endian.
    let mut last = [0; 12];
    last[..rest.len()].copy_from_slice(rest);
    let last = |at: usize| u32::from_le_bytes([last[at], last[at + 1], last[at + 2], last[at + 3]]);
    finish(a.wrapping_add(last(0)), b.wrapping_add(last(4)), c.wrapping_add(last(8)))
}

/// Scales a hash or a random number to `0..modulus`.
///
/// Source: `reciprocal_scale` in include/linux/kernel.h.
pub fn reciprocal_scale(value: u32, modulus: u32) -> u32 {
    ((u64::from(value) * u64::from(modulus)) >> 32) as u32
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_ne_bytes(bytes.try_into().expect("a block has three words of four bytes"))
}

fn mix(mut a: u32, mut b: u32, mut c: u32) -> (u32, u32, u32) {
    for (first, second, third) in [(4, 6, 8), (16, 19, 4)] {
        a = a.wrapping_sub(c) ^ c.rotate_left(first);
        c = c.wrapping_add(b);
        b = b.wrapping_sub(a) ^ a.rotate_left(second);
        a = a.wrapping_add(c);
        c = c.wrapping_sub(b) ^ b.rotate_left(third);
        b = b.wrapping_add(a);
    }
    (a, b, c)
}

fn finish(mut a: u32, mut b: u32, mut c: u32) -> u32 {
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    (c ^ b).wrapping_sub(b.rotate_left(24))
}

#[cfg(test)]
mod tests {
    use super::{jhash, reciprocal_scale};

    #[cfg(target_endian = "little")]
    #[test]
    fn hashes_of_all_lengths_are_the_kernels() {
        let data: Vec<u8> = (0..40_u8).map(|n| n.wrapping_mul(37).wrapping_add(1)).collect();
        // From the kernel's C function, compiled for x86-64.
        for (length, hash) in [
            (0, 0xdeae_e234),
            (1, 0x5703_b261),
            (2, 0x6cd5_79c8),
            (4, 0x34fe_df94),
            (8, 0xe050_9dde),
            (11, 0x0ccf_e6a9),
            (12, 0x7124_8edc),
            (13, 0x027c_ae34),
            (16, 0x367f_10fc),
            (20, 0x9e4c_8ba0),
            (24, 0x63c5_c460),
            (25, 0xee20_9c4e),
            (40, 0xc3c5_0409),
        ] {
            assert_eq!(jhash(&data[..length], 0x12345), hash, "{length} bytes");
        }
    }

    #[test]
    fn numbers_are_scaled_to_the_whole_range() {
        assert_eq!(
            [0, u32::MAX / 2, u32::MAX / 2 + 1, u32::MAX].map(|n| reciprocal_scale(n, 10)),
            [0, 4, 5, 9]
        );
        assert_eq!(reciprocal_scale(u32::MAX, 1), 0);
    }
}
