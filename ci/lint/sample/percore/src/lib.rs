//! Another crate.
pub struct Buffer;
