//! Device metrics: the domain types, and the decoder of request bodies.
//!
//! In the order of the data: [`decode`] reads a body, and `object` each metric in it. `fast_path`
//! reads metrics of the usual shape; the scanners of `scan` and `number` read the rest.
//! `line_reader` and `row_reader` read the lines of [`line_protocol`] and the rows of [`csv`], each
//! with a fast path of its own. All fill a [`batch`] of [`event`]s and [`rejection`]s. An event
//! that was sent without a timestamp gets one from `timestamp_generator`. [`key`] tells which keys
//! an event may be stored under, [`id_hash`] has the hash of its device; [`short_text`] copies
//! parts of an event.

pub mod batch;
pub mod csv;
pub mod decode;
pub mod device_id;
pub mod event;
mod event_builder;
mod event_writer;
mod fast_path;
pub mod header_error;
pub mod id_hash;
pub mod json_error;
pub mod key;
mod line_fast_path;
pub mod line_protocol;
mod line_reader;
pub mod member;
mod member_table;
pub mod number;
mod object;
pub mod rejection;
pub mod restriction;
mod row_fast_path;
mod row_reader;
mod scan;
pub mod short_text;
pub mod shown_id;
pub mod span;
pub mod timestamp;
mod timestamp_generator;
mod unusual_number;
mod usual_number;
mod word;
