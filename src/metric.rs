//! The domain: what a device sends, and how it is read.
//!
//! In the order of the data: [`decode`] takes a body apart and `object` each metric of it, with
//! `common` what has the usual shape and with the scanners of `token` and `number` the rest; they
//! leave a [`batch`] of [`event`]s and [`rejection`]s. An event without a time gets one of `given`.
//! Under which [`key`] an event is stored follows from it.

pub mod batch;
mod common;
pub mod decode;
pub mod event;
mod fields;
mod given;
pub mod key;
pub mod malformed;
mod number;
mod object;
pub mod rejection;
pub mod timestamp;
mod token;
