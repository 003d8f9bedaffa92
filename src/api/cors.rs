//! Which pages in browsers may read answers: the CORS protocol of the Fetch standard.
//!
//! A browser lets a page of another origin read an answer only if that names the page's origin, and
//! asks first (a preflight, which is an OPTIONS) before it sends JSON or a token. Every answer has
//! to say so, errors too, or the page learns of those no more than that there was one. Paths under
//! `/debug/` are for none: a page must not read through a browser what is for this machine alone.

use super::route::Route;
use crate::config::cors_origins::CorsOrigins;
use crate::limits::CORS_MAX_AGE_SECONDS;
use percore::http::headers::Name;
use percore::http::request::{Method, Request};

/// What a request may carry. `*` does not cover `Authorization`, and old browsers do not know it.
const HEADERS: &str = "Authorization, Content-Type, Content-Encoding, X-Device-Id, *";

/// Fields of an answer that a page may read beside those that it always may.
const EXPOSED: &str = "Allow, Retry-After, WWW-Authenticate";

/// The lines of answers, made once. They live as long as the process, which has one server; answers
/// are made and sent on threads of their own, and copy no more than where the lines are.
#[derive(Debug)]
pub struct Cors {
    /// What is said to whom, one for each origin; only one if it is any.
    granted: Vec<Granted>,
    /// Whether the answer is the same whoever asks.
    to_any: bool,
    /// What is said to everybody else, so that a cache does not give it to those.
    others: &'static str,
}

#[derive(Debug)]
struct Granted {
    origin: String,
    answer: &'static str,
    /// To a preflight of a path that is read, and of one that is posted to.
    reading: &'static str,
    posting: &'static str,
}

impl Cors {
    /// What these pages are told.
    #[must_use]
    pub fn new(origins: &CorsOrigins) -> Self {
        let (granted, to_any) = match origins {
            CorsOrigins::Any => (vec![Granted::to("*", "")], true),
            CorsOrigins::List(origins) => {
                (origins.iter().map(|origin| Granted::to(origin, VARY)).collect(), false)
            }
        };
        Self { granted, to_any, others: if to_any { "" } else { VARY } }
    }

    /// The further lines of the answer to a request.
    #[must_use]
    pub fn lines(&self, route: Route<'_>, request: &Request<'_>) -> &'static str {
        let is_debug = matches!(route, Route::Debug(_) | Route::Profile(_));
        if is_debug || request.path.starts_with("/debug") {
            return "";
        }
        let Ok(origin) = request.headers.only(Name::Origin) else {
            return self.others;
        };
        let Some(granted) = self.granted_to(origin) else {
            return self.others;
        };
        let asked = || request.headers.lines("access-control-request-method").next();
        if request.method != Method::Options || asked().is_none() {
            granted.answer
        } else if route.takes(Method::Post) {
            granted.posting
        } else {
            granted.reading
        }
    }

    /// Those of the answer to what could not be read as a request: it can name only who would be
    /// named anyway.
    #[must_use]
    pub fn lines_of_refusal(&self) -> &'static str {
        match &*self.granted {
            [only] => only.answer,
            _ => self.others,
        }
    }

    fn granted_to(&self, origin: Option<&[u8]>) -> Option<&Granted> {
        if self.to_any {
            return self.granted.first();
        }
        let origin = origin?;
        self.granted.iter().find(|granted| granted.origin.as_bytes() == origin)
    }
}

/// A cache that gave one origin's answer to another would break the other.
const VARY: &str = "\r\nVary: Origin";

impl Granted {
    fn to(origin: &str, vary: &str) -> Self {
        let allow = format!("{vary}\r\nAccess-Control-Allow-Origin: {origin}");
        let preflight = |methods: &str| {
            lasting(format!(
                "{allow}\r\nAccess-Control-Allow-Methods: {methods}\r\n\
                 Access-Control-Allow-Headers: {HEADERS}\r\n\
                 Access-Control-Max-Age: {CORS_MAX_AGE_SECONDS}"
            ))
        };
        Self {
            origin: origin.to_owned(),
            reading: preflight("GET, HEAD"),
            posting: preflight("POST"),
            answer: lasting(format!("{allow}\r\nAccess-Control-Expose-Headers: {EXPOSED}")),
        }
    }
}

fn lasting(lines: String) -> &'static str {
    Box::leak(lines.into_boxed_str())
}
