//! The decoder: turns a request's body into a [`Batch`] of events and rejections.
//!
//! Pure: no socket, no clock. `body_format` reads a body of JSON as a whole, item by item;
//! `line_body` one of line protocol, `table_body` one of CSV.

mod body_format;
mod line_body;
mod table_body;

use crate::limits::{BATCH_EVENTS_MAX, BODY_BYTES_MAX};
use crate::metric::batch::{Batch, EventSpans, Items, NO_TIMESTAMP};
use crate::metric::event_writer::EventWriter;
pub use crate::metric::event_writer::MissingOptional;
use crate::metric::line_reader::LineReader;
use crate::metric::object::ObjectReader;
use crate::metric::rejection::{BodyError, Rejection};
use crate::metric::restriction::Restriction;
use crate::metric::row_reader::RowReader;
use crate::metric::span::{self, Span};
use crate::metric::timestamp::Timestamp;
use crate::metric::timestamp_generator::TimestampGenerator;
use crate::schema::Schema;
use percore::clock::Now;

/// The meaning of line ends in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineMode {
    /// Detected from the body: either an object may span lines, or every line has its own objects.
    Detect,
    /// A line end ends the object, as `application/x-ndjson` says.
    Always,
}

/// Unknown members that were ignored in events without a device id or a timestamp.
#[derive(Clone, Copy, Debug)]
pub struct IgnoredMembers<'d> {
    /// The number of such events.
    pub events: u64,
    /// The optional members that the first of them lacks.
    pub missing: MissingOptional,
    names: &'d [Span],
    batch: Batch<'d>,
}

impl<'d> IgnoredMembers<'d> {
    /// Returns the ignored names of the first of them, as they were sent.
    pub fn names(&self) -> impl Iterator<Item = &'d [u8]> {
        let (names, batch) = (self.names.iter(), self.batch);
        names.filter(|name| !name.is_empty()).map(move |name| batch.bytes(*name))
    }
}

/// A decoder of bodies, one per core. Its storage grows to the largest batch seen and is reused, so
/// that decoding does not allocate in the steady state.
#[derive(Debug)]
pub struct Decoder {
    items: Items,
    objects: ObjectReader,
    lines: LineReader,
    rows: RowReader,
    timestamps: TimestampGenerator,
    received_us: i64,
    /// The last timestamp that was assigned to an event of this body.
    assigned: Option<u64>,
    /// The first rejection after decoding whose event has a device id, and that id.
    rejected_later: Option<(Rejection, Span)>,
}

impl Decoder {
    /// Returns a decoder of metrics of a schema, for the only core and a clock that is never set
    /// back.
    pub fn new(schema: &'static Schema) -> Self {
        Self::of_core(0, 1, i64::MAX, schema)
    }

    /// Returns the decoder of one of `cores` for metrics of a schema, for a store that keeps them
    /// for so long. The
    /// decoders of all cores assign distinct timestamps.
    pub fn of_core(core: usize, cores: usize, ttl_ms: i64, schema: &'static Schema) -> Self {
        Self {
            items: Items::default(),
            objects: ObjectReader::new(schema),
            lines: LineReader::new(schema),
            rows: RowReader::new(schema),
            timestamps: TimestampGenerator::of_core(core, cores, ttl_ms),
            received_us: 0,
            assigned: None,
            rejected_later: None,
        }
    }

