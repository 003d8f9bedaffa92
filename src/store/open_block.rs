//! The open block of a core: it takes the core's events until it is handed over to the writer to
//! Redis.

use crate::store::block::Block;

/// A block with what its core needs while it fills it.
#[derive(Debug)]
pub(super) struct OpenBlock {
    pub(super) block: Block,
    /// Events of `block` that are not counted as accepted yet.
    pub(super) uncounted: u64,
    /// Empty blocks that the request at hand may fill.
    pub(super) reserved: Vec<Block>,
}

impl OpenBlock {
    pub(super) const fn new(block: Block) -> Self {
        Self { block, uncounted: 0, reserved: Vec::new() }
    }
}
