//! `GET /devices`: a page of the devices that this instance holds.

use std::cmp::Reverse;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::device_query::{self, Cursor};
use super::jobs::Lane;
use super::json::{Number, Text, append, append_line, live};
use super::novelty::{Novelty, padded};
use super::state::State;
use crate::analytics::directory::DeviceState;
use crate::analytics::ranking::{Rank, RankBy, RankQuery};
use crate::analytics::summary::FieldSummary;
use crate::metric::timestamp::Rfc3339;
use crate::schema::Schema;
use percore::clock::Now;
use percore::http::handler::{Context, Reply};
use percore::http::problem::problem;
use percore::http::request::Request;
use percore::http::status::Status;

/// Answers with the page of devices that the query asks for.
pub fn answer(
    request: &Request<'_>,
    state: &Arc<State>,
    context: &Context<'_>,
    body: &mut Vec<u8>,
    route: usize,
) -> Reply {
    let query = match device_query::read(request, state.settings.schema) {
        Ok(query) => query,
        Err(error) => return Reply::Now(problem(body, Status::BadRequest, error, None, route)),
    };
    state.submit(Lane::Analyze, context, body, route, move |state, execution, body| {
        write_page(state, &query, execution.now, body);
        live(route)
    })
}

/// A page of devices.
pub(super) struct FoundPage {
    pub(super) devices: Vec<DeviceState>,
    /// The devices of all pages.
    pub(super) total: u64,
    /// True if no device comes after them.
    pub(super) is_last: bool,
    by: RankBy,
    /// The place of the last one when the order was made.
    last: Option<Rank>,
    schema: &'static Schema,
    now: Now,
}

/// Returns a page. The order is that of the ranking, which may be some seconds old; the figures are
/// of this moment, and the devices of the page are ordered by them.
pub(super) fn find_page(state: &State, query: &RankQuery, now: Now) -> FoundPage {
    let make = || state.analytics.ranking(query, now);
    let ranking = state.rankings.find_or_make(query, now, make);
    let ids = ranking.ranks.iter().map(|rank| &*rank.id);
    let mut devices = state.analytics.states(ids, now);
    // Of equal keys the order by id stays.
    devices.sort_by_key(|device| Reverse(device.key(query.by)));
    FoundPage {
        devices,
        total: ranking.total,
        is_last: ranking.is_last,
        by: query.by,
        last: ranking.ranks.last().cloned(),
        schema: state.settings.schema,
        now,
    }
}

impl FoundPage {
    /// Appends the entry of a device.
    pub(super) fn append_device(&self, device: &DeviceState, body: &mut Vec<u8>) {
        append(body, &Device::new(device, self.by, self.schema, self.now));
    }
}

fn write_page(state: &State, query: &RankQuery, now: Now, body: &mut Vec<u8>) {
    let FoundPage { devices, total, is_last, by, last, schema, .. } = find_page(state, query, now);
    let last = last.as_ref().filter(|_| !is_last);
    let next = last.map(|rank| Text(Cursor(by, rank)));
    let devices = devices.iter().map(|device| Device::new(device, by, schema, now));
    append_line(body, &Page { devices: devices.collect(), next, total });
}

/// Returns the time on the wall clock of a moment of the monotonic one, in microseconds since 1970.
pub(super) fn wall_us(mono_ns: u64, now: Now) -> i64 {
    let ago_us = i64::try_from(now.mono_ns.saturating_sub(mono_ns) / 1000).unwrap_or(i64::MAX);
    now.wall_us.saturating_sub(ago_us)
}

/// Returns the time on the wall clock at which a device was seen.
pub(super) fn last_seen(seen_ns: u64, now: Now) -> Text<Rfc3339> {
    Text(Rfc3339(wall_us(seen_ns, now) / 1000))
}

/// The members of the answer, in their order.
#[derive(Serialize)]
struct Page<'a> {
    devices: Vec<Device<'a>>,
    next: Option<Text<Cursor<'a>>>,
    total: u64,
}

#[derive(Serialize)]
struct Device<'a> {
    id: &'a str,
    last_seen: Text<Rfc3339>,
    anomalous: bool,
    points: u64,
    episodes: u64,
    accepted: u64,
    z: Number,
    fields: Fields<'a>,
}

/// The fields that a device has sent, as members with their names.
struct Fields<'a>(&'static Schema, &'a DeviceState);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(schema, DeviceState { fields, novelty, .. }) = self;
        let fields = schema.fields().iter().zip(fields).zip(padded(novelty));
        let sent = fields.filter_map(|((field, summary), novelty)| {
            let novelty = novelty.map(Novelty::from);
            Some((field.name(), Field { novelty, ..Field::from(summary.as_ref()?) }))
        });
        serializer.collect_map(sent)
    }
}

#[derive(Serialize)]
struct Field {
    last: Number,
    rolling_average: Number,
    stddev: Number,
    z_score: Number,
    anomaly: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    novelty: Option<Novelty>,
}

impl<'a> Device<'a> {
    fn new(device: &'a DeviceState, by: RankBy, schema: &'static Schema, now: Now) -> Self {
        let field = if let RankBy::Score(field) = by { field } else { None };
        Self {
            id: &device.id,
            last_seen: last_seen(device.seen_ns, now),
            anomalous: device.is_anomalous(),
            points: device.points,
            episodes: device.episodes,
            accepted: device.accepted,
            z: Number(device.score(field)),
            fields: Fields(schema, device),
        }
    }
}

impl From<&FieldSummary> for Field {
    fn from(summary: &FieldSummary) -> Self {
        Self {
            last: Number(Some(summary.last)),
            rolling_average: Number(Some(summary.rolling_average)),
            stddev: Number(Some(summary.stddev)),
            z_score: Number(summary.z_score),
            anomaly: summary.anomaly,
            novelty: None,
        }
    }
}
