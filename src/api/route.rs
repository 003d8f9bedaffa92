//! Routes: the paths of the API, with their methods, query parameters and statuses.

use crate::metric::rejection::Reason;
use crate::telemetry::counters::Labels;
use percore::http::request::Method;
use percore::http::status::Status;

/// The purpose of a request, from its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// `/`
    Index,
    /// `/page/{part}`, with the name of a part of the page.
    Part(&'a str),
    /// `/metrics`
    Ingest,
    /// `/metrics/{key}`, with the key as it was sent, percent-encoded.
    Lookup(&'a str),
    /// `/metrics/prometheus`
    Scrape,
    /// `/analyze`
    Analyze,
    /// `/stats`
    Stats,
    /// `/devices`
    Devices,
    /// `/devices/{id}`, with the id as it was sent, percent-encoded.
    Device(&'a str),
    /// `/devices/{id}/latest`
    LatestMetric(&'a str),
    /// `/anomalies`
    Anomalies,
    /// `/health`
    Health,
    /// `/ready`
    Ready,
    /// `/openapi.json`
    OpenApi,
    /// `/write` and `/api/v2/write`
    Write(InfluxApi),
    /// `/ping`
    Ping,
    /// `/debug/pprof/` and its pages.
    Debug(DebugPage),
    /// `/debug/pprof/profile` and `/debug/pprof/flamegraph`.
    Profile(ProfileFormat),
    /// Any other path.
    Unknown,
}

/// The kinds of data that are read with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// A metric as it was sent.
    Metric,
    /// The state of the server, and what it makes of metrics.
    Analytics,
    /// The exposition for Prometheus.
    Exposition,
}

/// The APIs of InfluxDB in which metrics are written. They differ in the form of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InfluxApi {
    /// That of version 1: `/write`.
    V1,
    /// That of version 2: `/api/v2/write`.
    V2,
}

/// The pages under `/debug/pprof/`, other than profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DebugPage {
    /// The list of pages.
    Index,
    /// The percentiles of request durations.
    Latency,
    /// The activity of each core.
    Threads,
}

/// The forms in which a profile is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProfileFormat {
    /// Gzipped protobuf, for `go tool pprof` and speedscope.
    Pprof,
    /// An SVG picture.
    Flamegraph,
}

/// The place in [`NAMES`] of requests without a route, because they could not be read as requests.
pub const REFUSED: usize = 0;

/// The values of the label `route`, in the order of [`Route::index`].
pub const NAMES: [&str; 24] = [
    "refused",
    "/",
    "/metrics",
    "/metrics/{key}",
    "/metrics/prometheus",
    "/analyze",
    "/health",
    "/ready",
    "/openapi.json",
    "/debug/pprof/",
    "/debug/pprof/latency",
    "/debug/pprof/threads",
    "/debug/pprof/profile",
    "/debug/pprof/flamegraph",
    "/write",
    "/api/v2/write",
    "/ping",
    "/stats",
    "/devices",
    "/devices/{id}",
    "/devices/{id}/latest",
    "/anomalies",
    "/page/{part}",
    "unknown",
];

/// The statuses that a request of each route can be answered with, in the order of [`NAMES`].
/// On any route, the connection limit can lead to 503, the method to 405, and the query to 400.
const POSSIBLE: [&[u16]; NAMES.len()] = [
    // Errors of framing and time-outs; 500 if an answer got lost.
    &[400, 408, 413, 414, 417, 421, 431, 500, 501, 503, 505],
    &[200, 304, 400, 405, 503],
    &[200, 202, 400, 401, 403, 405, 413, 415, 429, 503],
    &[200, 400, 401, 404, 405, 429, 500, 503],
    &[200, 400, 401, 405, 429, 500, 503],
    &[200, 400, 401, 404, 405, 429, 500, 503],
    &[200, 405],
    &[200, 405, 503],
    &[200, 400, 405, 503],
    &[200, 400, 403, 405, 429, 500, 503],
    &[200, 400, 403, 404, 405, 429, 500, 503],
    &[200, 400, 403, 405, 429, 500, 503],
    &[200, 400, 403, 405, 429, 500, 503],
    &[200, 400, 403, 405, 429, 500, 503],
    &[200, 204, 400, 401, 403, 405, 413, 415, 429, 503],
    &[200, 204, 400, 401, 403, 405, 413, 415, 429, 503],
    &[200, 204, 405, 503],
    &[200, 400, 401, 405, 429, 500, 503],
    &[200, 400, 401, 405, 429, 500, 503],
    &[200, 400, 401, 404, 405, 429, 500, 503],
    &[200, 400, 401, 404, 405, 429, 500, 503],
    &[200, 400, 401, 405, 429, 500, 503],
    &[200, 304, 400, 404, 405, 503],
    // 200 answers `OPTIONS *`.
    &[200, 404, 503],
];

