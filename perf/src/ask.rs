//! Requests for a page of a server, one after the other.

use crate::drive::Latency;
use crate::measurement::Asked;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use testkit::{HttpClient, get};

/// Asks for a page at fixed times until `is_over`, at least once.
pub fn ask_until(
    address: SocketAddr,
    path: &str,
    per_second: u32,
    is_over: &AtomicBool,
) -> Result<Asked, String> {
    let mut client = HttpClient::connect(address);
    let (start, mut took) = (Instant::now(), Vec::new());
    let mut count = 0;
    loop {
        took.push(ask(&mut client, path)?);
        count += 1;
        if is_over.load(Ordering::Relaxed) {
            return Ok(Asked { count, latency_us: percentiles(took) });
        }
        let due = start + Duration::from_secs(1) / per_second * count;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

/// Asks so often, each time after the answer to the time before.
pub fn ask_in_turn(address: SocketAddr, path: &str, count: u32) -> Result<(), String> {
    let mut client = HttpClient::connect(address);
    (0..count).try_for_each(|_| ask(&mut client, path).map(|_| ()))
}

/// Returns the microseconds until the answer, which must be 200.
fn ask(client: &mut HttpClient, path: &str) -> Result<f64, String> {
    let start = Instant::now();
    let answer = client.request(&get(path));
    let took = start.elapsed().as_secs_f64() * 1e6;
    if answer.status == 200 { Ok(took) } else { Err(format!("{path}: {answer:?}")) }
}

fn percentiles(mut took: Vec<f64>) -> Latency {
    took.sort_by(f64::total_cmp);
    let per_thousand = |share: usize| {
        let at = (took.len() * share).div_ceil(1000).saturating_sub(1);
        took.get(at).copied().unwrap_or(f64::NAN)
    };
    Latency {
        p50: per_thousand(500),
        p90: per_thousand(900),
        p99: per_thousand(990),
        p999: per_thousand(999),
        max: per_thousand(1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_those_that_came() {
        let latency = percentiles((1..=100).map(f64::from).rev().collect());
        let Latency { p50, p90, p99, p999, max } = latency;
        assert_eq!([p50, p90, p99, p999, max], [50.0, 90.0, 99.0, 100.0, 100.0]);
        assert_eq!(percentiles(vec![7.0]).p50, 7.0);
    }
}
