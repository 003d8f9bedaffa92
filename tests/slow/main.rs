//! Slow tests: minutes of load, during which nothing may fail.
//!
//! `cargo nextest run --release --profile slow` runs them, one at a time, and prints what they
//! measured; the default profile leaves them out. `TEST_SECONDS` says how long each kind of load
//! lasts. What they measure decides nothing: the machine may be slow, but no request may be lost.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]

mod greedy;
mod idle_connections;
mod profiling;
mod soak;

use std::time::Duration;

use testkit::http_client::{metric, post_with};
use testkit::post;

/// Returns how long a kind of load lasts: `TEST_SECONDS`, or so long by default.
fn seconds(default: u64) -> Duration {
    let told = std::env::var("TEST_SECONDS").ok();
    Duration::from_secs(told.map_or(default, |text| text.parse().expect("a number of seconds")))
}

/// Returns a request with one metric of a device.
fn single_request() -> Vec<u8> {
    post(metric("device-0", 1_700_000_000).as_bytes())
}

/// Returns a request with so many metrics, each of a device of its own.
fn batch_request(events: usize) -> Vec<u8> {
    let line = |number| metric(&format!("device-{number}"), 1_700_000_000) + "\n";
    let lines: String = (0..events).map(line).collect();
    post_with("Content-Type: application/x-ndjson\r\n", lines.as_bytes())
}

/// Returns the value below which so many hundredths of these are.
fn percentile(values: &mut [f64], hundredths: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() * hundredths / 100).min(values.len() - 1)]
}

#[test]
fn of_a_hundred_values_the_last_is_the_99th_percentile() {
    let mut values: Vec<f64> = (1..=100_u8).rev().map(f64::from).collect();
    assert_eq!((percentile(&mut values, 50), percentile(&mut values, 99)), (51.0, 100.0));
}
