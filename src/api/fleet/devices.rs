//! `GET /devices?scope=fleet`: a page of the devices of all members.
//!
//! Each member makes its own page behind the same cursor, and the first ones of all of these are
//! the page of the fleet. Keys that are times are in fleet time, by the same [`Clocks`] on all
//! pages. A device whose window is on its way is held by two members for a moment; of the two, the
//! one that saw it last is listed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::asking::{Parts, ask, bad_request};
use super::question::Question;
use super::view::{FleetView, part};
use crate::analytics::ranking::{Rank, RankBy, RankQuery};
use crate::api::device_query::{self, Cursor, DeviceQueryError, SEPARATOR};
use crate::api::devices::find_page;
use crate::api::jobs::Lane;
use crate::api::json::{Raw, Text, append_line, live, read};
use crate::api::state::State;
use crate::fleet::answers::Answers;
use crate::schema::Schema;
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
    /// The difference by which its times are in fleet time.
    clock_ns: u64,
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

/// Returns what this instance tells, as the member of this number.
pub(super) fn tell(query: &str, member: u64, state: &State, now: Now) -> Vec<u8> {
    let (headers, query) = (Headers::NONE, Some(query));
    let request = Request { method: Method::Get, path: "/devices", query, headers, body: b"" };
    let Ok((query, clocks)) = read_query(&request, state.settings.schema) else {
        return Vec::new();
    };
    let time = clocks.0.get(&member).map_or_else(|| FleetTime::new(now), |ns| FleetTime(*ns));
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
    part(&Part { total: page.total, is_last: page.is_last, rows, clock_ns: time.0 })
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

/// The differences of fleet time to the clocks of members, by their numbers. The cursor of a list
/// by time has those of its first page: by a better one, found meanwhile, a device could be on two
/// pages, or on none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Clocks(BTreeMap<u64, u64>);

impl fmt::Display for Clocks {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut clocks = self.0.iter();
        clocks.try_for_each(|(member, ns)| write!(out, "{SEPARATOR}{member:x}.{ns:x}"))
    }
}

impl Clocks {
    /// Reads what stands behind the rank in a cursor.
    fn parse(text: &str) -> Option<Self> {
        let number = |digits: &str| u64::from_str_radix(digits, 16).ok();
        let pair = |part: &str| {
            let (member, ns) = part.split_once('.')?;
            Some((number(member)?, number(ns)?))
        };
        let clocks = Self(text.split(SEPARATOR).skip(1).map(pair).collect::<Option<_>>()?);
        // Nothing else means the same.
        (clocks.to_string() == text).then_some(clocks)
    }
}

/// Reads the query of a request.
fn read_query(
    request: &Request<'_>,
    schema: &Schema,
) -> Result<(RankQuery, Clocks), DeviceQueryError> {
    let after = request.parameter("after");
    let after = after.as_deref();
    let end = after.and_then(|cursor| cursor.match_indices(SEPARATOR).nth(2)).map(|(at, _)| at);
    let parts = after.zip(end).and_then(|(cursor, at)| cursor.split_at_checked(at));
    let (rank, clocks) = parts.map_or((after, ""), |(rank, clocks)| (Some(rank), clocks));
    let query = device_query::read_with(request, rank, schema)?;
    let clocks = Clocks::parse(clocks).filter(|known| {
        // Other keys are no times.
        query.by == RankBy::LastSeen || *known == Clocks::default()
    });
    Ok((query, clocks.ok_or(DeviceQueryError::Cursor)?))
}

/// The cursor of a page.
struct FleetCursor<'a>(Cursor<'a>, Clocks);

impl fmt::Display for FleetCursor<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}{}", self.0, self.1)
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
    let (query, clocks) = match read_query(request, state.settings.schema) {
        Ok(read) => read,
        Err(error) => return bad_request(error, body, route),
    };
    let question = Question::Devices { query: request.query.unwrap_or_default().to_owned() };
    ask(
        state,
        (Lane::Analyze, route),
        context,
        body,
        (&question, read),
        move |_, answers, parts, _, body| {
            write(&query, clocks, answers, parts, body);
            live(route)
        },
    )
}

/// The members of the answer, in their order.
#[derive(Serialize)]
struct Page<'a> {
    #[serde(flatten)]
    fleet: FleetView<'a>,
    devices: Vec<&'a Raw>,
    next: Option<Text<FleetCursor<'a>>>,
    total: u64,
}

fn write(
    query: &RankQuery,
    mut clocks: Clocks,
    answers: &Answers,
    parts: &Parts<'_, Part>,
    body: &mut Vec<u8>,
) {
    if query.by == RankBy::LastSeen {
        // Those who are silent keep theirs.
        clocks.0.extend(parts.iter().map(|(member, part)| (member.number, part.clock_ns)));
    }
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
        next: last.as_ref().map(|rank| Text(FleetCursor(Cursor(query.by, rank), clocks))),
        total: parts.iter().map(|(_, part)| part.total).sum(),
    };
    append_line(body, &page);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<(RankQuery, Clocks), DeviceQueryError> {
        let (headers, query) = (Headers::NONE, Some(query));
        let request = Request { method: Method::Get, path: "/devices", query, headers, body: b"" };
        read_query(&request, Schema::standard())
    }

    #[test]
    fn a_cursor_by_time_has_the_clocks_of_its_first_page() {
        let rank = Rank { key: 7, id: b"a:b"[..].into() };
        for clocks in [vec![], vec![(1, 0)], vec![(0, u64::MAX), (u64::MAX, 0x17)]] {
            let clocks = Clocks(clocks.into_iter().collect());
            let text = FleetCursor(Cursor(RankBy::LastSeen, &rank), clocks.clone()).to_string();
            let (query, found) = read(&format!("sort=last_seen&after={text}")).unwrap();
            assert_eq!((query.after.as_ref(), found), (Some(&rank), clocks), "{text}");
        }
        assert_eq!(read("after=id~0~d1").unwrap().1, Clocks::default());
        for wrong in [
            "after=id~0~d1~1.1",
            "sort=last_seen&after=last_seen~0~d1~",
            "sort=last_seen&after=last_seen~0~d1~1",
            "sort=last_seen&after=last_seen~0~d1~1.01",
            "sort=last_seen&after=last_seen~0~d1~1.1~1.1",
            "sort=last_seen&after=last_seen~0~d1~+1.1",
            "sort=last_seen&after=last_seen~0~",
            "sort=last_seen&after=last_seen~0~~1.1",
        ] {
            assert_eq!(read(wrong), Err(DeviceQueryError::Cursor), "{wrong}");
        }
    }
}
