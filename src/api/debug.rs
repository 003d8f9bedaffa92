//! `GET /debug/pprof/`: pages for performance engineers, and the check that a request may see them.

use std::io::{self, Write};
use std::sync::Arc;

use super::authorization::{Denial, Door};
use super::jobs::Lane;
use super::route::{DebugPage, NAMES, Route};
use super::state::State;
use crate::limits::{PROFILE_SECONDS_DEFAULT, PROFILE_SECONDS_MAX};
use crate::telemetry::latency::Durations;
use percore::clock::Now;
use percore::http::handler::{Context, Reply};
use percore::http::headers::Headers;
use percore::http::problem::problem;
use percore::http::request::Request;
use percore::http::response::{Response, TEXT};
use percore::http::status::Status;
use percore::http::uri::is_this_machine;

/// The number of lines for each halving of the distance to 100 %, as in HdrHistogram's own tools.
const TICKS: u32 = 5;

/// Header fields of proxies that forward the request of another client.
const FORWARDED: [&str; 3] = ["forwarded", "via", "x-real-ip"];
const FORWARDED_PREFIX: &str = "x-forwarded-";

/// Answers a request that may not see the debug pages. One may that carries the admin token, or
/// comes from this machine itself and names it in `Host`.
///
/// Three others come from this machine as well: proxies, which name the client in a header field;
/// pages in a browser whose own name resolves to this machine (DNS rebinding), which have that name
/// in `Host`; and pages that load a picture from here, which the browser marks as of another site.
#[must_use]
pub fn check_rights(
    route: Route<'_>,
    request: &Request<'_>,
    door: &mut Door,
    state: &State,
    context: &Context<'_>,
    body: &mut Vec<u8>,
) -> Option<Response> {
    let mut fields = request.headers.iter();
    let is_own = context.peer_is_loopback
        && names_this_machine(&request.headers)
        && !fields.any(|(name, value)| is_forwarded(name) || is_of_another_site(name, value));
    if is_own {
        return None;
    }
    match door.check_admin(&request.headers, state, context).err()? {
        Denial::Unauthorized => Some(forbidden(body, route.index())),
        limited @ Denial::Limited(_) => Some(limited.answer(route, state, context, body)),
    }
}

fn names_this_machine(headers: &Headers<'_>) -> bool {
    let mut hosts = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("host"));
    hosts.next().is_some_and(|(_, host)| is_this_machine(host))
}

/// Returns true if a header field marks a request as one of another site's page (Fetch Metadata,
/// `Sec-Fetch-Site`; RFC 6454, `Origin`).
fn is_of_another_site(name: &str, value: &[u8]) -> bool {
    if name.eq_ignore_ascii_case("sec-fetch-site") {
        return !matches!(value.trim_ascii(), b"none" | b"same-origin");
    }
    let host = || value.strip_prefix(b"http://").or_else(|| value.strip_prefix(b"https://"));
    name.eq_ignore_ascii_case("origin") && !host().is_some_and(is_this_machine)
}

fn is_forwarded(name: &str) -> bool {
    let start = name.get(..FORWARDED_PREFIX.len()).unwrap_or_default();
    start.eq_ignore_ascii_case(FORWARDED_PREFIX)
        || FORWARDED.iter().any(|forwarded| name.eq_ignore_ascii_case(forwarded))
}

/// Answers a request that may not see the debug pages.
fn forbidden(body: &mut Vec<u8>, route: usize) -> Response {
    let detail = "/debug/: needs Authorization: Bearer and the admin token (--admin-token), or to \
                  be asked from this machine, as localhost or by a loopback address, without a \
                  proxy and not by a page of another site";
    problem(body, Status::Forbidden, detail, None, route)
}

/// Answers with a page.
pub fn answer(
    page: DebugPage,
    request: &Request<'_>,
    state: &Arc<State>,
    context: &Context<'_>,
    body: &mut Vec<u8>,
    route: usize,
) -> Reply {
    let name = request.parameter("route");
    let shown_route = name.as_ref().map(|name| NAMES.iter().position(|known| known == name));
    if shown_route == Some(None) {
        return Reply::Now(unknown_route(body, route));
    }
    state.submit(Lane::Debug, context, body, route, move |state, execution, body| {
        // Writing into memory cannot fail.
        let _ = match page {
            DebugPage::Index => index(body),
            DebugPage::Latency => latency(shown_route.flatten(), state, body),
            DebugPage::Threads => threads(state, execution.now, body),
        };
        Response::ok(TEXT, route)
    })
}

