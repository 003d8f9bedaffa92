//! Fuzzes the parser of request heads.
#![no_main]
#![allow(dead_code, unreachable_pub, reason = "not every target uses all of a file")]

#[path = "../../percore/tests/invariants/grammar.rs"]
mod grammar;
#[path = "../../percore/tests/invariants/head.rs"]
mod head;
#[path = "../../percore/tests/invariants/receive.rs"]
mod receive;

libfuzzer_sys::fuzz_target!(|data: &[u8]| head::check(data));
