//! The metrics of TLS, which an instance has that speaks it.

use std::iter::zip;

use crate::telemetry::counters::CoreTotals;
use crate::telemetry::family::{MetricFamily, Series, counter, gauge, single};
use percore::observer::{HandshakeOutcome, TlsVersion};

/// Returns the metrics, for a certificate that expires at this time.
pub(super) fn families(counters: &CoreTotals, expires_unix_s: i64) -> Vec<MetricFamily> {
    vec![
        counter(
            "corepulse_tls_handshakes_total",
            "TLS handshakes, by how they ended; those that were not done have no version.",
            handshakes(counters),
        ),
        gauge(
            "corepulse_tls_connections",
            "Open connections whose TLS handshake is done.",
            single(counters.tls_connections()),
        ),
        counter(
            "corepulse_tls_truncated_total",
            "TLS connections that the client has ended without saying so inside of TLS.",
            single(counters.tls_truncated),
        ),
        gauge(
            "corepulse_tls_certificate_expiry_timestamp_seconds",
            "Time at which the first of the server's certificates expires, since 1970.",
            single(expires_unix_s as f64),
        ),
    ]
}

fn handshakes(counters: &CoreTotals) -> Vec<Series> {
    let labels = |outcome: HandshakeOutcome, version: &str| {
        vec![("outcome", outcome.name().to_owned()), ("version", version.to_owned())]
    };
    let mut series = Vec::new();
    for (outcome, versions) in zip(HandshakeOutcome::ALL, counters.handshakes) {
        let failed = counters.handshakes_failed.get(outcome.index()).copied().unwrap_or_default();
        if matches!(outcome, HandshakeOutcome::Full | HandshakeOutcome::Resumed) {
            let of_version = zip(TlsVersion::ALL, versions);
            series.extend(
                of_version.map(|(version, done)| (labels(outcome, version.name()), done.into())),
            );
        } else {
            series.push((labels(outcome, "none"), failed.into()));
        }
    }
    series
}
