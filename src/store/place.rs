//! Places: where a record is on its way to Redis, and what is learnt of it there.

use std::ops::Range;

/// The identity of a block in use: no other block of its core has had the number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockId {
    /// The core whose events it has.
    pub core: usize,
    /// Rises by one with each block of the core.
    pub number: u64,
}

/// The place of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The block that it is in.
    pub block: BlockId,
    /// The index of its entry there.
    pub entry: usize,
}

/// News of places, in the order in which they happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The store has confirmed the records at these entries of a block.
    Stored(BlockId, Range<usize>),
    /// The store has given up the records at these entries of a block.
    Dropped(BlockId, Range<usize>),
    /// The record at the first place was replaced by the one at the second.
    Replaced(Place, Place),
}
