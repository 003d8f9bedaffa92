//! A light load of singles and batches, and the part of it that was acknowledged.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::http_client::{HttpClient, post};
use crate::load_loop::LoadLoop;
use crate::redis::Redis;
use crate::wait::ANSWER_TIME_MAX;

/// The pause between two requests of a connection: the load is there to be hurt by faults, not to
/// measure.
const PAUSE: Duration = Duration::from_millis(3);

/// One request in so many is a batch, and has so many events.
const BATCH_INTERVAL: u64 = 5;
const BATCH_EVENTS: u64 = 50;

/// A time long ago, in milliseconds: late metrics are stored all the same.
const FIRST_TIMESTAMP: u64 = 1_750_000_000_000;

/// Returns the key and the value of a device's nth metric; the value is sent as it is.
pub fn metric(device: &str, number: u64, cpu: &str) -> (String, String) {
    let time = FIRST_TIMESTAMP + number;
    let value = format!(r#"{{"timestamp":{time},"cpu":{cpu},"rps":1200,"device_id":"{device}"}}"#);
    (format!("metric:{device}:{time}"), value)
}

/// A place where metrics are stored: a Redis, or several that act as one.
pub trait MetricStore {
    /// Returns the values of these keys, `None` for a key that it does not have.
    fn values_of(&mut self, keys: &[&str]) -> Vec<Option<String>>;
}

impl MetricStore for Redis {
    fn values_of(&mut self, keys: &[&str]) -> Vec<Option<String>> {
        self.values(keys.iter().copied())
    }
}

/// Metrics that were acknowledged.
#[derive(Debug, Default)]
pub struct SentMetrics {
    /// The number of the metrics.
    pub events: u64,
    /// The last value of each key.
    pub values: BTreeMap<String, String>,
}

impl SentMetrics {
    /// Adds an event.
    pub fn add(&mut self, key: String, value: String) {
        self.events += 1;
        self.values.insert(key, value);
    }

    /// Returns the keys of which a store does not hold the last value.
    pub fn missing_from(&self, keeper: &mut impl MetricStore) -> Vec<String> {
        let keys: Vec<&str> = self.values.keys().map(String::as_str).collect();
        let found = keeper.values_of(&keys);
        let pairs = self.values.iter().zip(found);
        let missing = pairs.filter(|((_, sent), found)| found.as_ref() != Some(*sent));
        missing.map(|((key, _), _)| key.clone()).collect()
    }
}

/// Devices that post until they are stopped, one a connection.
#[derive(Debug)]
pub struct MetricLoad {
    sent: Arc<Mutex<SentMetrics>>,
    load: LoadLoop,
}

impl MetricLoad {
    /// Starts so many devices; the name tells their keys from those of another load.
    pub fn start(address: SocketAddr, name: &str, connections: usize) -> Self {
        let sent = Arc::<Mutex<SentMetrics>>::default();
        let devices = (0..connections).map(|number| {
            let (sent, device) = (Arc::clone(&sent), format!("{name}-{number}"));
            let (mut client, mut request, mut next) = (HttpClient::connect(address), 0_u64, 1);
            move || {
                request += 1;
                let events = if request.is_multiple_of(BATCH_INTERVAL) { BATCH_EVENTS } else { 1 };
                // Keys of their own, and one that every request writes anew: it shows the order.
                let mut metrics: Vec<_> =
                    (next..next + events).map(|n| metric(&device, n, "41.50")).collect();
                next += events;
                metrics.push(metric(&device, 0, &request.to_string()));
                post_all(&mut client, &metrics);
                add_all(&sent, metrics);
                thread::park_timeout(PAUSE);
                1
            }
        });
        Self { load: LoadLoop::start(devices), sent }
    }

    /// Returns the number of events that have been acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).events
    }

    /// Counts an event that the test itself has sent.
    pub fn add_sent(&self, key: String, value: String) {
        add_all(&self.sent, vec![(key, value)]);
    }

    /// Ends it, and returns what was acknowledged.
    pub fn stop(self) -> SentMetrics {
        self.load.stop();
        std::mem::take(&mut self.sent.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn add_all(sent: &Mutex<SentMetrics>, metrics: Vec<(String, String)>) {
    let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
    metrics.into_iter().for_each(|(key, value)| sent.add(key, value));
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
