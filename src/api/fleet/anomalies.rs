//! `GET /anomalies?scope=fleet`: the last findings of all members, for a poller that sees each
//! once.
//!
//! The cursor has the number of the last finding seen of each member. One that was not there yet
//! begins with its first, and one that is silent keeps its number until it speaks again.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::asking::{Parts, ask, bad_request};
use super::question::Question;
use super::view::{FleetView, part};
use crate::analytics::anomaly::FindingKind;
use crate::analytics::anomaly_journal::{AnomalyQuery, NumberedAnomaly};
use crate::api::anomalies::{AnomalyQueryError, Entry, mark, read_mark, read_query};
use crate::api::devices::wall_us;
use crate::api::jobs::Lane;
use crate::api::json::{Raw, Text, append_line, live, read};
use crate::api::state::State;
use crate::fleet::answers::Answers;
use percore::clock::Now;
use percore::http::handler::{Context, Reply};
use percore::http::request::Request;

/// The part of a member.
#[derive(Serialize, Deserialize)]
struct Part {
    /// The newest, or the oldest behind the number asked for; the newest first.
    rows: Vec<Row>,
    /// The number, in the kind asked for, of the last one of the member that these lead to.
    next: u64,
}

/// An anomaly, or a novelty.
#[derive(Serialize, Deserialize)]
struct Row {
    /// The number in the kind that is asked for.
    number: u64,
    /// The time at which it came, in fleet time.
    seen_us: i64,
    /// The entry of the answer.
    anomaly: Raw,
}

/// An entry of the answer.
#[derive(Serialize)]
struct FleetEntry<'a> {
    instance: &'a str,
    #[serde(flatten)]
    entry: Entry<'a>,
}

/// Returns what this instance tells.
pub(super) fn tell(query: AnomalyQuery, state: &State, now: Now) -> Vec<u8> {
    // A number that this one has not had is of an earlier life under this name: there is none.
    let from_first = AnomalyQuery { since: Some(0), ..query };
    let found = state.analytics.anomalies(&query, now);
    let Some(page) = found.or_else(|| state.analytics.anomalies(&from_first, now)) else {
        return Vec::new();
    };
    let row = |numbered: &NumberedAnomaly| {
        let instance = state.settings.instance.as_str();
        let json = part(&FleetEntry { instance, entry: Entry::from(numbered) });
        let seen_us = wall_us(numbered.seen_ns, now);
        let anomaly = read(&json)?;
        Some(Row { number: numbered.number_in(query.kind), seen_us, anomaly })
    };
    part(&Part { rows: page.anomalies.iter().filter_map(row).collect(), next: page.next })
}

/// The numbers of the last findings that a poller has seen, by member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Cursor {
    /// The kind, which has numbers of its own.
    kind: Option<FindingKind>,
    seen: BTreeMap<u64, u64>,
}

impl fmt::Display for Cursor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "f{}", mark(self.kind))?;
        self.seen.iter().try_for_each(|(member, number)| write!(out, "~{member:x}.{number}"))
    }
}

impl Cursor {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('~');
        let pair = |part: &str| {
            let (member, number) = part.split_once('.')?;
            Some((u64::from_str_radix(member, 16).ok()?, number.parse().ok()?))
        };
        let (kind, _) = read_mark(parts.next()?.strip_prefix('f')?);
        let cursor = Self { kind, seen: parts.map(pair).collect::<Option<_>>()? };
        // Nothing else means the same.
        (cursor.to_string() == text).then_some(cursor)
    }
}

/// Answers with the newest findings, or with those behind the cursor of the query.
pub(in crate::api) fn answer(
    request: &Request<'_>,
    state: &Arc<State>,
    context: &Context<'_>,
    body: &mut Vec<u8>,
    route: usize,
) -> Reply {
    let parse = |text: &str| {
        let cursor = Cursor::parse(text)?;
        let kind = cursor.kind;
        Some((cursor, kind))
    };
    let (limit, kind, since) = match read_query(request, parse, AnomalyQueryError::FleetCursor) {
        Ok(query) => query,
        Err(error) => return bad_request(error, body, route),
    };
    let seen = since.clone().map(|cursor| cursor.seen.into_iter().collect());
    let question = match kind {
        None => Question::Anomalies { limit, since: seen },
        Some(kind) => Question::AnomaliesOfKind { kind, limit, since: seen },
    };
    ask(
        state,
        (Lane::Analyze, route),
        context,
        body,
        (&question, read),
        move |_, answers, parts, _, body| {
            write((kind, limit), since, answers, parts, body);
            live(route)
        },
    )
}