impl<'a> Route<'a> {
    /// Returns the route of a path without its query.
    #[inline]
    pub fn of(path: &'a str) -> Self {
        if path == "/metrics" { Self::Ingest } else { Self::of_other(path) }
    }

    fn of_other(path: &'a str) -> Self {
        match path {
            "/health" => Self::Health,
            "/ready" => Self::Ready,
            "/analyze" => Self::Analyze,
            "/stats" => Self::Stats,
            "/devices" => Self::Devices,
            "/anomalies" => Self::Anomalies,
            "/metrics/prometheus" => Self::Scrape,
            "/" => Self::Index,
            "/openapi.json" => Self::OpenApi,
            // People who type it forget the last slash.
            "/debug/pprof/" | "/debug/pprof" => Self::Debug(DebugPage::Index),
            "/debug/pprof/latency" => Self::Debug(DebugPage::Latency),
            "/debug/pprof/threads" => Self::Debug(DebugPage::Threads),
            "/debug/pprof/profile" => Self::Profile(ProfileFormat::Pprof),
            "/debug/pprof/flamegraph" => Self::Profile(ProfileFormat::Flamegraph),
            "/write" => Self::Write(InfluxApi::V1),
            "/api/v2/write" => Self::Write(InfluxApi::V2),
            "/ping" => Self::Ping,
            _ => Self::of_segment(path).unwrap_or(Self::Unknown),
        }
    }

    /// Returns the route of a path with a segment that names something.
    fn of_segment(path: &'a str) -> Option<Self> {
        let only = |segment: &'a str| {
            let is_one = !segment.is_empty() && !segment.contains('/');
            is_one.then_some(segment)
        };
        if let Some(key) = path.strip_prefix("/metrics/") {
            return only(key).map(Self::Lookup);
        }
        if let Some(part) = path.strip_prefix("/page/") {
            return only(part).map(Self::Part);
        }
        let device = path.strip_prefix("/devices/")?;
        match device.strip_suffix("/latest") {
            Some(id) => only(id).map(Self::LatestMetric),
            None => only(device).map(Self::Device),
        }
    }

    /// Returns the place in [`NAMES`].
    pub const fn index(self) -> usize {
        match self {
            Self::Index => 1,
            Self::Ingest => 2,
            Self::Lookup(_) => 3,
            Self::Scrape => 4,
            Self::Analyze => 5,
            Self::Health => 6,
            Self::Ready => 7,
            Self::OpenApi => 8,
            Self::Debug(DebugPage::Index) => 9,
            Self::Debug(DebugPage::Latency) => 10,
            Self::Debug(DebugPage::Threads) => 11,
            Self::Profile(ProfileFormat::Pprof) => 12,
            Self::Profile(ProfileFormat::Flamegraph) => 13,
            Self::Write(InfluxApi::V1) => 14,
            Self::Write(InfluxApi::V2) => 15,
            Self::Ping => 16,
            Self::Stats => 17,
            Self::Devices => 18,
            Self::Device(_) => 19,
            Self::LatestMetric(_) => 20,
            Self::Anomalies => 21,
            Self::Part(_) => 22,
            Self::Unknown => 23,
        }
    }

    /// Returns true if it answers this method, other than OPTIONS, which all routes answer.
    pub fn allows(self, method: Method) -> bool {
        match self {
            Self::Ingest | Self::Write(_) => method == Method::Post,
            Self::Unknown => true,
            _ => matches!(method, Method::Get | Method::Head),
        }
    }

    /// Returns the parameters that its query may have; `None` if the query is ignored. A load
    /// balancer may add anything to the path of a probe to get past caches: a healthy server must
    /// not go out of service for that. Clients of InfluxDB name a database and more that has no
    /// meaning here.
    pub const fn query_parameters(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Health | Self::Ready | Self::Write(_) | Self::Ping | Self::Unknown => None,
            Self::Ingest => Some(&["ack"]),
            Self::Analyze => Some(&["device_id", "scope"]),
            Self::Stats => Some(&["history", "scope"]),
            Self::Anomalies => Some(&["limit", "since", "kind", "scope"]),
            Self::Devices => Some(&["limit", "after", "prefix", "sort", "field", "scope"]),
            Self::Device(_) | Self::LatestMetric(_) => Some(&["scope"]),
            Self::Debug(DebugPage::Latency) => Some(&["route"]),
            Self::Profile(_) => Some(&["seconds"]),
            _ => Some(&[]),
        }
    }

    /// Returns true if it may be asked for the whole fleet.
    pub const fn has_scope(self) -> bool {
        matches!(
            self,
            Self::Analyze
                | Self::Stats
                | Self::Devices
                | Self::Device(_)
                | Self::LatestMetric(_)
                | Self::Anomalies
        )
    }

    /// Returns the kind of data that it reads, if that may need a token.
    pub const fn reads(self) -> Option<Reads> {
        match self {
            Self::Lookup(_) | Self::LatestMetric(_) => Some(Reads::Metric),
            Self::Analyze | Self::Devices | Self::Device(_) | Self::Anomalies | Self::Stats => {
                Some(Reads::Analytics)
            }
            Self::Scrape => Some(Reads::Exposition),
            _ => None,
        }
    }

    /// Returns the value of `Allow`.
    pub const fn allow(self) -> &'static str {
        match self {
            Self::Ingest | Self::Write(_) => "POST, OPTIONS",
            _ => "GET, HEAD, OPTIONS",
        }
    }
}

