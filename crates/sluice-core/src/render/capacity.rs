//! Sizes of sets. With a declared size, the kernel uses a hash table of fixed size, which is faster to fill
//! and to read than one that grows. A full set is replaced by a larger one with another name, together with
//! the rules that use it, in one commit.
//!
//! A change adds elements before it deletes others, in separate commits, so a set must have room for its old
//! and its new elements together.

use sluice_nft::{Key, Set, SetFlags};

/// The smallest size, and the factor from each size to the next.
pub(super) const SMALLEST: u32 = 1024;
const STEP: u32 = 4;

/// A set that is this many times too large is replaced by a smaller one.
const SLACK: u32 = 64;

/// A set of this size is kept, however few elements it has: it may have replaced a full set of the smallest
/// size, and a replacement must not need another one.
const NEXT: u32 = SMALLEST * STEP;

/// The size for a number of elements; `None` if the set has a fixed size, or has intervals, for which the
/// kernel reserves no memory. `has_room` tells whether the existing set of a size has room for them beside
/// its current elements; `None`: there is no such set. An existing set is kept if it has room and is not far
/// too large; otherwise the smallest sufficient size is chosen.
pub(super) fn size(set: &Set, count: usize, has_room: impl Fn(u32) -> Option<bool>) -> Option<u32> {
    if set.size.is_some() || set.flags != SetFlags::Static {
        return None;
    }
    let holds = |size: u32| size as usize >= count;
    let suits = |size: u32| holds(size) && (size <= NEXT || (size / SLACK) as usize <= count);
    let is_kept = |size: &u32| suits(*size) && has_room(*size) == Some(true);
    let is_free = |size: &u32| holds(*size) && has_room(*size) != Some(false);
    Some(sizes().find(is_kept).or_else(|| sizes().find(is_free)).unwrap_or(u32::MAX))
}

/// Whether a set in the kernel has room for new keys beside its elements. A set with another declaration is
/// replaced, so it does not limit them.
pub(super) fn has_room(size: u32, held: &Set, count: usize, keys: impl Iterator<Item = Key>) -> bool {
    let room = (size as usize).saturating_sub(held.elements.len());
    held.size != Some(size)
        || count <= room
        || keys.filter(|key| !held.elements.contains_key(key)).count() <= room
}

fn sizes() -> impl Iterator<Item = u32> {
    std::iter::successors(Some(SMALLEST), |size| size.checked_mul(STEP))
}