/// The members of the answer, in their order.
#[derive(Serialize)]
struct Page<'a> {
    #[serde(flatten)]
    fleet: FleetView<'a>,
    anomalies: Vec<&'a Raw>,
    next: Text<Cursor>,
    missed: Option<u64>,
}

fn write(
    (kind, limit): (Option<FindingKind>, usize),
    since: Option<Cursor>,
    answers: &Answers,
    parts: &Parts<'_, Part>,
    body: &mut Vec<u8>,
) {
    let mut rows: Vec<(u64, &Row)> = parts
        .iter()
        .flat_map(|(member, part)| part.rows.iter().map(|row| (member.number, row)))
        .collect();
    // The newest first; of one member, the numbers decide.
    rows.sort_by_key(|(member, row)| Reverse((row.seen_us, *member, row.number)));
    if since.is_some() {
        // The oldest, so that nothing is skipped.
        rows.drain(..rows.len().saturating_sub(limit));
    } else {
        rows.truncate(limit);
    }
    let (seen, missed) = advance(since.map(|cursor| cursor.seen), parts, &rows, answers);
    let next = Cursor { kind, seen };
    let anomalies = rows.iter().map(|(_, row)| &row.anomaly).collect();
    let (fleet, next) = (FleetView::new(answers), Text(next));
    append_line(body, &Page { fleet, anomalies, next, missed });
}

/// Returns the numbers of the next cursor, and how many findings behind the last one nobody has any
/// more; `None` if that is not known, as a member of the cursor is gone.
fn advance(
    before: Option<BTreeMap<u64, u64>>,
    parts: &Parts<'_, Part>,
    rows: &[(u64, &Row)],
    answers: &Answers,
) -> (BTreeMap<u64, u64>, Option<u64>) {
    let Some(before) = before else {
        let next = parts.iter().map(|(member, part)| (member.number, part.next));
        return (next.collect(), Some(0));
    };
    let (mut next, mut missed) = (BTreeMap::new(), 0);
    for (member, part) in parts {
        let own = rows.iter().filter(|(of, _)| *of == member.number).map(|(_, row)| row.number);
        let (count, last) = (own.clone().count(), own.max());
        let seen = before.get(&member.number).copied().unwrap_or_default();
        let is_whole = count == part.rows.len();
        let reached = if is_whole { part.next } else { last.unwrap_or(seen) };
        missed += reached.saturating_sub(seen).saturating_sub(count as u64);
        next.insert(member.number, reached);
    }
    // Those who are silent.
    for member in &answers.members {
        if let Some(seen) = before.get(&member.number) {
            next.entry(member.number).or_insert(*seen);
        }
    }
    let is_known = before.keys().all(|member| next.contains_key(member));
    (next, is_known.then_some(missed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_have_one_form() {
        for text in ["f", "f~1.0", "f~1.7~ffffffffffffffff.18446744073709551615"] {
            assert_eq!(Cursor::parse(text).unwrap().to_string(), text);
            for (letter, kind) in [("fa", FindingKind::Anomaly), ("fn", FindingKind::Novelty)] {
                let text = text.replacen('f', letter, 1);
                let cursor = Cursor::parse(&text).unwrap();
                assert_eq!((cursor.to_string(), cursor.kind), (text, Some(kind)));
            }
        }
        for wrong in
            ["", "g", "f~", "f~1", "f~1.", "f~.1", "f~01.1", "f~1.01", "f~2.1~1.1", "x~1.1"]
                .into_iter()
                .chain([
                    "f~1.1~1.1",
                    "f~1.-1",
                    "f~+1.1",
                    "f~1.1.1",
                    "f~g.1",
                    "F~1.1",
                    "f~10000000000000000.1",
                    "fx~1.1",
                    "fan~1.1",
                    "n~1.1",
                    "fn~1.n1",
                ])
        {
            assert_eq!(Cursor::parse(wrong), None, "{wrong}");
        }
    }
}
