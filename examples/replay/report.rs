//! The report of a run: events, answers and latencies of all connections.

use hdrhistogram::Histogram;
use sonic_rs::{JsonContainerTrait as _, JsonValueTrait as _, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use testkit::HttpResponse;

/// The counts of one connection, or of several after [`Report::add`].
pub(crate) struct Report {
    requests: u64,
    sent: u64,
    accepted: u64,
    rejected: u64,
    anomalies: u64,
    /// Failures by their text, so that a thousand of one kind are one line.
    failures: BTreeMap<String, u64>,
    latency_ns: Histogram<u64>,
}

impl Report {
    /// Makes an empty report. It keeps latencies to three digits, and those above a minute as a
    /// minute.
    pub(crate) fn new() -> Result<Self, String> {
        let latency_ns = Histogram::new_with_bounds(1, 60_000_000_000, 3);
        Ok(Self {
            requests: 0,
            sent: 0,
            accepted: 0,
            rejected: 0,
            anomalies: 0,
            failures: BTreeMap::new(),
            latency_ns: latency_ns.map_err(|e| e.to_string())?,
        })
    }

    /// Adds an answer to a body of `events`.
    pub(crate) fn add_answer(&mut self, events: usize, response: &HttpResponse, latency: Duration) {
        self.count_sent(events);
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.latency_ns.saturating_record(nanoseconds);
        let text = String::from_utf8_lossy(&response.body);
        match sonic_rs::from_slice::<Value>(&response.body) {
            Ok(answer) if response.status == 202 && answer.is_object() => {
                let count = |name: &str| answer.get(name).as_u64().unwrap_or(0);
                self.accepted += count("accepted");
                self.rejected += count("rejected");
                self.anomalies += count("anomalies");
                self.count_first_error(&answer);
            }
            _ => self.count_failure(format!("{} {}", response.status, truncate(&text))),
        }
    }

    /// Adds a body of `events` that got no answer.
    pub(crate) fn add_failure(&mut self, events: usize, error: &std::io::Error) {
        self.count_sent(events);
        self.count_failure(error.to_string());
    }

    fn count_sent(&mut self, events: usize) {
        self.requests += 1;
        self.sent += u64::try_from(events).unwrap_or(0);
    }

    fn count_failure(&mut self, text: String) {
        *self.failures.entry(text).or_default() += 1;
    }

    /// Counts the reason of the first rejected event, in addition to the failures of whole
    /// requests.
    fn count_first_error(&mut self, answer: &Value) {
        let errors = answer.get("errors").and_then(|errors| errors.as_array());
        if let Some(detail) = errors.and_then(|e| e.first()).and_then(|e| e.get("detail")) {
            let text = format!("rejected: {}", detail.as_str().unwrap_or("without detail"));
            self.count_failure(text);
        }
    }

    /// Adds the counts of another connection.
    pub(crate) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.sent += other.sent;
        self.accepted += other.accepted;
        self.rejected += other.rejected;
        self.anomalies += other.anomalies;
        for (text, count) in &other.failures {
            *self.failures.entry(text.clone()).or_default() += count;
        }
        // Both have the same bounds.
        let _ = self.latency_ns.add(&other.latency_ns);
    }

    /// Returns true if every request was answered with 202 and every event was accepted.
    pub(crate) fn is_clean(&self) -> bool {
        self.failures.is_empty() && self.rejected == 0 && self.accepted == self.sent
    }

    /// Returns the lines that are printed at the end.
    pub(crate) fn summary(&self, elapsed: Duration) -> Summary<'_> {
        Summary { report: self, elapsed }
    }
}

fn truncate(text: &str) -> String {
    text.chars().take(160).collect()
}

/// A report and the duration of its run.
pub(crate) struct Summary<'a> {
    report: &'a Report,
    elapsed: Duration,
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { requests, sent, accepted, rejected, anomalies, failures, latency_ns } =
            self.report;
        let seconds = self.elapsed.as_secs_f64();
        writeln!(f, "sent       {sent} events in {requests} requests, {seconds:.2} s")?;
        writeln!(f, "accepted   {accepted}")?;
        writeln!(f, "rejected   {rejected}")?;
        writeln!(f, "anomalies  {anomalies}")?;
        let rate = |count: u64| Duration::from_secs(count).as_secs_f64() / seconds;
        let (events, posts) = (rate(*sent), rate(*requests));
        writeln!(f, "rate       {events:.0} events/s, {posts:.0} requests/s")?;
        write!(f, "latency   ")?;
        for (name, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)] {
            let value = Duration::from_nanos(latency_ns.value_at_quantile(quantile));
            write!(f, " {name} {value:.1?},")?;
        }
        write!(f, " max {:.1?}", Duration::from_nanos(latency_ns.max()))?;
        for (text, count) in failures {
            write!(f, "\nfailed     {count} × {text}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(events: usize, status: u16, body: &str) -> Report {
        let mut report = Report::new().unwrap();
        let (reason, fields) = (String::new(), Vec::new());
        let response = HttpResponse { status, reason, fields, body: body.as_bytes().to_vec() };
        report.add_answer(events, &response, Duration::from_micros(250));
        report
    }

    #[test]
    fn only_a_run_in_which_everything_was_accepted_is_clean() {
        assert!(answered(2, 202, r#"{"accepted":2,"anomalies":1}"#).is_clean());
        assert!(!answered(2, 202, r#"{"accepted":1,"anomalies":0}"#).is_clean());
        assert!(!answered(1, 202, "accepted").is_clean());
        assert!(!answered(1, 503, r#"{"accepted":1}"#).is_clean());
        let rejected =
            r#"{"accepted":1,"rejected":1,"errors":[{"index":1,"detail":"cpu: missing"}]}"#;
        let text = answered(2, 202, rejected).summary(Duration::from_secs(1)).to_string();
        assert!(text.contains("1 × rejected: cpu: missing"), "{text}");
    }

    #[test]
    fn connections_are_summed() {
        let mut all = answered(2, 202, r#"{"accepted":2,"anomalies":1}"#);
        all.add(&answered(3, 202, r#"{"accepted":3,"anomalies":2}"#));
        let text = all.summary(Duration::from_secs(5)).to_string();
        assert!(text.starts_with("sent       5 events in 2 requests, 5.00 s\n"), "{text}");
        assert!(text.contains("anomalies  3\nrate       1 events/s"), "{text}");
        assert!(all.is_clean());
    }
}