/// The label values of the counters of requests and rejections.
pub const LABELS: Labels = Labels {
    routes: &NAMES,
    statuses: &Status::CODES,
    possible: &POSSIBLE,
    reject_reasons: &Reason::NAMES,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_exact() {
        assert_eq!(Route::of("/metrics"), Route::Ingest);
        assert_eq!(Route::of("/metrics/prometheus"), Route::Scrape);
        assert_eq!(Route::of("/metrics/d1:5"), Route::Lookup("d1:5"));
        assert_eq!(Route::of("/debug/pprof"), Route::of("/debug/pprof/"));
        for unknown in ["", "*", "/metrics/", "/Metrics", "/metrics/a/b", "/analyze/", "//"]
            .into_iter()
            .chain(["/devices/", "/devices//latest", "/devices/a/b", "/devices/a/latest/"])
        {
            assert_eq!(Route::of(unknown), Route::Unknown, "{unknown}");
        }
    }

    #[test]
    fn possible_statuses_are_known_ones_in_order() {
        for (name, statuses) in NAMES.iter().zip(POSSIBLE) {
            assert!(statuses.is_sorted(), "{name}");
            assert!(statuses.iter().all(|status| Status::CODES.contains(status)), "{name}");
        }
    }

    #[test]
    fn every_route_has_its_name() {
        for (path, name) in [
            ("/", "/"),
            ("/metrics", "/metrics"),
            ("/metrics/1", "/metrics/{key}"),
            ("/metrics/prometheus", "/metrics/prometheus"),
            ("/analyze", "/analyze"),
            ("/health", "/health"),
            ("/ready", "/ready"),
            ("/openapi.json", "/openapi.json"),
            ("/write", "/write"),
            ("/api/v2/write", "/api/v2/write"),
            ("/ping", "/ping"),
            ("/stats", "/stats"),
            ("/devices", "/devices"),
            ("/devices/d1", "/devices/{id}"),
            ("/devices/latest", "/devices/{id}"),
            ("/devices/d1/latest", "/devices/{id}/latest"),
            ("/anomalies", "/anomalies"),
            ("/page/main.js", "/page/{part}"),
            ("/x", "unknown"),
        ] {
            assert_eq!(NAMES[Route::of(path).index()], name);
        }
    }
}
