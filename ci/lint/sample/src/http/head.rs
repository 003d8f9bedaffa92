//! Reaches a sibling by what the parent re-exports.
use super::Body;
pub struct Head;
