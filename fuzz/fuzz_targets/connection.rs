//! Fuzzes whole connections: requests, their framing and their bodies, in any pieces.
#![no_main]
#![allow(dead_code, unreachable_pub, reason = "not every target uses all of a file")]

#[path = "../../percore/tests/invariants/connection.rs"]
mod connection;
#[path = "../../percore/tests/invariants/grammar.rs"]
mod grammar;
#[path = "../../percore/tests/invariants/receive.rs"]
mod receive;

libfuzzer_sys::fuzz_target!(|data: &[u8]| connection::check(data));
