//! Fuzzes connections with TLS: their first bytes, and what comes in records with the right keys.
#![no_main]

#[path = "../../percore/tests/invariants/tls.rs"]
mod tls;

libfuzzer_sys::fuzz_target!(|data: &[u8]| tls::check(data));
