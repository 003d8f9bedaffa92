//! Header fields that permit pages in browsers to read answers: the CORS protocol of the Fetch
//! standard.
//!
//! A browser lets a page of another origin read an answer only if the answer names that origin.
//! Before the page may send JSON or a token, the browser asks for permission with an OPTIONS
//! request (a preflight). Errors have to name the origin too, or the page learns no more than that
//! there was one. Paths under `/debug/` never do: they are for this machine alone, and a page must
//! not read them through a browser on it. Neither does the server's own page, which has lines of
//! its own.

use super::page;
use super::route::Route;
use crate::config::cors_origins::CorsOrigins;
use crate::limits::CORS_MAX_AGE_SECONDS;
use percore::http::headers::HeaderName;
use percore::http::request::{Method, Request};

/// The header fields that a request may carry. `*` does not include `Authorization`, and old
/// browsers do not know it.
const HEADERS: &str = "Authorization, Content-Type, Content-Encoding, X-Device-Id, *";

/// The fields of an answer that a page may read in addition to those that it always may.
const EXPOSED: &str = "Allow, Retry-After, WWW-Authenticate";

/// The header lines of answers. They are made once and live as long as the process, so that an
/// answer carries only a reference to them from thread to thread.
#[derive(Debug)]
pub struct Cors {
    /// One entry for each origin, or a single one if any origin is permitted.
    permitted: Vec<PermittedOrigin>,
    /// True if any origin is permitted.
    permits_any: bool,
    /// The lines for all other origins, which keep a cache from giving them the answer to a
    /// permitted one.
    others: &'static str,
}

/// An origin and the header lines for it.
#[derive(Debug)]
struct PermittedOrigin {
    origin: String,
    answer: &'static str,
    /// The answer to a preflight of a path that takes GET.
    get_preflight: &'static str,
    /// The answer to a preflight of a path that takes POST.
    post_preflight: &'static str,
}

impl Cors {
    /// Makes the header lines for these origins.
    pub fn new(origins: &CorsOrigins) -> Self {
        let (permitted, permits_any) = match origins {
            CorsOrigins::Any => (vec![PermittedOrigin::new("*", "")], true),
            CorsOrigins::List(origins) => {
                (origins.iter().map(|origin| PermittedOrigin::new(origin, VARY)).collect(), false)
            }
        };
        Self { permitted, permits_any, others: if permits_any { "" } else { VARY } }
    }

    /// Returns the lines of the answer to a request.
    pub fn headers(&self, route: Route<'_>, request: &Request<'_>) -> &'static str {
        let is_own = match route {
            Route::Debug(_) | Route::Profile(_) | Route::Part(_) => true,
            Route::Index => page::is_wanted(&request.headers),
            _ => request.path.starts_with("/debug"),
        };
        if is_own {
            return "";
        }
        let Ok(origin) = request.headers.only(HeaderName::Origin) else {
            return self.others;
        };
        let Some(permitted) = self.find(origin) else {
            return self.others;
        };
        let asked_method = || request.headers.values("access-control-request-method").next();
        if request.method != Method::Options || asked_method().is_none() {
            permitted.answer
        } else if route.allows(Method::Post) {
            permitted.post_preflight
        } else {
            permitted.get_preflight
        }
    }

    /// Returns the lines of the answer to bytes that could not be read as a request, so that the
    /// origin is unknown: a permitted origin is named if it is the only one.
    pub fn headers_without_origin(&self) -> &'static str {
        match &*self.permitted {
            [only] => only.answer,
            _ => self.others,
        }
    }

    fn find(&self, origin: Option<&[u8]>) -> Option<&PermittedOrigin> {
        if self.permits_any {
            return self.permitted.first();
        }
        let origin = origin?;
        self.permitted.iter().find(|permitted| permitted.origin.as_bytes() == origin)
    }
}

/// The line that keeps a cache from giving one origin's answer to another.
const VARY: &str = "\r\nVary: Origin";

impl PermittedOrigin {
    fn new(origin: &str, vary: &str) -> Self {
        let allow = format!("{vary}\r\nAccess-Control-Allow-Origin: {origin}");
        let preflight = |methods: &str| {
            leak(format!(
                "{allow}\r\nAccess-Control-Allow-Methods: {methods}\r\n\
                 Access-Control-Allow-Headers: {HEADERS}\r\n\
                 Access-Control-Max-Age: {CORS_MAX_AGE_SECONDS}"
            ))
        };
        Self {
            origin: origin.to_owned(),
            get_preflight: preflight("GET, HEAD"),
            post_preflight: preflight("POST"),
            answer: leak(format!("{allow}\r\nAccess-Control-Expose-Headers: {EXPOSED}")),
        }
    }
}

fn leak(lines: String) -> &'static str {
    Box::leak(lines.into_boxed_str())
}