/// Answers for a `?route=` that there is not.
fn unknown_route(body: &mut Vec<u8>, route: usize) -> Response {
    let detail = "route: expected one as the label of corepulse_http_requests_total names it";
    problem(body, Status::NotFound, detail, None, route)
}

fn index(out: &mut Vec<u8>) -> io::Result<()> {
    writeln!(out, "latency         percentiles of request durations in ms, for HdrHistogram's")?;
    writeln!(out, "                plotter, without those of these pages; ?route= for one of:")?;
    for name in NAMES {
        writeln!(out, "                  {name}")?;
    }
    writeln!(
        out,
        "threads         for each core: share of time at work, connections, turns, events"
    )?;
    writeln!(
        out,
        "profile         where CPU time goes, in gzipped protobuf, for go tool pprof and"
    )?;
    writeln!(
        out,
        "                speedscope; ?seconds={PROFILE_SECONDS_DEFAULT}, {PROFILE_SECONDS_MAX} at \
         most, one at a time"
    )?;
    writeln!(out, "flamegraph      the same as an SVG picture")
}

/// Returns true if a route is one of these pages. A profile takes ten seconds by design, which
/// would distort the durations of all routes together.
fn is_debug(route: usize) -> bool {
    NAMES.get(route).is_some_and(|name| name.starts_with("/debug/"))
}

/// Writes the percentile distribution in the text format of HdrHistogram, in milliseconds.
fn latency(of: Option<usize>, state: &State, out: &mut Vec<u8>) -> io::Result<()> {
    let mut sum = Durations::default();
    for (route, durations) in state.latency.merged().iter().enumerate() {
        if of.map_or(!is_debug(route), |of| of == route) {
            sum.merge(durations);
        }
    }
    let ms = |ns: u64| ns as f64 / 1e6;
    writeln!(
        out,
        "{:>12} {:>14} {:>10} {:>14}\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    )?;
    for step in sum.distribution(TICKS) {
        write!(out, "{:12.3} {:14.12} {:10}", ms(step.value_ns), step.quantile, step.count)?;
        if step.quantile < 1.0 {
            writeln!(out, " {:14.2}", 1.0 / (1.0 - step.quantile))?;
        } else {
            writeln!(out, " {:>14}", "inf")?;
        }
    }
    let all = sum.summary();
    writeln!(out, "#[Mean    = {:12.3}, Total count    = {:12}]", ms(all.mean_ns), all.count)?;
    writeln!(out, "#[Max     = {:12.3}]", ms(all.max_ns))
}

fn threads(state: &State, now: Now, out: &mut Vec<u8>) -> io::Result<()> {
    let totals = state.counters.totals();
    let busy = state.busy_ratios.measure(now, &totals.busy_ns);
    writeln!(
        out,
        "{:>4} {:>10} {:>11} {:>14} {:>14} {:>11}",
        "core", "busy_ratio", "connections", "turns", "events", "events/turn"
    )?;
    let cores = busy.iter().zip(&totals.open_connections).zip(&totals.turns).enumerate();
    for (core, ((busy, connections), turns)) in cores {
        let events = state.store.accepted_by(core);
        let each = events as f64 / (*turns).max(1) as f64;
        writeln!(out, "{core:4} {busy:10.3} {connections:11} {turns:14} {events:14} {each:11.2}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_known_by_its_fields() {
        let fields = [
            "Forwarded",
            "Via",
            "X-Forwarded-For",
            "x-forwarded-proto",
            "X-FORWARDED-",
            "X-Real-IP",
        ];
        for name in fields {
            assert!(is_forwarded(name), "{name}");
        }
        for name in ["Host", "X-Forwarded", "Forwarded-For", "Viaduct", "X-Forward\u{e9}d-For"] {
            assert!(!is_forwarded(name), "{name}");
        }
    }
}
