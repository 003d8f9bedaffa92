//! The exposition of a server, read as text.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::http_client::{HttpClient, get};

/// The samples of an exposition by series, as it stands in the text: `name{label="value"}`.
pub fn scrape(address: SocketAddr) -> BTreeMap<String, f64> {
    let answer = HttpClient::connect(address).request(&get("/metrics/prometheus"));
    assert_eq!(answer.status, 200, "{answer:?}");
    let samples = answer.text().lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// The sum over all series of one name.
pub fn sum_of(samples: &BTreeMap<String, f64>, name: &str) -> f64 {
    let series = samples.iter().filter(|(series, _)| series.split('{').next() == Some(name));
    series.map(|(_, value)| value).sum()
}
