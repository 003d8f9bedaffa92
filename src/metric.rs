//! The domain: what a device sends, and how it is read.
//!
//! In the order of the data: [`decode`] takes a body apart, with `common` what has the usual shape
//! and with the scanners of `token` the rest, and leaves a [`batch`] of [`event`]s and
//! [`rejection`]s.

pub mod batch;
mod common;
pub mod decode;
pub mod event;
mod fields;
pub mod malformed;
pub mod rejection;
pub mod timestamp;
mod token;
