//! `GET /devices?scope=fleet`: a page of the devices of all members.
//!
//! Each member makes its own page behind the same cursor, and the first ones of all of these are
//! the page of the fleet. Keys that are times are in fleet time. A device that has changed members
//! lately is held by both; of the two, the one that saw it last is listed.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::asking::{ask, bad_request};
use super::question::Question;
use super::view::{FleetView, part, parts};
use crate::analytics::ranking::{Rank, RankBy, RankQuery};
use crate::api::device_query::{self, Cursor};
use crate::api::devices::find_page;
use crate::api::jobs::Lane;
use crate::api::json::{Raw, Text, append_line, live, read};
use crate::api::state::State;
use crate::fleet::answers::Answers;
use percore::clock::Now;
use percore::http::handler::{Context, Reply};
use percore::http::headers::Headers;
use percore::http::request::{Method, Request};

/// The part of a member: its own page.
#[derive(Serialize, Deserialize)]
struct Part {
    total: u64,
    is_last: bool,
    rows: Vec<Row>,
}

/// A device.
#[derive(Clone, Serialize, Deserialize)]
struct Row {
    id: String,
    /// The key in the order.
    key: u64,
    /// The time of its last event, in fleet time.
    seen_ns: u64,
    /// The entry of the answer.
    device: Raw,
}

/// Returns what this instance tells.
pub(super) fn tell(query: &str, state: &State, now: Now) -> Vec<u8> {
    let (headers, query) = (Headers::NONE, Some(query));
    let request = Request { method: Method::Get, path: "/devices", query, headers, body: b"" };
    let Ok(query) = device_query::read(&request, state.settings.schema) else {
        return Vec::new();
    };
    let time = FleetTime::new(now);
    let own = RankQuery { after: query.after.map(|rank| time.to_own(query.by, rank)), ..query };
    let page = find_page(state, &own, now);
    let row = |device: &crate::analytics::directory::DeviceState| {
        let mut json = Vec::new();
        page.append_device(device, &mut json);
        Some(Row {
            id: device.id.clone(),
            key: time.to_fleet(own.by, device.key(own.by)),
            seen_ns: time.to_fleet(RankBy::LastSeen, device.seen_ns),
            device: read(&json)?,
        })
    };
    let rows = page.devices.iter().filter_map(row).collect();
    part(&Part { total: page.total, is_last: page.is_last, rows })
}

/// The difference between fleet time and the monotonic clock of this process.
#[derive(Clone, Copy)]
struct FleetTime(u64);

impl FleetTime {
    const fn new(now: Now) -> Self {
        Self(now.wall_us.cast_unsigned().wrapping_mul(1000).wrapping_sub(now.mono_ns))
    }

    /// Returns a key of this instance as the fleet has it.
    fn to_fleet(self, by: RankBy, key: u64) -> u64 {
        if by == RankBy::LastSeen { key.wrapping_add(self.0) } else { key }
    }

    /// Returns a rank of the fleet as this instance has it: nothing was seen before its clock
    /// began.
    fn to_own(self, by: RankBy, rank: Rank) -> Rank {
        let key = if by == RankBy::LastSeen { rank.key.saturating_sub(self.0) } else { rank.key };
        Rank { key, ..rank }
    }
}

/// Answers with the page of devices that the query asks for.
pub(in crate::api) fn answer(
    request: &Request<'_>,
    state: &Arc<State>,
    context: &Context<'_>,
    body: &mut Vec<u8>,
    route: usize,
) -> Reply {
    let query = match device_query::read(request, state.settings.schema) {
        Ok(query) => query,
        Err(error) => return bad_request(error, body, route),
    };
    let question = Question::Devices { query: request.query.unwrap_or_default().to_owned() };
    ask(state, (Lane::Analyze, route), context, body, &question, move |_, answers, _, body| {
        write(&query, answers, body);
        live(route)
    })
}

/// The members of the answer, in their order.
#[derive(Serialize)]
struct Page<'a> {
    #[serde(flatten)]
    fleet: FleetView<'a>,
    devices: Vec<&'a Raw>,
    next: Option<Text<Cursor<'a>>>,
    total: u64,
}

fn write(query: &RankQuery, answers: &Answers, body: &mut Vec<u8>) {
    let parts = parts::<Part>(answers);
    let mut newest: HashMap<&str, &Row> = HashMap::new();
    for row in parts.iter().flat_map(|(_, part)| &part.rows) {
        let known = newest.entry(&row.id).or_insert(row);
        if known.seen_ns < row.seen_ns {
            *known = row;
        }
    }
    let mut rows: Vec<&Row> = newest.into_values().collect();
    rows.sort_by(|one, two| (Reverse(one.key), &one.id).cmp(&(Reverse(two.key), &two.id)));
    let is_last = rows.len() <= query.limit && parts.iter().all(|(_, part)| part.is_last);
    rows.truncate(query.limit);
    let last = rows.last().filter(|_| !is_last);
    let last = last.map(|row| Rank { key: row.key, id: row.id.as_bytes().into() });
    let page = Page {
        fleet: FleetView::new(answers),
        devices: rows.iter().map(|row| &row.device).collect(),
        next: last.as_ref().map(|rank| Text(Cursor(query.by, rank))),
        total: parts.iter().map(|(_, part)| part.total).sum(),
    };
    append_line(body, &page);
}
