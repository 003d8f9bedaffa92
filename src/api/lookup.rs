//! `GET /metrics/{key}`: the stored metric.

use std::sync::Arc;

use super::jobs::Lane;
use super::state::State;
use crate::limits::LOOKUP_KEY_BYTES_MAX;
use crate::metric::key::is_key;
use crate::store::lookup::LookupResult;
use percore::http::handler::{Context, Reply, retry_after};
use percore::http::problem::problem;
use percore::http::request::percent_decode;
use percore::http::response::{JSON, Response};
use percore::http::status::Status;

/// Answers with the metric stored under `key`, which is percent-encoded as it stands in the path.
pub fn answer(
    key: &str,
    state: &Arc<State>,
    context: &Context<'_>,
    body: &mut Vec<u8>,
    route: usize,
) -> Reply {
    let mut decoded = Vec::new();
    let key = percent_decode(key, LOOKUP_KEY_BYTES_MAX, &mut decoded).filter(|key| is_key(key));
    let Some(key) = key.map(|key| state.store.full_key(key)) else {
        return Reply::Now(not_found(body, route));
    };
    state.submit(Lane::Lookup, context, body, route, move |state, execution, body| {
        match state.store.lookup(&key, execution.now, body) {
            LookupResult::Found => {
                body.push(b'\n');
                Response::ok(JSON, route)
            }
            LookupResult::Absent => not_found(body, route),
            LookupResult::Unavailable => {
                let detail = "store: Redis cannot be asked now";
                let field = Some(retry_after());
                problem(body, Status::ServiceUnavailable, detail, field, route)
            }
        }
    })
}

/// Answers for a key that no metric is stored under.
fn not_found(body: &mut Vec<u8>, route: usize) -> Response {
    let detail = "key: no metric of this <timestamp> or <device_id>:<timestamp> is stored, or it \
                  has expired";
    problem(body, Status::NotFound, detail, None, route)
}
