//! The domain: what a device sends, and how it is read.

pub mod event;
