//! Blocks of records that come from a spill: they are encoded when they are sent.

use super::{Block, RecordEntry};
use crate::store::encoding::Layout;

impl Block {
    /// Appends a record of a spill, which ends at this monotonic time. The block has only such
    /// records, and they are encoded when they are sent.
    pub fn append_recovered(&mut self, key: &[u8], value: &[u8], deadline_ns: u64) {
        self.has_deadlines = true;
        let (start, end) = (self.end, self.end + key.len() + value.len());
        if self.data.len() < end {
            self.data.resize(end, 0);
        }
        for (place, byte) in self.data.iter_mut().skip(start).zip(key.iter().chain(value)) {
            *place = *byte;
        }
        self.end = end;
        let length = |length: usize| u16::try_from(length).unwrap_or(u16::MAX);
        let layout = Layout {
            len: length(key.len() + value.len()),
            key_at: 0,
            key_len: length(key.len()),
            value_at: length(key.len()),
            value_len: length(value.len()),
        };
        let start = u32::try_from(start).unwrap_or(u32::MAX);
        // Any hash is as good, as the block has no other records.
        let hash = key.iter().fold(0_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3).rotate_left(5)
        });
        let entry = RecordEntry { hash, entered_ns: deadline_ns, start, layout, live: true };
        if (self.entries.len() + 1) * 2 > self.table.len() {
            self.grow_table();
        }
        let (slot, found) = self.find(&entry);
        match found.and_then(|older| self.entries.get_mut(older)) {
            Some(older) => {
                older.live = false;
                self.coalesced += 1;
            }
            None => self.live += 1,
        }
        self.set_slot(slot, self.entries.len());
        self.entries.push(entry);
    }

    /// Returns true if the times of its records are those at which they end.
    pub const fn has_deadlines(&self) -> bool {
        self.has_deadlines
    }
}
