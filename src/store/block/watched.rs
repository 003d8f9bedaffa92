//! The identity of a block, and what those who wait for its records need to know of it.

use super::Block;
use crate::store::place::BlockId;

impl Block {
    /// Returns the identity of the block among those of its core.
    pub const fn id(&self) -> BlockId {
        self.id
    }

    /// Sets the identity.
    pub const fn set_id(&mut self, id: BlockId) {
        self.id = id;
    }

    /// Notes that requests may wait for its records.
    pub const fn set_awaited(&mut self) {
        self.is_awaited = true;
    }

    /// Returns true if requests may wait for its records.
    pub const fn is_awaited(&self) -> bool {
        self.is_awaited
    }

    /// Returns the number of its entries, those of dead records included.
    pub const fn entries(&self) -> usize {
        self.entries.len()
    }

    /// Returns the entries of the record that was replaced last, and of the one that replaced it.
    pub const fn replaced(&self) -> (usize, usize) {
        self.replaced
    }

    /// Returns the entries of dead records from the entry at `from` on.
    pub fn dead_from(&self, from: usize) -> impl Iterator<Item = usize> {
        let entries = self.entries.iter().enumerate().skip(from);
        entries.filter(|(_, entry)| !entry.live).map(|(index, _)| index)
    }
}
