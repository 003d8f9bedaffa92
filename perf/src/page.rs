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
            return Ok(PageLoad { count, latency_us: Latency::of(took.into_iter()) });
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

/// Returns the nanoseconds until the answer, which must be 200.
fn request(client: &mut HttpClient, path: &str) -> Result<u64, String> {
    let start = Instant::now();
    let answer = client.request(&get(path));
    let took = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    if answer.status == 200 { Ok(took) } else { Err(format!("{path}: {answer:?}")) }
}
