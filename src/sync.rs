//! The one door to the crates that this project shares memory with.
//!
//! A lock here is held for tens of nanoseconds, or nobody else wants it; whatever one core writes
//! often has a cache line of its own.

pub use crossbeam::utils::CachePadded;
pub use parking_lot::{Mutex, MutexGuard};
