//! Fuzzes the codings of bodies.
#![no_main]
#![allow(unreachable_pub, reason = "a target is a crate of its own")]

#[path = "../../percore/tests/invariants/coding.rs"]
mod coding;

libfuzzer_sys::fuzz_target!(|data: &[u8]| coding::check(data));
