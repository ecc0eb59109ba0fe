//! Sizes of sets. A set declared with a size is a hash table of fixed size in the kernel: faster to
//! fill and to read than one that grows by itself. When it is full, a larger one of
//! another name takes its place: the rules that use it are exchanged in one commit.
//!
//! A change adds before it deletes, in commits of their own, so a set must have room for what it holds and what it is
//! to hold together.

use sluice_nft::{Key, Set, SetFlags};

/// Size of a set that holds few elements, and what each next size is larger by.
pub(super) const SMALLEST: u32 = 1024;
const STEP: u32 = 4;

/// A set that is this many times too large is exchanged for a smaller one.
const SLACK: u32 = 64;

/// A set of this size stays, however few elements it holds: it may have replaced one of the smallest size that was full, and
/// an exchange must not ask for another one.
const NEXT: u32 = SMALLEST * STEP;

/// The size for a set of so many elements; `None`: it gets none by that, for it has one, or its elements are ranges, which
/// take no room before they are there. `has_room` says whether the set of a size that is there can hold them beside
/// those that it holds now; `None`: there is no such set. One that has room and is not far too large stays; otherwise it
/// is the smallest size that they fit in.
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

/// Whether a set that the kernel holds has room for so many keys beside those in it. One with another declaration is not
/// filled, but replaced.
pub(super) fn has_room(size: u32, held: &Set, count: usize, keys: impl Iterator<Item = Key>) -> bool {
    let room = (size as usize).saturating_sub(held.elements.len());
    held.size != Some(size)
        || count <= room
        || keys.filter(|key| !held.elements.contains_key(key)).count() <= room
}

fn sizes() -> impl Iterator<Item = u32> {
    std::iter::successors(Some(SMALLEST), |size| size.checked_mul(STEP))
}
