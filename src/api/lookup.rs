//! `GET /metrics/{key}`: the stored metric.

use std::sync::Arc;

use super::jobs::Lane;
use super::path_segment::decode;
use super::state::State;
use crate::limits::LOOKUP_KEY_BYTES_MAX;
use crate::metric::key::is_key;
use crate::store::lookup::LookupResult;
use percore::clock::Now;
use percore::http::handler::{Context, Reply, retry_after};
use percore::http::problem::problem;
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
    let Some(key) = decode_key(key).map(|key| state.store.full_key(&key)) else {
        return Reply::Now(not_found(body, route));
    };
    state.submit(Lane::Lookup, context, body, route, move |state, execution, body| {
        look_up(&key, state, execution.now, body, route)
    })
}

/// Answers with the metric stored under a key, prefix included, once the store has said what it is.
pub(super) fn look_up(
    key: &[u8],
    state: &State,
    now: Now,
    body: &mut Vec<u8>,
    route: usize,
) -> Response {
    match state.store.lookup(key, now, body) {
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
}

/// Undoes the percent-encoding of a key; `None` if the result is no key, as that of a `%` without
/// two hexadecimal digits is not.
fn decode_key(encoded: &str) -> Option<Vec<u8>> {
    decode(encoded, LOOKUP_KEY_BYTES_MAX).filter(|key| is_key(key))
}

/// Answers for a key that no metric is stored under.
fn not_found(body: &mut Vec<u8>, route: usize) -> Response {
    let detail = "key: no metric of this <timestamp> or <device_id>:<timestamp> is stored, it has \
                  expired, or it has other fields than those configured";
    problem(body, Status::NotFound, detail, None, route)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_decoding_refuses_what_is_not_hexadecimal() {
        assert_eq!(decode_key("a%3ab%3A%31").as_deref(), Some(&b"a:b:1"[..]));
        for wrong in ["%", "%4:1", "%4g:1", "%+1", "d1:1%", "d1%2F:1", ""] {
            assert_eq!(decode_key(wrong), None, "{wrong}");
        }
        let zeros = |count: usize| "0".repeat(count);
        assert!(decode_key(&format!("{}%3a1", "%61".repeat(128))).is_some());
        assert_eq!(decode_key(&format!("{}:1", zeros(LOOKUP_KEY_BYTES_MAX))), None);
    }
}
