//! Requests for a page of a server, one after the other.

use crate::generator::Latency;
use crate::measurement::PageLoad;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use testkit::{HttpClient, get};

/// Requests a page at fixed times until `is_over`, at least once.
pub fn request_until(
    address: SocketAddr,
    path: &str,
    per_second: u32,
    is_over: &AtomicBool,
) -> Result<PageLoad, String> {
    let mut client = HttpClient::connect(address);
    let (start, mut took) = (Instant::now(), Vec::new());
    for count in 1.. {
        took.push(request(&mut client, path)?);
        if is_over.load(Ordering::Relaxed) {
            return Ok(PageLoad { count, latency_us: percentiles(took) });
        }
        let due = start + Duration::from_secs(1) / per_second * count;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Err("more requests than can be counted".to_owned())
}

/// Requests a page so often, each time after the answer to the time before.
pub fn request_in_turn(address: SocketAddr, path: &str, count: u32) -> Result<(), String> {
    let mut client = HttpClient::connect(address);
    (0..count).try_for_each(|_| request(&mut client, path).map(|_| ()))
}

/// Returns the microseconds until the answer, which must be 200.
fn request(client: &mut HttpClient, path: &str) -> Result<f64, String> {
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
    let [p50, p90, p99, p999, max] = [500, 900, 990, 999, 1000].map(per_thousand);
    Latency { p50, p90, p99, p999, max }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_those_that_came() {
        let Latency { p50, p90, p99, p999, max } = percentiles((1..=100).map(f64::from).collect());
        assert_eq!([p50, p90, p99, p999, max], [50.0, 90.0, 99.0, 100.0, 100.0]);
    }
}
