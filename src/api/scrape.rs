//! `GET /metrics/prometheus`: the server's own metrics.

use std::sync::Arc;

use super::jobs::Lane;
use super::metrics::collect;
use super::state::State;
use crate::telemetry::exposition::Format;
use percore::http::accept_encoding::{gzip, wants_gzip};
use percore::http::handler::{Context, Reply};
use percore::http::request::Request;
use percore::http::response::{Field, Response};

/// Answers with the exposition in the format and coding that the request prefers.
pub fn answer(
    request: &Request<'_>,
    state: &Arc<State>,
    context: &Context<'_>,
    body: &mut Vec<u8>,
    route: usize,
) -> Reply {
    let lines = request.headers.values("accept").map(String::from_utf8_lossy);
    let accept = lines.collect::<Vec<_>>().join(",");
    let format = Format::accepted_by(Some(&accept));
    let gzipped = wants_gzip(request.headers.values("accept-encoding"));
    state.submit(Lane::Scrape, context, body, route, move |state, execution, body| {
        let text = state.exposition.write(collect(state, execution.now), format);
        *body = if gzipped { gzip(text.as_bytes()) } else { text.into_bytes() };
        let field = Some(Field::Negotiated { gzipped });
        Response { field, ..Response::ok(format.content_type(), route) }
    })
}
