//! `GET /metrics/{key}`: the stored metric.

use super::later::Work;
use super::state::State;
use crate::limits::LOOKUP_KEY_BYTES_MAX;
use crate::metric::key::is_key;
use crate::store::Lookup;
use percore::clock::Now;
use percore::http::handler::retry_after;
use percore::http::problem::problem;
use percore::http::request::percent_decode;
use percore::http::response::{JSON, Response};
use percore::http::status::Status;

/// The look-up of `key`, percent-encoded as it stands in the path; `None` for what no key is.
#[must_use]
pub fn work(key: &str, state: &State) -> Option<Work> {
    let mut decoded = Vec::new();
    let key = percent_decode(key, LOOKUP_KEY_BYTES_MAX, &mut decoded)?;
    is_key(key).then(|| Work::Lookup { key: state.store.full_key(key) })
}

/// Answers with the stored value, as it was packed.
pub fn answer(key: &[u8], state: &State, now: Now, body: &mut Vec<u8>, route: usize) -> Response {
    match state.store.lookup(key, now, body) {
        Lookup::Found => {
            body.push(b'\n');
            Response::ok(JSON, route)
        }
        Lookup::Absent => absent(body, route),
        Lookup::Unavailable => {
            let detail = "store: Redis cannot be asked now";
            problem(body, Status::ServiceUnavailable, detail, Some(retry_after()), route)
        }
    }
}

/// The answer for a key that nothing is stored under.
pub fn absent(body: &mut Vec<u8>, route: usize) -> Response {
    let detail = "key: no metric of this <timestamp> or <device_id>:<timestamp> is stored, or it \
                  has expired";
    problem(body, Status::NotFound, detail, None, route)
}
