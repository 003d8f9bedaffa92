//! Fuzzes the decoder of metrics.
#![no_main]
#![allow(dead_code, unreachable_pub, reason = "not every target uses all of a file")]

#[path = "../../tests/invariants/metric.rs"]
mod metric;

libfuzzer_sys::fuzz_target!(|data: &[u8]| metric::check(data));
