//! A light load of singles and batches, and what of it was acknowledged.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::http_client::{HttpClient, post};
use crate::redis::Redis;
use crate::wait::ANSWER_TIME_MAX;

/// Between two requests of a connection: the load is there to be hurt by faults, not to measure.
const PAUSE: Duration = Duration::from_millis(3);

/// One request in so many is a batch, and has so many events.
const BATCH_INTERVAL: u64 = 5;
const BATCH_EVENTS: u64 = 50;

/// Long ago, in milliseconds: what is late is stored all the same.
const FIRST_TIMESTAMP: u64 = 1_750_000_000_000;

/// The key and the value of a device's nth metric; the value is what is sent, too.
pub fn metric(device: &str, number: u64, cpu: &str) -> (String, String) {
    let time = FIRST_TIMESTAMP + number;
    let value = format!(r#"{{"timestamp":{time},"cpu":{cpu},"rps":1200,"device_id":"{device}"}}"#);
    (format!("metric:{device}:{time}"), value)
}

/// What keeps the metrics: a Redis, or several that are one to who writes.
pub trait MetricStore {
    /// The values of these keys, `None` for a key that it does not have.
    fn values_of(&mut self, keys: &[&str]) -> Vec<Option<String>>;
}

impl MetricStore for Redis {
    fn values_of(&mut self, keys: &[&str]) -> Vec<Option<String>> {
        self.values(keys.iter().copied())
    }
}

/// Events that were acknowledged, and what the last of each key said.
#[derive(Debug, Default)]
pub struct SentMetrics {
    pub events: u64,
    pub values: BTreeMap<String, String>,
}

impl SentMetrics {
    pub fn add(&mut self, key: String, value: String) {
        self.events += 1;
        self.values.insert(key, value);
    }

    /// The keys under which a keeper does not hold what was sent last.
    pub fn missing_from(&self, keeper: &mut impl MetricStore) -> Vec<String> {
        let keys: Vec<&str> = self.values.keys().map(String::as_str).collect();
        let found = keeper.values_of(&keys);
        let pairs = self.values.iter().zip(found);
        let missing = pairs.filter(|((_, sent), found)| found.as_ref() != Some(*sent));
        missing.map(|((key, _), _)| key.clone()).collect()
    }
}

#[derive(Debug, Default)]
struct Shared {
    sent: Mutex<SentMetrics>,
    acknowledged: AtomicU64,
    is_ending: AtomicBool,
}

impl Shared {
    fn add(&self, metrics: Vec<(String, String)>) {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        self.acknowledged.fetch_add(metrics.len() as u64, Ordering::SeqCst);
        for (key, value) in metrics {
            sent.add(key, value);
        }
    }
}

/// Devices that post until they are stopped, one a connection.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts as many; the name tells their keys from those of another load.
    pub fn start(address: SocketAddr, name: &str, connections: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let threads = (0..connections).map(|number| {
            let (shared, device) = (Arc::clone(&shared), format!("{name}-{number}"));
            thread::spawn(move || post_until_ended(address, &device, &shared))
        });
        Self { threads: threads.collect(), shared }
    }

    /// How many events have been acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::SeqCst)
    }

    /// Counts an event that somebody else has sent.
    pub fn record_sent(&self, key: String, value: String) {
        self.shared.add(vec![(key, value)]);
    }

    /// Ends it; answers what was acknowledged.
    pub fn stop(mut self) -> SentMetrics {
        self.shared.is_ending.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().expect("the load was answered");
        }
        std::mem::take(&mut self.shared.sent.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.is_ending.store(true, Ordering::SeqCst);
    }
}

fn post_until_ended(address: SocketAddr, device: &str, shared: &Shared) {
    let mut client = HttpClient::connect(address);
    let mut next = 1;
    for request in 1_u64.. {
        if shared.is_ending.load(Ordering::SeqCst) {
            return;
        }
        let events = if request.is_multiple_of(BATCH_INTERVAL) { BATCH_EVENTS } else { 1 };
        // Keys of their own, and one that every request writes anew: it shows the order.
        let mut metrics: Vec<_> =
            (next..next + events).map(|n| metric(device, n, "41.50")).collect();
        next += events;
        metrics.push(metric(device, 0, &request.to_string()));
        post_all(&mut client, &metrics);
        shared.add(metrics);
        thread::park_timeout(PAUSE);
    }
}

/// Posts them in one request, which has to be answered at once and with all accepted.
fn post_all(client: &mut HttpClient, metrics: &[(String, String)]) {
    let lines: Vec<&str> = metrics.iter().map(|(_, value)| value.as_str()).collect();
    let since = Instant::now();
    let answer = client.request(&post(lines.join("\n").as_bytes()));
    assert!(since.elapsed() < ANSWER_TIME_MAX, "a POST: {:?}", since.elapsed());
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.json()["accepted"], metrics.len(), "{answer:?}");
}
