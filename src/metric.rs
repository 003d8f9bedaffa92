//! The domain: what a device sends, and how it is read.
//!
//! In the order of the data: [`decode`] takes a body apart and `object` each metric of it, with
//! `common` what has the usual shape and with the scanners of `token` and `number` the rest; they
//! leave a [`batch`] of [`event`]s and [`rejection`]s. An event without a time gets one of `given`.
//! Under which [`key`] an event is stored follows from it.

pub mod batch;
pub mod decode;
pub mod event;
mod event_builder;
mod fast_path;
pub mod json_error;
pub mod key;
mod number;
mod object;
pub mod rejection;
mod scan;
pub mod timestamp;
mod timestamp_generator;
