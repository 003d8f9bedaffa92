//! Fuzzes the parser of request heads.
#![no_main]
#![allow(dead_code, unreachable_pub, reason = "not every target uses all of a file")]

#[path = "../../tests/invariants/grammar.rs"]
mod grammar;
#[path = "../../tests/invariants/head.rs"]
mod head;
#[path = "../../tests/invariants/receive.rs"]
mod receive;

libfuzzer_sys::fuzz_target!(|data: &[u8]| head::check(data));