    /// Decodes a whole body of at most [`BODY_BYTES_MAX`] bytes, received at `received`.
    ///
    /// A body that begins with `[` is an array, whatever its media type. A bad element costs only
    /// that element as long as the array is JSON. (Under [`LineMode::Always`] it may also be a bad
    /// line: if it is not JSON and no object follows the bracket.) In every other body objects
    /// follow one another, on one line or on many. A bad line costs the rest of that line, from its
    /// first object that is not JSON or not UTF-8, or is followed by something else. Blank lines
    /// are skipped.
    ///
    /// Under [`LineMode::Detect`] the first object may span lines, and then all of them may.
    /// Otherwise the body is read line by line in three cases: its first line is a whole value and
    /// more follows; it is not JSON and its first line does not begin with an object; it is not
    /// JSON and its second line begins with one. Every other body is one item. A byte order mark of
    /// UTF-8 at the start is skipped, as RFC 8259, section 8.1, allows.
    ///
    /// # Errors
    ///
    /// [`BodyError`] if nothing of the body may be applied: it is empty, UTF-16, an array that is
    /// not JSON, or holds more than [`BATCH_EVENTS_MAX`] items.
    pub fn decode<'d>(
        &'d mut self,
        body: &'d [u8],
        lines: LineMode,
        received: Now,
    ) -> Result<Batch<'d>, BodyError> {
        self.begin_body(body, received);
        self.read(body, lines)?;
        Ok(self.batch(body))
    }

    /// Forgets the body before.
    #[inline(always)]
    fn begin_body(&mut self, body: &[u8], received: Now) {
        debug_assert!(body.len() <= BODY_BYTES_MAX, "offsets into a body have 32 bits");
        self.items.clear();
        self.objects.writer.begin_body(body.len(), received);
        self.received_us = received.wall_us;
        self.assigned = None;
        self.rejected_later = None;
    }

    /// Rejects events of the body that was decoded last, by their indexes, for what is no mistake
    /// in them. Returns the batch that is left.
    pub fn reject<'d>(&'d mut self, body: &'d [u8], events: &[(u32, Rejection)]) -> Batch<'d> {
        for (index, rejection) in events {
            let device_id = self.items.reject(*index as usize, *rejection);
            if let Some(device_id) = device_id.filter(|id| !id.is_empty()) {
                self.rejected_later.get_or_insert((*rejection, device_id));
            }
        }
        self.batch(body)
    }

    /// Rejects the events of the body that was decoded last which its sender may not write. Those
    /// without a device id get that of the sender's certificate.
    #[cold]
    pub fn restrict<'d>(&'d mut self, body: &'d [u8], by: Restriction<'_>) -> Batch<'d> {
        let Self { items, objects, rejected_later, .. } = self;
        let writer = &mut objects.writer;
        // What a certificate names is text.
        let device = by.device.and_then(|device| std::str::from_utf8(device).ok());
        let device = device.map(|device| writer.arena.append(|out| out.push_str(device)));
        items.reject_where(|event| {
            if let Some(device) = device.filter(|_| event.device_id.is_empty()) {
                event.device_id = device;
            }
            let id = span::bytes(event.device_id, body, &writer.arena);
            let rejection = by.rejection(Some(id).filter(|id| !id.is_empty()))?;
            if !event.device_id.is_empty() {
                rejected_later.get_or_insert((rejection, event.device_id));
            }
            Some(rejection)
        });
        self.batch(body)
    }

    /// Returns the rejection of the first refused event that has a device id, and that id, valid or
    /// not. `body` is the one that was decoded last.
    pub fn rejected_device<'d>(&'d self, body: &'d [u8]) -> Option<(Rejection, &'d [u8])> {
        let found = self.objects.writer.rejected_device();
        let (rejection, device_id) = found.or(self.rejected_later)?;
        Some((rejection, self.batch(body).bytes(device_id)))
    }

    /// Returns the ignored members of events that lack a device id or a timestamp: `deviceId` and
    /// `ts` are likely meant to be these. `body` is the one that was decoded last.
    pub fn ignored_members<'d>(&'d self, body: &'d [u8]) -> Option<IgnoredMembers<'d>> {
        let (events, names, missing) = self.objects.writer.ignored()?;
        Some(IgnoredMembers { events, names, missing, batch: self.batch(body) })
    }

    const fn batch<'d>(&'d self, body: &'d [u8]) -> Batch<'d> {
        let EventWriter { arena, rows, .. } = &self.objects.writer;
        Batch { items: &self.items, assigned: self.assigned, body, arena, rows }
    }

    /// Returns a timestamp that no other event has.
    #[inline(never)]
    fn assign_timestamp(&mut self) -> Timestamp {
        let assigned = self.timestamps.next(u64::try_from(self.received_us).unwrap_or(0));
        self.assigned = Some(assigned.key);
        assigned
    }

    /// Returns the number of items that were read of the last body, even if it was refused.
    pub const fn items(&self) -> usize {
        self.items.len()
    }

    /// Adds an item.
    fn push(&mut self, item: Result<EventSpans, Rejection>) -> Result<(), BodyError> {
        match item {
            Ok(event) => self.push_event(event),
            Err(_) if self.items.len() == BATCH_EVENTS_MAX => Err(BodyError::TooManyEvents),
            Err(rejection) => {
                self.items.push_rejection(rejection);
                Ok(())
            }
        }
    }

    /// Adds an event.
    #[inline(always)]
    fn push_event(&mut self, event: EventSpans) -> Result<(), BodyError> {
        if self.items.len() == BATCH_EVENTS_MAX {
            return Err(BodyError::TooManyEvents);
        }
        let mut timestamp = event.timestamp;
        if timestamp == NO_TIMESTAMP {
            timestamp = self.assign_timestamp();
        }
        self.items.push(EventSpans { timestamp, ..event });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::NUMBER_BYTES_MAX;
    use crate::metric::event::Event;
    use crate::metric::json_error::{Expected, JsonError, position};
    use crate::metric::member::Member;
    use crate::metric::number::tests::ROUNDED;
    use crate::metric::rejection::{JsonKind, Reason};
    use crate::schema::Field;

    const NOW: Now = Now { mono_ns: 1, wall_us: 1_795_420_957_123_000 };
    const GOOD: &str = r#"{"device_id":"d1","timestamp":1795420957,"cpu":41.5,"rps":1200}"#;

    const TIME: Member = Member::Timestamp("timestamp");
    const DEVICE: Member = Member::DeviceId("device_id");

    fn cpu() -> Field {
        Schema::standard().fields()[0]
    }

    fn rps() -> Field {
        Schema::standard().fields()[1]
    }

    /// Returns the literals of both fields.
    fn literals<'a>(event: &Event<'a>) -> [&'a [u8]; 2] {
        [cpu(), rps()].map(|field| event.literal(field))
    }

    fn decode<R>(
        body: &[u8],
        lines: LineMode,
        see: impl FnOnce(Batch<'_>) -> R,
    ) -> Result<R, BodyError> {
        Decoder::new(Schema::standard()).decode(body, lines, NOW).map(see)
    }

    /// Returns the reason of each item; `None` for an event.
    fn reasons(body: impl AsRef<[u8]>) -> Result<Vec<Option<Reason>>, BodyError> {
        decode(body.as_ref(), LineMode::Detect, |batch| {
            batch.iter().map(|item| item.err().map(Rejection::reason)).collect()
        })
    }

    fn event<R>(body: &str, see: impl FnOnce(Event<'_>) -> R) -> R {
        decode(body.as_bytes(), LineMode::Detect, |batch| {
            assert_eq!(batch.len(), 1);
            see(batch.iter().next().unwrap().unwrap_or_else(|error| panic!("{body}: {error}")))
        })
        .unwrap_or_else(|error| panic!("{body}: {error}"))
    }

    fn rejection(body: &str) -> Rejection {
        let found = decode(body.as_bytes(), LineMode::Detect, |batch| {
            assert_eq!(batch.len(), 1);
            batch.iter().next().unwrap().unwrap_err()
        });
        found.unwrap_or_else(|error| panic!("{body}: {error}"))
    }

    /// Returns the error of a body that is one malformed value, or an array that is not JSON.
    fn malformed(body: &str) -> JsonError {
        let found = decode(body.as_bytes(), LineMode::Detect, |batch| {
            assert_eq!(batch.len(), 1, "{body}");
            batch.iter().next().unwrap().unwrap_err()
        });
        match found {
            Ok(Rejection::Malformed(error)) | Err(BodyError::Malformed(error)) => error,
            other => panic!("{body}: {other:?}"),
        }
    }

    /// Returns an object with these members and good values.
    fn with(members: &str) -> String {
        format!("{{{members},\"cpu\":1,\"rps\":2}}")
    }

    #[test]
    fn a_metric_is_read_as_it_was_sent() {
        event(GOOD, |event| {
            assert_eq!(event.device_id, Some(&b"d1"[..]));
            assert_eq!(event.timestamp, 1_795_420_957);
            assert_eq!(event.timestamp_ms, 1_795_420_957_000);
            assert_eq!(event.values, [41.5, 1200.0]);
            assert_eq!(literals(&event), [&b"41.5"[..], b"1200"]);
        });
        event(r#" { "RPS" : -0 , "\u0043pu" : 1.50e1 } "#, |event| {
            assert_eq!(event.device_id, None);
            assert_eq!(event.timestamp, 1_795_420_957_123_000);
            assert_eq!(event.timestamp_ms, NOW.wall_ms());
            assert_eq!([0, 1].map(|at: usize| event.values[at].to_bits()), [15.0_f64.to_bits(), 0]);
            assert_eq!(literals(&event), [&b"1.50e1"[..], b"-0"]);
        });
    }

    #[test]
    fn a_timestamp_has_many_forms() {
        for (sent, kept, ms) in [
            ("1795420957123", 1_795_420_957_123, 1_795_420_957_123),
            ("1795420957123456", 1_795_420_957_123_456, 1_795_420_957_123),
            ("1795420957123456789", 1_795_420_957_123_456_789, 1_795_420_957_123),
            ("0", 0, 0),
            ("null", 1_795_420_957_123_000, NOW.wall_ms()),
            ("1795420957.0", 1_795_420_957_000, 1_795_420_957_000),
            ("1795420957.1234567", 1_795_420_957_123_456_700, 1_795_420_957_123),
            ("1e9", 1_000_000_000_000, 1_000_000_000_000),
            (r#""1795420957""#, 1_795_420_957, 1_795_420_957_000),
            (r#""1795420957\u002e5""#, 1_795_420_957_500, 1_795_420_957_500),
            (r#""179542095\u0037""#, 1_795_420_957, 1_795_420_957_000),
            (r#""2026-11-23T08:02:37Z""#, 1_795_420_957_000, 1_795_420_957_000),
            (r#""2026-11-23 08:02:37.0001""#, 1_795_420_957_000_100, 1_795_420_957_000),
            (r#""2026-11-23T08\u003a02:37.5Z""#, 1_795_420_957_500, 1_795_420_957_500),
        ] {
            event(&with(&format!("\"timestamp\":{sent}")), |event| {
                assert_eq!((event.timestamp, event.timestamp_ms), (kept, ms), "{sent}");
            });
        }
        for sent in ["-1", "-1.5", "5e18", "5000000000000000000"] {
            let body = with(&format!("\"timestamp\":{sent}"));
            assert_eq!(rejection(&body), Rejection::Timestamp { member: TIME, at: 13 }, "{sent}");
        }
        for sent in ["\"\"", "\" 1\"", "\"-1\"", "\"1969-12-31T23:59:59Z\"", "\"\\ud800\""] {
            let body = with(&format!("\"timestamp\":{sent}"));
            assert_eq!(rejection(&body), Rejection::Timestamp { member: TIME, at: 13 }, "{sent}");
        }
        for sent in ["true", "[]", "{}"] {
            let body = with(&format!("\"timestamp\":{sent}"));
            assert_eq!(rejection(&body).reason(), Reason::Type, "{sent}");
        }
    }

    #[test]
    fn ten_minutes_ahead_is_the_limit() {
        let ahead = |ms: i64| with(&format!("\"timestamp\":{}", NOW.wall_ms() + ms));
        event(&ahead(600_000), |event| {
            assert_eq!(event.timestamp_ms, NOW.wall_ms() + 600_000);
        });
        assert_eq!(rejection(&ahead(600_001)), Rejection::Future { member: TIME, at: 13 });
        let quoted = ahead(600_001).replace(":17", ":\"17").replace(",\"cpu", "\",\"cpu");
        assert_eq!(rejection(&quoted), Rejection::Future { member: TIME, at: 13 });
        for later in ["1795421557.124", "179542155712400001e-5", "\"2026-11-23 08:12:37.124\""] {
            let body = with(&format!("\"timestamp\":{later}"));
            assert_eq!(rejection(&body), Rejection::Future { member: TIME, at: 13 }, "{later}");
        }
    }

    #[test]
    fn a_value_is_a_number_in_range() {
        for (cpu, rps) in [("0", "0"), ("1000000", "1000000000000"), ("1e6", "1e12"), ("-0.0", "0")]
        {
            event(&format!("{{\"cpu\":{cpu},\"rps\":{rps}}}"), |event| {
                assert_eq!(literals(&event), [cpu.as_bytes(), rps.as_bytes()]);
            });
        }
        let cpu_member = Member::Value(cpu());
        for sent in ["41.5", "0", "1e6", "-0", "1000000.0", "4\\u0031.5"] {
            event(&format!("{{\"rps\":\"2\",\"cpu\":\"{sent}\"}}"), |event| {
                let meant = sent.replace("\\u0031", "1");
                let value: f64 = meant.parse().unwrap();
                assert_eq!(literals(&event), [meant.as_bytes(), b"2"]);
                assert_eq!(event.values, [value, 2.0]);
            });
        }
        for sent in ["\"-1\"", "\"1e400\"", "\"1000000.5\""] {
            let body = format!("{{\"rps\":1,\"cpu\":{sent}}}");
            assert_eq!(rejection(&body), Rejection::Range { field: cpu(), at: 15 }, "{sent}");
        }
        let long = format!("{{\"rps\":1,\"cpu\":\"0.{}\"}}", "0".repeat(NUMBER_BYTES_MAX));
        assert_eq!(rejection(&long), Rejection::TooLong { field: cpu(), at: 15 });
        for (sent, found) in [
            ("\"\"", JsonKind::String),
            ("\" 1\"", JsonKind::String),
            ("\"1 \"", JsonKind::String),
            ("\"+1\"", JsonKind::String),
            ("\"1,5\"", JsonKind::String),
            ("\"01\"", JsonKind::String),
            ("\"0x1\"", JsonKind::String),
            ("\"NaN\"", JsonKind::String),
            ("\"41.5%\"", JsonKind::String),
            ("null", JsonKind::Null),
            ("true", JsonKind::Boolean),
            ("[1]", JsonKind::Array),
            ("{\"cpu\":1}", JsonKind::Object),
        ] {
            let body = format!("{{\"rps\":1,\"cpu\":{sent}}}");
            assert_eq!(rejection(&body), Rejection::Type { member: cpu_member, found, at: 15 });
        }
        for sent in ["-1", "-1e-300", "1000000.0000000002", "1e400", "-1e400", "1e7"] {
            let body = format!("{{\"rps\":1,\"cpu\":{sent}}}");
            assert_eq!(rejection(&body), Rejection::Range { field: cpu(), at: 15 }, "{sent}");
        }
        for sent in ["NaN", "Infinity", "+1", ".5", "01", "1.", "0x1", "1_0", "'1'", ""] {
            malformed(&format!("{{\"cpu\":{sent},\"rps\":1}}"));
        }
        assert_eq!(
            rejection(r#"{"rps":1,"cpu":"hot"}"#).to_string(),
            "cpu: expected a finite number from 0 to 1000000, found a string at byte 15"
        );
    }

    #[test]
    fn required_fields_are_missed_by_name() {
        assert_eq!(rejection("{}").to_string(), "cpu: missing");
        assert_eq!(rejection(r#"{"cpu":1}"#).to_string(), "rps: missing");
        assert_eq!(rejection(r#"{"rps":1,"Cp":1}"#).to_string(), "cpu: missing");
    }

    #[test]
    fn a_field_given_twice_is_refused_in_whatever_case() {
        for (body, name, at) in [
            (r#"{"cpu":1,"rps":2,"cpu":1}"#, "cpu", 17),
            (r#"{"cpu":1,"rps":2,"CPU":1}"#, "cpu", 17),
            (r#"{"cpu":1,"rps":2,"\u0052ps":1}"#, "rps", 17),
            (r#"{"cpu":1,"rps":2,"timestamp":null,"Timestamp":null}"#, "timestamp", 34),
            (r#"{"device_id":null,"DEVICE_ID":"a","cpu":1,"rps":2}"#, "device_id", 18),
        ] {
            let detail = format!("{name}: given twice, again at byte {at}");
            assert_eq!(rejection(body).to_string(), detail, "{body}");
        }
        event(&with(r#""x":1,"x":2,"X":{"cpu":1,"cpu":2}"#), |_| ());
        // No case folding beyond ASCII: the Kelvin sign is no k, the long s no s.
        event(&with("\"rp\u{17f}\":1,\"\u{ff43}pu\":1"), |_| ());
    }

    #[test]
    fn what_nothing_comes_of_is_not_rounded() {
        // The middle between one and its neighbour.
        const HARD: &str = "1.00000000000000011102230246251565404236316680908203125";
        let rounded = |body: &str| {
            let before = ROUNDED.get();
            let _ = reasons(body);
            ROUNDED.get() - before
        };
        assert_eq!(rounded(&format!("{{\"cpu\":{HARD},\"rps\":{HARD}}}")), 2);
        assert_eq!(rounded(&format!("{{\"cpu\":{HARD},\"rps\":{HARD},\"x\":{HARD}}}")), 2);
        for members in [
            format!("\"cpu\":1,\"Cpu\":{HARD},\"CPU\":{HARD}"),
            format!("\"cpu\":-1,\"rps\":{HARD}"),
            format!("\"device_id\":\"\",\"cpu\":{HARD},\"rps\":{HARD}"),
            format!("\"cpu\":1,\"rps\":2,\"x\":{HARD},\"y\":[{HARD}]"),
            format!("\"cpu\":1,\"rps\":{HARD}{}", "0".repeat(NUMBER_BYTES_MAX)),
        ] {
            assert_eq!(rounded(&format!("{{{members}}}")), 0, "{members}");
        }
    }

    #[test]
    fn a_device_id_has_its_alphabet() {
        for id in ["a", "A-Za.z0_9:-", &"x".repeat(128)] {
            event(&with(&format!("\"device_id\":\"{id}\"")), |event| {
                assert_eq!(event.device_id, Some(id.as_bytes()));
            });
        }
        event(&with(r#""device_id":"d\u0031\u002d2""#), |event| {
            assert_eq!(event.device_id, Some(&b"d1-2"[..]));
        });
        event(&with(r#""device_id":null"#), |event| {
            assert_eq!(event.device_id, None);
        });
        for id in [
            "",
            " ",
            "a b",
            "a/b",
            "a\\/b",
            "a\\n",
            "é",
            "\\u00e9",
            "\\u0000",
            "\\ud800",
            "a\\\"",
            "a?",
            "a\u{7f}",
            &"x".repeat(129),
            &"[".repeat(20_000),
            &"{".repeat(20_000),
        ] {
            let body = with(&format!("\"device_id\":\"{id}\""));
            assert_eq!(rejection(&body), Rejection::DeviceId { member: DEVICE, at: 13 }, "{id}");
        }
        for id in ["17", "0", &"9".repeat(128)] {
            for body in [format!("{{\"device_id\":{id},\"cpu\":1,\"rps\":2}}"), {
                format!("{{\"cpu\":1,\"rps\":2,\"device_id\" : {id} }}")
            }] {
                event(&body, |event| assert_eq!(event.device_id, Some(id.as_bytes())));
            }
        }
        let body = with(&format!("\"device_id\":{}", "9".repeat(129)));
        assert_eq!(rejection(&body), Rejection::DeviceId { member: DEVICE, at: 13 });
        for id in ["-1", "1.0", "1e3", "true", "[\"a\"]", "{}"] {
            let body = with(&format!("\"device_id\":{id}"));
            assert_eq!(rejection(&body).reason(), Reason::Type, "{id}");
        }
    }

    #[test]
    fn unknown_fields_are_ignored_whatever_they_hold() {
        for value in [
            "null",
            "true",
            "false",
            "-1.5e300",
            "1e400",
            "\"\"",
            "\"\\ud800\"",
            "\"]}\\\"\"",
            "[]",
            "{}",
            "[1,[2,{\"cpu\":[3]}]]",
            "{\"a\":{\"rps\":\"x\"}}",
            "\"é\"",
        ] {
            event(&with(&format!("\"host\":{value}")), |event| {
                assert_eq!(event.values, [1.0, 2.0], "{value}");
            });
        }
        for value in [
            "nul",
            "True",
            "[1,]",
            "{\"a\"}",
            "{\"a\":1,}",
            "[1 2]",
            "{1:2}",
            "[\"\\q\"]",
            "[\"\\u12g4\"]",
            "\"\t\"",
            "[\"\n\"]",
            "[01]",
            "[}",
            "undefined",
            "[1]]",
            "[-]",
        ] {
            malformed(&with(&format!("\"host\":{value}")));
        }
    }

    #[test]
    fn nesting_is_bounded_in_every_place() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let good = with(&format!("\"x\":{}", nested(15)));
        assert_eq!(reasons(&good), Ok(vec![None]));
        assert_eq!(
            reasons(format!("[{}]", with(&format!("\"x\":{}", nested(14))))),
            Ok(vec![None])
        );
        let deep = JsonError::Depth { at: 20 };
        assert_eq!(malformed(&with(&format!("\"x\":{}", nested(16)))), deep);
        assert_eq!(malformed(&format!("[{good}]")), deep);
        let brackets = ["[".repeat(20_000), "{\"a\":".repeat(20_000), nested(20_000)];
        for many in brackets {
            for body in [
                many.clone(),
                format!("[{many}"),
                format!("[1,{many}"),
                with(&format!("\"x\":{many}")),
                with(&format!("\"device_id\":{many}")),
                with(&format!("\"timestamp\":{many}")),
                format!("{{\"cpu\":{many}"),
                format!("{{\"\\u0063pu\":{many}"),
            ] {
                assert!(matches!(malformed(&body), JsonError::Depth { .. }));
                let lines = format!("{GOOD}\n{body}\n{GOOD}");
                assert_eq!(reasons(lines), Ok(vec![None, Some(Reason::Syntax), None]));
            }
        }
    }

    #[test]
    fn an_array_ends_behind_an_element_and_at_its_bracket() {
        let other = r#"{"cpu":1,"RPS":2}"#;
        for elements in [
            format!("{GOOD},{GOOD}"),
            format!("{GOOD} ,\n{GOOD}\n"),
            format!("{other},{GOOD},{GOOD}"),
            format!("{GOOD},{other},{GOOD},{other}"),
        ] {
            let count = elements.matches("cpu").count();
            assert_eq!(reasons(format!("[{elements}]")), Ok(vec![None; count]), "{elements}");
            assert_eq!(reasons(format!("[{elements} ] \n")), Ok(vec![None; count]), "{elements}");
            for (behind, expected) in [
                (",]", Expected::Value),
                (", ]", Expected::Value),
                (",", Expected::Value),
                ("", Expected::CommaOrBracket),
                ("}", Expected::CommaOrBracket),
                (GOOD, Expected::CommaOrBracket),
                ("]]", Expected::End),
                ("],", Expected::End),
            ] {
                let body = format!("[{elements}{behind}");
                let error = malformed(&body);
                let found = match error {
                    JsonError::Syntax { expected, .. } => expected,
                    JsonError::Truncated { expected, .. } => expected,
                    other => panic!("{body}: {other}"),
                };
                assert_eq!(found, expected, "{body}");
            }
        }
        assert_eq!(reasons("[]"), Ok(vec![]));
        assert!(matches!(malformed("[,]"), JsonError::Syntax { at: 1, .. }));
        let body = [b"[".as_slice(), GOOD.as_bytes(), b",\xff]"].concat();
        let at = position(body.len() - 2);
        assert_eq!(reasons(body), Err(BodyError::Malformed(JsonError::Utf8 { at })));
    }

    #[test]
    fn an_array_costs_its_bad_elements_or_the_whole_request() {
        let body = format!("\r\n [ {GOOD}\n,3, [{GOOD}] ,{{}},\"a\" ,null,{GOOD}]\n ");
        let (not, missing) = (Some(Reason::NotObject), Some(Reason::Missing));
        assert_eq!(reasons(body), Ok(vec![None, not, not, missing, not, not, None]));
        assert_eq!(reasons("[]"), Ok(vec![]));
        assert_eq!(reasons(" [ \n] "), Ok(vec![]));
        for (body, error) in [
            ("[", "expected a JSON value, found the end at byte 1 of the body"),
            ("[1", "expected ',' or ']', found the end at byte 2 of the body"),
            ("[1,]", "expected a JSON value at byte 3 of the body"),
            ("[1 2]", "expected ',' or ']' at byte 3 of the body"),
            ("[,1]", "expected a JSON value at byte 1 of the body"),
            ("[1}", "expected ',' or ']' at byte 2 of the body"),
            ("[]]", "expected nothing after the value at byte 2 of the body"),
            ("[1]\n[2]", "expected nothing after the value at byte 4 of the body"),
            ("[{\"cpu\" 1}]", "expected ':' at byte 8 of the body"),
            ("[{\"cpu\":1 \"rps\":2}]", "expected ',' or '}' at byte 10 of the body"),
            ("[{cpu:1}]", "expected a name in double quotes at byte 2 of the body"),
            ("[{\"cpu\":1,}]", "expected a name in double quotes at byte 10 of the body"),
            ("[{\"cpu\":\"x\", \"rps\":tru}]", "rps: expected a JSON value at byte 19 of the body"),
        ] {
            assert_eq!(reasons(body).unwrap_err().to_string(), error, "{body}");
        }
        for body in [&b"[\"\xff\"]"[..], b"[1\xff]", b"[\xff", b"[1]\xff", b"[[1, \xff"] {
            let at = position(body.iter().position(|&byte| byte == 0xff).unwrap());
            assert_eq!(reasons(body), Err(BodyError::Malformed(JsonError::Utf8 { at })));
        }
    }

    #[test]
    fn a_bad_line_costs_that_line() {
        let syntax = Some(Reason::Syntax);
        let body = format!("{GOOD}\n{{\"cpu\"\n\n \t\r\n[{GOOD}]\r\n{GOOD} x\n7\n {GOOD} \r\n{{}}");
        let (not, missing) = (Some(Reason::NotObject), Some(Reason::Missing));
        let expected = vec![None, syntax, not, syntax, not, None, missing];
        assert_eq!(reasons(body), Ok(expected));

        let mut body = format!("{GOOD}\n{{\"host\":\"").into_bytes();
        body.extend_from_slice(b"\xe9\",\"cpu\":1,\"rps\":2}\n");
        body.extend_from_slice(with("\"host\":\"é\"").as_bytes());
        body.extend_from_slice(b"\n \xff");
        assert_eq!(reasons(&body), Ok(vec![None, syntax, None, syntax]));
        decode(&body, LineMode::Detect, |batch| {
            let items: Vec<_> = batch.iter().collect();
            assert_eq!(items[0].unwrap().device_id, Some(&b"d1"[..]));
            assert_eq!(literals(&items[2].unwrap()), [b"1", b"2"]);
            let (bad, at) = (items[1].unwrap_err(), 9);
            assert_eq!(bad, Rejection::Malformed(JsonError::Utf8 { at }));
        })
        .unwrap();
    }

    #[test]
    fn positions_count_from_the_event() {
        let bad = r#"{"cpu":"x","rps":2}"#;
        let at_seven = |body: String| {
            decode(body.as_bytes(), LineMode::Detect, |batch| {
                let error = batch.iter().last().unwrap().unwrap_err();
                assert!(error.to_string().ends_with("at byte 7"), "{body}: {error}");
            })
        };
        for body in [format!(" {bad}"), format!("{GOOD}\n  {bad}"), format!("[{GOOD},\n {bad}]")] {
            assert_eq!(at_seven(body), Ok(()));
        }
        let line = format!("{GOOD}\n  {{\"cpu\":?");
        decode(line.as_bytes(), LineMode::Detect, |batch| {
            let error = batch.iter().last().unwrap().unwrap_err();
            assert_eq!(error.to_string(), "cpu: expected a JSON value at byte 7");
        })
        .unwrap();
    }

    #[test]
    fn the_form_is_seen_from_the_body() {
        let syntax = Some(Reason::Syntax);
        let pretty = GOOD.replace(',', ",\r\n  ").replace('{', "\n{\n");
        assert_eq!(reasons(&pretty), Ok(vec![None]));
        assert_eq!(reasons(format!("{GOOD}\n\n")), Ok(vec![None]));
        assert_eq!(reasons(format!("\n{GOOD}\r\n{GOOD}")), Ok(vec![None, None]));
        assert_eq!(reasons("nonsense\nmore"), Ok(vec![syntax; 2]));
        assert_eq!(reasons(format!("nonsense\n5\n{GOOD}")).unwrap()[2], None);
        assert_eq!(reasons(format!("{{\"cpu\":\n\n {GOOD}")), Ok(vec![syntax, None]));
        assert_eq!(reasons(format!("{GOOD}{GOOD}\n{GOOD}")), Ok(vec![None; 3]));
        assert_eq!(reasons("5"), Ok(vec![Some(Reason::NotObject)]));
        assert_eq!(reasons("5\n6"), Ok(vec![Some(Reason::NotObject); 2]));
        for body in [
            "nonsense".to_owned(),
            format!("{GOOD}\u{feff}"),
            format!(" \u{feff}{GOOD}"),
            format!("\u{feff}\u{feff}{GOOD}"),
            format!("{GOOD},\n"),
            format!("{GOOD},{GOOD}"),
            format!("{pretty} x"),
            format!("{GOOD}\0"),
        ] {
            malformed(&body);
        }
        for body in ["", " ", "\r\n\t\n"] {
            assert_eq!(reasons(body), Err(BodyError::Empty));
            assert_eq!(decode(body.as_bytes(), LineMode::Always, |_| ()), Err(BodyError::Empty));
        }
    }

    /// As `curl -d @file` sends NDJSON, and objects that span lines.
    #[test]
    fn objects_may_follow_one_another() {
        let (syntax, missing) = (Some(Reason::Syntax), Some(Reason::Missing));
        let pretty = GOOD.replace(',', ",\r\n  ").replace('{', "\n{\n");
        let odd = with("\"host\":\"é\"");
        for (body, expected) in [
            (format!("{GOOD}{GOOD}{GOOD}"), vec![None; 3]),
            (format!("{odd}{odd}{GOOD}{odd}"), vec![None; 4]),
            (format!(" {GOOD} \t{odd} \r{GOOD}\n"), vec![None; 3]),
            (
                format!("{GOOD}{{}}{odd}{{\"cpu\":1}}{GOOD}"),
                vec![None, missing, None, missing, None],
            ),
            (format!("{GOOD}{odd}\n{odd}{GOOD}"), vec![None; 4]),
            (format!("{pretty}{pretty}\n{odd}{pretty}{GOOD}"), vec![None; 5]),
            // The first that is no JSON costs the rest of its line: nothing says where to go on.
            (format!("{GOOD}{GOOD} x"), vec![None, syntax]),
            (format!("{GOOD}{{\"cpu\":{GOOD}"), vec![None, syntax]),
            (format!("{GOOD}{{\"cpu\"{GOOD}\n{GOOD}{GOOD}"), vec![None, syntax, None, None]),
            (format!("{odd}{GOOD},{GOOD}"), vec![None, syntax]),
            (format!("{odd}5"), vec![syntax]),
            (format!("5{odd}"), vec![syntax]),
            (format!("{pretty}{GOOD} x\n{GOOD}"), vec![None, syntax]),
        ] {
            assert_eq!(reasons(&body), Ok(expected), "{body}");
        }
        let body = [GOOD.as_bytes(), b" {\"host\":\"\xe9\",\"cpu\":1,\"rps\":2}"].concat();
        decode(&body, LineMode::Detect, |batch| {
            let bad = batch.iter().nth(1).unwrap().unwrap_err();
            assert_eq!(bad, Rejection::Malformed(JsonError::Utf8 { at: 9 }));
        })
        .unwrap();
        let many = GOOD.repeat(BATCH_EVENTS_MAX);
        assert_eq!(reasons(&many), Ok(vec![None; BATCH_EVENTS_MAX]));
        assert_eq!(reasons(many + GOOD), Err(BodyError::TooManyEvents));
    }

    #[test]
    fn other_encodings_are_named() {
        let marked = format!("\u{feff}{GOOD}");
        assert_eq!(reasons(&marked), Ok(vec![None]));
        assert_eq!(reasons(format!("\u{feff}\r\n[{GOOD},{GOOD}]")), Ok(vec![None; 2]));
        assert_eq!(reasons(format!("{marked}\n{GOOD}")), Ok(vec![None; 2]));
        assert_eq!(reasons("\u{feff}\n"), Err(BodyError::Empty));
        // Two files, one behind the other.
        let detail = |body: &str| rejection(body).to_string();
        let found = "expected nothing after the value, found a byte order mark (BOM) at byte 63";
        assert_eq!(detail(&format!("{GOOD}{marked}")), found);
        decode(format!("{GOOD}\n{marked}").as_bytes(), LineMode::Always, |batch| {
            let bad = batch.iter().nth(1).unwrap().unwrap_err().to_string();
            assert_eq!(bad, "expected a JSON value, found a byte order mark (BOM) at byte 0");
        })
        .unwrap();

        let wide = |body: &str, order: fn(u16) -> [u8; 2]| {
            body.encode_utf16().flat_map(order).collect::<Vec<u8>>()
        };
        let lines = format!("{GOOD}\n{GOOD}\n");
        for body in [GOOD, &marked, &lines, &format!("[{GOOD}]")] {
            for order in [u16::to_le_bytes, u16::to_be_bytes] {
                for lines in [LineMode::Detect, LineMode::Always] {
                    let error = decode(&wide(body, order), lines, |_| ()).unwrap_err();
                    let expected = "expected UTF-8, found UTF-16 or UTF-32 at byte 0 of the body";
                    assert_eq!(error.to_string(), expected);
                }
            }
        }
    }

    #[test]
    fn a_form_is_told_to_be_one() {
        for form in [
            "cpu=1&rps=2",
            "device_id=d1&cpu=41.5",
            "=",
            "%7B%22cpu%22%3A1%7D=",
            "%5b%7bcpu",
            "a%20b=1",
            "1=2",
        ] {
            let said = rejection(form).to_string().contains("send JSON");
            assert_eq!(said, form != "=", "{form}");
        }
        assert!(!rejection("cpu").to_string().contains("form"));
    }

    #[test]
    fn members_are_named_that_may_be_meant_for_what_is_missing() {
        let ignored = |body: &str| {
            let mut decoder = Decoder::new(Schema::standard());
            decoder.decode(body.as_bytes(), LineMode::Detect, NOW).unwrap();
            decoder.ignored_members(body.as_bytes()).map(|ignored| {
                let names: Vec<_> = ignored.names().map(String::from_utf8_lossy).collect();
                (ignored.events, names.join(" "), ignored.missing)
            })
        };
        let lacks = |device_id, timestamp| MissingOptional { device_id, timestamp };
        let some = |events, names: &str, missing| Some((events, names.to_owned(), missing));
        let both = "\"device_id\":\"d\",\"timestamp\":1";
        for (members, expected) in [
            ("\"deviceId\":\"d\",\"ts\":1", some(1, "deviceId ts", lacks(true, true))),
            ("\"device_id\":null,\"t\\u0073\":1", some(1, "t\\u0073", lacks(false, true))),
            ("\"TIMESTAMP\":1,\"é\":{\"x\":1}", some(1, "é", lacks(true, false))),
            ("\"a\":1,\"b\":1,\"c\":1,\"d\":1,\"e\":1", some(1, "a b c d", lacks(true, true))),
            (both, None),
            (&format!("{both},\"host\":1"), None),
            // Refused for another reason, which is reported instead.
            ("\"deviceId\":\"d\",\"timestamp\":true", None),
        ] {
            assert_eq!(ignored(&with(members)), expected, "{members}");
        }
        assert_eq!(ignored(&with("\"rps \":1")), some(1, "rps ", lacks(true, true)));
        let body = format!("{GOOD}{}{}", with("\"ts\":1"), with("\"host\":1"));
        assert_eq!(ignored(&body), some(2, "ts", lacks(true, true)));
        assert_eq!(ignored(GOOD), None);
    }

    #[test]
    fn lines_can_be_asked_for() {
        let count = |body: &str| {
            decode(body.as_bytes(), LineMode::Always, |batch| {
                (batch.len(), batch.iter().filter(Result::is_ok).count())
            })
        };
        assert_eq!(count(GOOD), Ok((1, 1)));
        assert_eq!(count(&format!("{GOOD}{GOOD}\n{GOOD}")), Ok((3, 3)));
        assert_eq!(count("nonsense"), Ok((1, 0)));
        assert_eq!(count(&GOOD.replace(',', ",\n")), Ok((4, 0)));
        // An array is one, or nothing of it is taken: its lines may look like objects.
        assert_eq!(count(&format!("[{GOOD}]")), Ok((1, 1)));
        assert_eq!(count(&format!("[\n{GOOD},\n{GOOD}\n]\n")), Ok((2, 2)));
        for halved in [format!("[{GOOD},\n{GOOD}"), format!("[{GOOD}\n{GOOD}\n]")] {
            assert!(matches!(count(&halved), Err(BodyError::Malformed(_))), "{halved}");
        }
        assert_eq!(count(&format!("[1,\n{GOOD}\n]")), Ok((2, 1)));
        // A line that cannot be an array of objects is a bad line.
        for line in ["[INFO] started", "[[[[", "[1]"] {
            assert_eq!(count(&format!("{line}\n{GOOD}")), Ok((2, 1)), "{line}");
        }
    }

    #[test]
    fn a_request_has_so_many_events_good_and_bad() {
        let bad = "{}";
        for lines in [[GOOD, bad].repeat(BATCH_EVENTS_MAX / 2), vec!["x"; BATCH_EVENTS_MAX]] {
            let most = lines.join("\n\n");
            let more = format!("{most}\n{bad}");
            let count = |body: &str| decode(body.as_bytes(), LineMode::Always, |batch| batch.len());
            assert_eq!(count(&most), Ok(BATCH_EVENTS_MAX));
            assert_eq!(count(&more), Err(BodyError::TooManyEvents));
        }
        let array = format!("[{}1]", "1,".repeat(BATCH_EVENTS_MAX));
        assert_eq!(reasons(array), Err(BodyError::TooManyEvents));
    }

    #[test]
    fn a_prefix_is_an_error_or_a_right_part() {
        let spread = GOOD.replace(',', ",\n ");
        let array = format!("[{GOOD},{GOOD}]");
        let lines = format!("{GOOD}\n{GOOD}\n{GOOD}");
        let nested = with(r#""a":[{"b":"\u00e9\"é"},-1.5e+3,true,null]"#);
        for whole in [GOOD, &spread, &nested, &array] {
            assert!(reasons(whole).unwrap().iter().all(Option::is_none));
            for end in 0..whole.len() {
                let found = reasons(&whole.as_bytes()[..end]);
                let is_wrong = found.is_err() || found == Ok(vec![Some(Reason::Syntax)]);
                assert!(is_wrong, "{whole} to {end}: {found:?}");
            }
        }
        for end in GOOD.len() + 1..lines.len() {
            let found = reasons(&lines.as_bytes()[..end]).unwrap();
            let (whole, rest) = ((end + 1) / (GOOD.len() + 1), (end + 1) % (GOOD.len() + 1));
            let mut expected = vec![None; whole];
            // A newline at the end begins no line.
            expected.extend((rest > 1).then_some(Some(Reason::Syntax)));
            assert_eq!(found, expected, "to {end}");
        }
    }

    #[test]
    fn a_time_that_nobody_sent_is_given_once() {
        let mut decoder = Decoder::of_core(3, 4, 300_000, Schema::standard());
        let line = "{\"cpu\":1,\"rps\":2}\n{\"cpu\":1,\"rps\":2,\"timestamp\":null}\n{}\n";
        let mut last = 0;
        for _ in 0..3 {
            let batch = decoder.decode(line.as_bytes(), LineMode::Detect, NOW).unwrap();
            assert_eq!((batch.len(), batch.events(), batch.assigned_timestamp()), (3, 2, None));
            for event in batch.iter().flatten() {
                let given = event.timestamp;
                assert!(given > last && given % 4 == 3, "{given} after {last}");
                assert_eq!(event.timestamp_ms, NOW.wall_ms());
                last = given;
            }
        }
        // Only for a single event is it clear which one has the timestamp.
        let batch = decoder.decode(b"[{\"cpu\":1,\"rps\":2}]", LineMode::Detect, NOW).unwrap();
        assert_eq!(batch.assigned_timestamp(), Some(last + 4));
        let batch = decoder.decode(GOOD.as_bytes(), LineMode::Detect, NOW).unwrap();
        assert_eq!(batch.assigned_timestamp(), None);
    }

    #[test]
    fn what_is_no_json_names_its_member() {
        for (sent, detail) in [
            ("NaN", "expected a finite number, found NaN or infinity at byte 15"),
            ("nan", "expected a finite number, found NaN or infinity at byte 15"),
            ("-Infinity", "expected a finite number, found NaN or infinity at byte 15"),
            ("+inf", "expected a finite number, found NaN or infinity at byte 15"),
            ("None", "expected a JSON value at byte 15"),
            ("01", "expected a number as JSON writes it at byte 16"),
            ("'1'", "expected a JSON value at byte 15"),
            ("[1,]", "expected a JSON value at byte 18"),
        ] {
            let found = malformed(&format!("{{\"rps\":1,\"cpu\":{sent}}}")).to_string();
            assert_eq!(found, format!("cpu: {detail}"), "{sent}");
        }
        let cut = malformed("{\"timestamp\":").to_string();
        assert_eq!(cut, "timestamp: expected a JSON value, found the end at byte 13");
        let ignored = malformed("{\"host\":NaN,\"cpu\":1}").to_string();
        assert_eq!(ignored, "expected a JSON value at byte 8");
        let array = reasons("[{\"cpu\":1,\"rps\":NaN}]").unwrap_err().to_string();
        let detail = "rps: expected a finite number, found NaN or infinity at byte 16 of the body";
        assert_eq!(array, detail);
    }

    #[test]
    fn a_decoder_forgets_the_body_before() {
        let mut decoder = Decoder::new(Schema::standard());
        let later = Now { mono_ns: 2, wall_us: NOW.wall_us + 5000 };
        let body = with(r#""device_id":"\u0061""#);
        for (received, ms) in [(NOW, NOW.wall_ms()), (later, later.wall_ms())] {
            let batch = decoder.decode(body.as_bytes(), LineMode::Detect, received).unwrap();
            let event = batch.iter().next().unwrap().unwrap();
            assert_eq!((event.device_id, event.timestamp_ms), (Some(&b"a"[..]), ms));
            assert!(decoder.decode(b"[{\"cpu\":1,\"rps\":2},", LineMode::Detect, later).is_err());
        }
        assert!(decoder.decode(b"[]", LineMode::Detect, NOW).unwrap().is_empty());
    }
}
