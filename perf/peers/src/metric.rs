//! Metrics parsed into a struct that borrows, as a body of one object, an array or NDJSON.
//!
//! Once with sonic-rs and once with `serde_json`; only syntax and types are checked.

use serde::Deserialize;
use std::hint::black_box;

/// One metric. A device id with an escape in it is refused: a server has no such ids.
#[derive(Debug, Deserialize, PartialEq)]
pub struct Metric<'a> {
    /// The id of the device that sent it.
    pub device_id: Option<&'a str>,
    /// In whatever unit of time.
    pub timestamp: Option<u64>,
    /// A load.
    pub cpu: f64,
    /// Requests a second.
    pub rps: f64,
}

/// Which parser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Json {
    /// sonic-rs.
    Sonic,
    /// `serde_json`.
    Serde,
}

impl Json {
    /// The number of metrics in `body`; `None` if it is not made of metrics alone.
    #[must_use]
    pub fn count(self, body: &[u8]) -> Option<usize> {
        let is_array = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
        match (self, is_array) {
            // Its stream ends with an error where the body ends: each line for itself.
            (Self::Sonic, false) => each(lines(body).map(sonic_rs::from_slice::<Metric>)),
            (Self::Serde, false) => each(serde_json::Deserializer::from_slice(body).into_iter()),
            (Self::Sonic, true) => {
                let metrics: Vec<Metric> = sonic_rs::from_slice(body).ok()?;
                Some(black_box(metrics).len())
            }
            (Self::Serde, true) => {
                let metrics: Vec<Metric> = serde_json::from_slice(body).ok()?;
                Some(black_box(metrics).len())
            }
        }
    }
}

/// The lines that are not blank; an object has to be on one of them.
fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = memchr::memchr_iter(b'\n', body).chain([body.len()]);
    let mut start = 0;
    let all = ends.map(move |end| &body[std::mem::replace(&mut start, end + 1)..end]);
    all.filter(|line| !line.trim_ascii().is_empty())
}

/// Counts one after the other, and has the compiler believe that somebody looks at them.
fn each<'a, E>(metrics: impl Iterator<Item = Result<Metric<'a>, E>>) -> Option<usize> {
    let mut count = 0;
    for metric in metrics {
        black_box(metric.ok()?);
        count += 1;
    }
    (count > 0).then_some(count)
}

/// The type of every answer.
pub const CONTENT_TYPE: &str = "application/json";

/// The body of the answer for so many metrics.
#[must_use]
pub fn acknowledgement(accepted: usize) -> String {
    format!("{{\"accepted\":{accepted},\"anomalies\":0}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = r#"{"device_id":"d-1","timestamp":1700000000,"cpu":1.5,"rps":2}"#;

    #[test]
    fn every_form_of_a_body_is_counted() {
        for json in [Json::Sonic, Json::Serde] {
            assert_eq!(json.count(ONE.as_bytes()), Some(1), "{json:?}");
            assert_eq!(json.count(br#"{"cpu":1,"rps":2,"more":[{}]}"#), Some(1), "{json:?}");
            assert_eq!(json.count(format!("{ONE}\n{ONE}\n").as_bytes()), Some(2), "{json:?}");
            assert_eq!(json.count(format!(" [{ONE},{ONE},{ONE}]").as_bytes()), Some(3), "{json:?}");
        }
    }

    #[test]
    fn what_is_no_metric_is_refused() {
        for json in [Json::Sonic, Json::Serde] {
            for body in ["", "{", "{}", r#"{"cpu":"1","rps":2}"#, r#"{"cpu":1,"rps":2}x"#, "[1]"] {
                assert_eq!(json.count(body.as_bytes()), None, "{json:?} {body}");
            }
        }
    }
}
