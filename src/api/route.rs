//! Which paths there are, and what they may be asked.

use crate::metric::rejection::Reason;
use crate::telemetry::counters::Labels;
use percore::http::request::Method;
use percore::http::status::Status;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// `/`
    Index,
    /// `/metrics`
    Ingest,
    /// `/metrics/{key}`, with the key as it was sent.
    Lookup(&'a str),
    /// `/metrics/prometheus`
    Scrape,
    /// `/analyze`
    Analyze,
    /// `/health`
    Health,
    /// `/ready`
    Ready,
    /// `/openapi.json`
    Document,
    /// `/debug/pprof/` and its pages.
    Debug(DebugPage),
    /// `/debug/pprof/profile` and `/debug/pprof/flamegraph`.
    Profile(ProfileFormat),
    /// No path of ours.
    Unknown,
}

/// The pages under `/debug/pprof/` that are written at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DebugPage {
    /// The list of the others.
    Index,
    /// How long requests took.
    Latency,
    /// What each core does.
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

/// Where in [`NAMES`] requests are counted that could not be taken.
pub const REFUSED: usize = 0;

/// The label values of `route`, in the order of [`Route::index`].
pub const NAMES: [&str; 15] = [
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
    "unknown",
];

/// The statuses that a request of each route can be answered with, in the order of [`NAMES`].
/// Whatever else can be, 503 comes of the connection limit, 405 of the method, 400 of the query.
const POSSIBLE: [&[u16]; NAMES.len()] = [
    // By framing and patience, before there is a route; 500 where an answer got lost.
    &[400, 408, 413, 414, 417, 421, 431, 500, 501, 503, 505],
    &[200, 400, 405, 503],
    &[200, 202, 400, 401, 405, 413, 415, 503],
    &[200, 400, 401, 404, 405, 500, 503],
    &[200, 400, 405, 500, 503],
    &[200, 400, 404, 405, 500, 503],
    &[200, 405],
    &[200, 405, 503],
    &[200, 400, 405, 503],
    &[200, 400, 403, 405, 500, 503],
    &[200, 400, 403, 404, 405, 500, 503],
    &[200, 400, 403, 405, 500, 503],
    &[200, 400, 403, 405, 429, 500, 503],
    &[200, 400, 403, 405, 429, 500, 503],
    // 200 of `OPTIONS *`.
    &[200, 404, 503],
];

impl<'a> Route<'a> {
    /// The route of a path, without its query.
    #[must_use]
    #[inline]
    pub fn of(path: &'a str) -> Self {
        if path == "/metrics" { Self::Ingest } else { Self::of_other(path) }
    }

    fn of_other(path: &'a str) -> Self {
        match path {
            "/health" => Self::Health,
            "/ready" => Self::Ready,
            "/analyze" => Self::Analyze,
            "/metrics/prometheus" => Self::Scrape,
            "/" => Self::Index,
            "/openapi.json" => Self::Document,
            // Who types it forgets the last slash.
            "/debug/pprof/" | "/debug/pprof" => Self::Debug(DebugPage::Index),
            "/debug/pprof/latency" => Self::Debug(DebugPage::Latency),
            "/debug/pprof/threads" => Self::Debug(DebugPage::Threads),
            "/debug/pprof/profile" => Self::Profile(ProfileFormat::Pprof),
            "/debug/pprof/flamegraph" => Self::Profile(ProfileFormat::Flamegraph),
            _ => match path.strip_prefix("/metrics/") {
                Some(key) if !key.is_empty() && !key.contains('/') => Self::Lookup(key),
                _ => Self::Unknown,
            },
        }
    }

    /// The place in [`NAMES`].
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Index => 1,
            Self::Ingest => 2,
            Self::Lookup(_) => 3,
            Self::Scrape => 4,
            Self::Analyze => 5,
            Self::Health => 6,
            Self::Ready => 7,
            Self::Document => 8,
            Self::Debug(DebugPage::Index) => 9,
            Self::Debug(DebugPage::Latency) => 10,
            Self::Debug(DebugPage::Threads) => 11,
            Self::Profile(ProfileFormat::Pprof) => 12,
            Self::Profile(ProfileFormat::Flamegraph) => 13,
            Self::Unknown => 14,
        }
    }

    /// Whether it answers this method. OPTIONS is answered elsewhere, for all.
    #[must_use]
    pub fn takes(self, method: Method) -> bool {
        match self {
            Self::Ingest => method == Method::Post,
            Self::Unknown => true,
            _ => matches!(method, Method::Get | Method::Head),
        }
    }

    /// The names that its query may have; `None` where any are taken. A probe gets its answer
    /// whatever a balancer adds to get past caches: a healthy server must not go out of service for
    /// that.
    #[must_use]
    pub const fn parameters(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Health | Self::Ready | Self::Unknown => None,
            Self::Analyze => Some(&["device_id"]),
            Self::Debug(DebugPage::Latency) => Some(&["route"]),
            Self::Profile(_) => Some(&["seconds"]),
            _ => Some(&[]),
        }
    }

    /// The value of `Allow`.
    #[must_use]
    pub const fn allow(self) -> &'static str {
        match self {
            Self::Ingest => "POST, OPTIONS",
            _ => "GET, HEAD, OPTIONS",
        }
    }
}

/// The names of [`Reason::ALL`].
#[expect(clippy::indexing_slicing, reason = "evaluated when the crate is compiled")]
const REASON_NAMES: [&str; Reason::ALL.len()] = {
    let mut names = [""; Reason::ALL.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = Reason::ALL[index].name();
        index += 1;
    }
    names
};

/// What the counters of requests and rejections are labelled with.
pub const LABELS: Labels = Labels {
    routes: &NAMES,
    statuses: &Status::CODES,
    possible: &POSSIBLE,
    reject_reasons: &REASON_NAMES,
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
        for unknown in ["", "*", "/metrics/", "/Metrics", "/metrics/a/b", "/analyze/", "//"] {
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
            ("/x", "unknown"),
        ] {
            assert_eq!(NAMES[Route::of(path).index()], name);
        }
    }
}
