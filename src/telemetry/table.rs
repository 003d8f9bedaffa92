//! The table of all metrics: names, types, labels and help, each once.
//!
//! Names follow the practice of Prometheus: one prefix, base units as the last word, `_total` on
//! counters. `process_*` come from the `prometheus` crate and stand in no table of ours.

/// What a metric does over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, but for a restart.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Cumulative buckets with a sum and a count.
    Histogram,
}

/// The base unit that a name ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A count, or the unit of what devices send.
    None,
    /// `_seconds`.
    Seconds,
    /// `_bytes`.
    Bytes,
    /// `_ratio`, 0 to 1.
    Ratio,
}

impl Unit {
    /// The word in names and in OpenMetrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
            Self::Ratio => "ratio",
        }
    }
}

/// One row: a metric family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// The name in the text exposition.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its base unit.
    pub unit: Unit,
    /// The names of its labels, in the order of their values.
    pub labels: &'static [&'static str],
    /// One sentence for people.
    pub help: &'static str,
}

macro_rules! table {
    ($($row:ident: $kind:ident $unit:ident $name:literal $labels:tt $help:literal;)*) => {
        $(
            #[doc = concat!("`", $name, "`: ", $help)]
            pub const $row: Metric = Metric {
                name: $name,
                kind: Kind::$kind,
                unit: Unit::$unit,
                labels: &$labels,
                help: $help,
            };
        )*
        /// Every row, in the order of the exposition.
        pub const TABLE: &[Metric] = &[$($row),*];
    };
}

table! {
    EVENTS_ACCEPTED: Counter None "corepulse_events_accepted_total" []
        "Events acknowledged: applied to the analytics and queued for the store.";
    EVENTS_REJECTED: Counter None "corepulse_events_rejected_total" ["reason"]
        "Events refused, by what was wrong with them.";
    EVENTS_LATE: Counter None "corepulse_events_late_total" []
        "Events accepted although older than the store keeps them.";
    ANOMALIES: Counter None "corepulse_anomalies_total" ["field"]
        "Values further from their window's mean than the threshold.";
    ANOMALY_EPISODES: Counter None "corepulse_anomaly_episodes_total" ["field"]
        "Runs of anomalies of one series and field that were closer than the cooldown.";
    ROLLING_AVERAGE: Gauge None "corepulse_rolling_average" ["field"]
        "Mean of the instance's window; NaN before the first event.";
    DEVICES: Gauge None "corepulse_devices" []
        "Devices that have a window of their own.";
    DEVICES_MAX: Gauge None "corepulse_devices_max" []
        "Devices that may have a window of their own.";
    DEVICES_REFUSED: Counter None "corepulse_devices_refused_total" []
        "Events of devices that got no window of their own, as too many others had one.";
    HTTP_REQUESTS: Counter None "corepulse_http_requests_total" ["route", "status"]
        "Requests answered.";
    HTTP_REQUEST_DURATION: Histogram Seconds "corepulse_http_request_duration_seconds" ["route"]
        "Time from a readable socket to the answer in the kernel's hands.";
    CONNECTIONS: Gauge None "corepulse_connections" ["core"]
        "Open connections.";
    CONNECTIONS_MAX: Gauge None "corepulse_connections_max" []
        "Connections that may be open at once.";
    CONNECTIONS_OPENED: Counter None "corepulse_connections_opened_total" []
        "Connections accepted.";
    CONNECTIONS_CLOSED: Counter None "corepulse_connections_closed_total" ["reason"]
        "Connections ended, by why.";
    STORE_UP: Gauge None "corepulse_store_up" []
        "Whether the store takes records now: 1 or 0.";
    STORE_PENDING: Gauge None "corepulse_store_pending" []
        "Events accepted that have no outcome yet.";
    STORE_PENDING_BYTES: Gauge Bytes "corepulse_store_pending_bytes" []
        "Memory of the events that wait for the store.";
    STORE_CAPACITY_BYTES: Gauge Bytes "corepulse_store_capacity_bytes" []
        "Bound of the store's queue or, in memory, of the store itself.";
    STORE_STORED: Counter None "corepulse_store_stored_total" []
        "Events that the store has confirmed.";
    STORE_COALESCED: Counter None "corepulse_store_coalesced_total" []
        "Events replaced by a newer one of their key while they waited.";
    STORE_DROPPED: Counter None "corepulse_store_dropped_total" ["reason"]
        "Events acknowledged and then lost, by why.";
    STORE_EVICTED: Counter None "corepulse_store_evicted_total" ["reason"]
        "Records that left the embedded store, by why.";
    STORE_ERRORS: Counter None "corepulse_store_errors_total" ["kind"]
        "Errors of the store, by kind.";
    STORE_FLUSH_DURATION: Histogram Seconds "corepulse_store_flush_duration_seconds" []
        "Time from a block's first byte sent to its last reply.";
    STORE_RECONNECTS: Counter None "corepulse_store_reconnects_total" []
        "Connections to the store made after the first.";
    CORE_BUSY_RATIO: Gauge Ratio "corepulse_core_busy_ratio" ["core"]
        "Share of the time since an earlier scrape that a core was not waiting for events.";
    BUILD_INFO: Gauge None "corepulse_build_info" ["version", "commit"]
        "Always 1; the labels say what is running.";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_well_formed() {
        let mut names = HashSet::new();
        for metric in TABLE {
            let Metric { name, help, .. } = *metric;
            assert!(names.insert(name), "{name} twice");
            assert!(name.starts_with("corepulse_"), "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert!(help.ends_with('.') && help.is_ascii() && !help.contains('\\'), "{name}");
            for suffix in ["_count", "_sum", "_bucket", "_created", "_total"] {
                let is_counter = suffix == "_total" && metric.kind == Kind::Counter;
                assert_eq!(name.ends_with(suffix), is_counter, "{name}");
            }
        }
    }

    #[test]
    fn units_are_base_units_and_end_the_name() {
        for metric in TABLE {
            let stem = metric.name.trim_end_matches("_total");
            if metric.unit != Unit::None {
                assert!(stem.ends_with(&format!("_{}", metric.unit.name())), "{stem}");
            }
            for other in ["seconds", "bytes", "ratio"] {
                assert!(metric.unit.name() == other || !stem.ends_with(other), "{stem}");
            }
            for wrong in ["milliseconds", "ms", "ns", "percent", "kilobytes", "minutes"] {
                assert!(!stem.split('_').any(|word| word == wrong), "{stem}");
            }
        }
    }

    #[test]
    fn labels_are_unique_and_none_can_carry_what_a_peer_sent() {
        let known = ["reason", "field", "route", "status", "core", "kind", "version", "commit"];
        for metric in TABLE {
            let labels: HashSet<_> = metric.labels.iter().collect();
            assert_eq!(labels.len(), metric.labels.len(), "{}", metric.name);
            assert!(metric.labels.iter().all(|label| known.contains(label)), "{}", metric.name);
            assert!(!metric.labels.contains(&"le"));
        }
    }
}
