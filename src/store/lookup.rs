//! The result of looking a key up in the store.

/// The result of a look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupResult {
    /// The value was appended to the caller's buffer.
    Found,
    /// The key was never stored, has expired, was evicted, or is hidden because a newer version was
    /// evicted.
    Absent,
    /// The store cannot be asked now.
    Unavailable,
}
