//! The output of the decoders: the decoded bytes, and the limits under which they are decoded.

/// The reason for which a coded body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The body is not of its coding, damaged, or cut short.
    Malformed,
    /// The decoded body is longer than the cap.
    TooLarge,
    /// There are more gzip members or zstd frames than [`MEMBERS_MAX`], or more blocks than
    /// [`DEFLATE_BLOCKS_MAX`] or [`ZSTD_BLOCKS_MAX`].
    ///
    /// [`MEMBERS_MAX`]: crate::limits::MEMBERS_MAX
    /// [`DEFLATE_BLOCKS_MAX`]: crate::limits::DEFLATE_BLOCKS_MAX
    /// [`ZSTD_BLOCKS_MAX`]: crate::limits::ZSTD_BLOCKS_MAX
    TooManyMembers,
}

/// The output of one body's decoding.
#[derive(Debug)]
pub(super) struct Output<'p> {
    /// The decoded bytes so far.
    pub(super) plain: &'p mut Vec<u8>,
    /// The most bytes that they may become.
    pub(super) bytes_max: usize,
    /// The number of blocks that may still be decoded.
    pub(super) blocks_left: usize,
}

impl Output<'_> {
    /// Returns the number of bytes that may still be decoded: one more than is allowed, to tell a
    /// full body from one that goes on.
    pub(super) const fn room(&self) -> usize {
        self.bytes_max.saturating_sub(self.plain.len()).saturating_add(1)
    }

    /// Counts a block that is about to be decoded.
    pub(super) fn take_block(&mut self) -> Result<(), DecodeError> {
        let left = self.blocks_left.checked_sub(1).ok_or(DecodeError::TooManyMembers)?;
        self.blocks_left = left;
        Ok(())
    }
}
