//! The exposition for Prometheus, in one of two formats.
//!
//! The crate's text encoder writes format 0.0.4, and its process collector adds `process_*`. The
//! crate has no OpenMetrics, so [`open_metrics`] writes that.

use crate::telemetry::family::{Collector, MetricFamily, ProcessCollector, TextEncoder};
use crate::telemetry::open_metrics;

/// A format that a scraper may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text, version 0.0.4.
    Text,
    /// OpenMetrics text, version 1.0.
    OpenMetrics,
}

impl Format {
    /// Chooses the format that an `Accept` header prefers; text without one.
    pub fn accepted_by(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if open_metrics::is_preferred(accept) => Self::OpenMetrics,
            _ => Self::Text,
        }
    }

    /// Returns the value of `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The writer of the exposition, which adds the metrics of the process.
#[derive(Debug)]
pub struct Exposition {
    process: ProcessCollector,
}

impl Default for Exposition {
    fn default() -> Self {
        Self { process: ProcessCollector::for_self() }
    }
}

impl Exposition {
    /// Writes the families that have series. Reads `/proc`, so it takes some hundred microseconds.
    pub fn write(&self, mut families: Vec<MetricFamily>, format: Format) -> String {
        families.extend(self.process.collect());
        families.retain(|family| !family.get_metric().is_empty());
        match format {
            // It fails only for a family without a name or series.
            Format::Text => TextEncoder::new().encode_to_string(&families).unwrap_or_default(),
            Format::OpenMetrics => open_metrics::write(&families),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_follows_the_scraper() {
        assert_eq!(Format::accepted_by(None), Format::Text);
        assert_eq!(Format::accepted_by(Some("*/*")), Format::Text);
        let asked = Format::accepted_by(Some("application/openmetrics-text;version=1.0.0"));
        assert_eq!(asked, Format::OpenMetrics);
        assert!(asked.content_type().starts_with("application/openmetrics-text; version=1.0.0"));
    }
}
