//! Fuzzes the decoder of metrics, for the usual schema and others.
#![no_main]
#![allow(dead_code, unreachable_pub, reason = "not every target uses all of a file")]

#[path = "../../tests/decode_naive/by_schema.rs"]
mod by_schema;
#[path = "../../tests/decode_naive/invariants.rs"]
mod metric;
#[path = "../../tests/decode_naive/naive.rs"]
mod naive;

libfuzzer_sys::fuzz_target!(|data: &[u8]| metric::check(data));
