//! Tests of bodies of CSV: samples, and the same events in JSON.

use super::*;
use crate::limits::BATCH_EVENTS_MAX;
use crate::metric::decode::LineMode;
use crate::metric::event::Event;
use crate::metric::rejection::{Reason, Rejection};
use crate::schema::{FieldOptions, Schema};
use proptest::prelude::*;

const NOW: Now = Now { mono_ns: 1, wall_us: 1_795_420_957_123_000 };

fn shown_event(event: &Event<'_>, schema: &'static Schema) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let fields = schema.fields().iter().filter(|field| event.present.contains(**field));
    let fields = fields.map(|field| {
        let literal = text(event.literal(*field));
        assert_eq!(literal.parse::<f64>().unwrap() + 0.0, event.value(*field).unwrap());
        format!("{}={literal}", field.name())
    });
    let fields: Vec<_> = fields.collect();
    let id = event.device_id.map_or("-".to_owned(), text);
    format!("{id} {} {} {}", fields.join(","), event.timestamp, event.timestamp_ms)
}

fn shown(batch: &Batch<'_>, schema: &'static Schema) -> Vec<String> {
    let items = batch.iter().map(|item| match item {
        Ok(event) => shown_event(&event, schema),
        Err(rejection) => rejection.to_string(),
    });
    items.collect()
}

fn decoded(body: &str) -> Vec<String> {
    let schema = Schema::standard();
    let mut decoder = Decoder::new(schema);
    let batch = decoder.decode_table(body.as_bytes(), NOW);
    shown(&batch.unwrap_or_else(|error| panic!("{body}: {error}")), schema)
}

fn body_error(body: &str) -> String {
    let mut decoder = Decoder::new(Schema::standard());
    decoder.decode_table(body.as_bytes(), NOW).map(drop).unwrap_err().to_string()
}

#[test]
fn a_row_is_an_event() {
    for (body, event) in [
        (
            "device_id,timestamp,cpu,rps\nd1,1795420957,41.5,1200\n",
            "d1 cpu=41.5,rps=1200 1795420957 1795420957000",
        ),
        ("RPS,Cpu\r\n2,1\r\n", "- cpu=1,rps=2 1795420957123000 1795420957123"),
        ("cpu,zone,rps,device_id\n1,\"a, b\",2,\n", "- cpu=1,rps=2 1795420957123000 1795420957123"),
        (
            "cpu , rps, timestamp\n 1 , 2, 2026-11-23 08:02:37.5",
            "- cpu=1,rps=2 1795420957500 1795420957500",
        ),
        (
            "\u{feff}\"cpu\",\"rps\",\"device_id\"\n\"1\",\"2\",\"d1\"",
            "d1 cpu=1,rps=2 1795420957123000 1795420957123",
        ),
        ("cpu,rps,timestamp\n.5,007,1.7e9", "- cpu=0.5,rps=7 1700000000000 1700000000000"),
        ("\n\ncpu,rps\n\n   \n1,2\n\n", "- cpu=1,rps=2 1795420957123000 1795420957123"),
        ("cpu,rps,\n1,2,\n", "- cpu=1,rps=2 1795420957123000 1795420957123"),
    ] {
        assert_eq!(decoded(body), [event], "{body:?}");
    }
}

#[test]
fn a_rejection_names_the_column_and_what_was_expected() {
    let header = "device_id,timestamp,cpu,rps\n";
    let range = "expected a finite number from 0 to 1000000, found";
    for (row, detail) in [
        ("d1,,hot,2", format!("cpu: {range} a string at byte 4")),
        ("d1,,\"41,5\",2", format!("cpu: {range} a string at byte 5")),
        ("d1,,-1,2", format!("cpu: {range} another number at byte 4")),
        ("d1,,1,", "rps: missing".into()),
        (",,,", "cpu: missing".into()),
        (
            "a b,,1,2",
            "device_id: expected 1 to 128 bytes of A-Z a-z 0-9 . _ : -, found another \
         form at byte 0"
                .into(),
        ),
        (
            "d1,noon,1,2",
            "timestamp: expected a number of s, ms, us or ns or an ISO 8601 time \
         since 1970, found another form at byte 3"
                .into(),
        ),
        (
            "d1,1795421557124,1,2",
            "timestamp: expected at most 600 s ahead of the server's \
         clock, found a later time at byte 3"
                .into(),
        ),
        ("d1,,1", "rps: expected 4 cells as in the header row, found 3".into()),
        ("d1,hot", "cpu: expected 4 cells as in the header row, found 2".into()),
        ("d1,,1,2,3", "expected 4 cells as in the header row, found 5".into()),
        ("d1,,hot,2,3", "expected 4 cells as in the header row, found 5".into()),
        (
            "d1,,\"4\"1,2",
            "expected ',' or the end of the row after the closing '\"' of a cell \
         at byte 7"
                .into(),
        ),
        (
            "d1,,\"4",
            "expected the closing '\"' of a cell, found the end of the body at byte \
         6"
            .into(),
        ),
        (
            "device_id,timestamp,cpu,rps",
            "timestamp: expected a number of s, ms, us or \
         ns or an ISO 8601 time since 1970, found another form at byte 10"
                .into(),
        ),
    ] {
        assert_eq!(decoded(&format!("{header}{row}")), [detail], "{row}");
    }
}

#[test]
fn a_bad_row_costs_that_row() {
    let body = "cpu,rps\n1,2\n3\n\"4\"5,6\n7,8\n";
    let items = decoded(body);
    assert_eq!(items.len(), 4);
    assert!(items[0].starts_with("- cpu=1,rps=2 ") && items[3].starts_with("- cpu=7,rps=8 "));
    let mut decoder = Decoder::new(Schema::standard());
    let batch = decoder.decode_table(body.as_bytes(), NOW).unwrap();
    let reasons = batch.iter().filter_map(Result::err).map(Rejection::reason);
    assert_eq!(reasons.collect::<Vec<_>>(), [Reason::Syntax; 2]);
    assert_eq!(batch.events(), 2);
}

#[test]
fn a_header_from_which_no_event_can_come_is_refused() {
    let names = "header row: expected names of columns such as device_id, timestamp, cpu, rps, \
     found none of them";
    for (body, error) in [
        ("", "expected an event, found an empty body".to_owned()),
        ("cpu,rps\n\n", "expected an event, found an empty body".to_owned()),
        ("a,b\n1,2", names.to_owned()),
        ("1,2\n", names.to_owned()),
        ("device_id,rps\nd1,1", "cpu: missing in the header row".to_owned()),
        (
            "cpu,rps,CPU\n",
            "cpu: given twice in the header row, again at byte 8 of the \
         body"
                .to_owned(),
        ),
        (
            "cpu;rps\n1;2",
            "header row: expected ',' between the cells, found ';'; save the table \
         with commas"
                .to_owned(),
        ),
        (
            "a\tcpu\n1\t2",
            "header row: expected ',' between the cells, found '\\t'; save the \
         table with commas"
                .to_owned(),
        ),
        (
            "cpu,\"rps\"x\n",
            "header row: expected ',' or the end of the row after the closing \
         '\"' of a cell at byte 9 of the body"
                .to_owned(),
        ),
        (
            "cpu,\"rps\n1,2\n",
            "header row: expected the closing '\"' of a cell, found the end of \
         the body at byte 13 of the body"
                .to_owned(),
        ),
    ] {
        assert_eq!(body_error(body), error, "{body:?}");
    }
    let many = format!("cpu,rps\n{}", "1,2\n".repeat(BATCH_EVENTS_MAX + 1));
    assert!(body_error(&many).contains("10000"));
    let utf16: Vec<u8> = "cpu,rps".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut decoder = Decoder::new(Schema::standard());
    let error = decoder.decode_table(&utf16, NOW).map(drop).unwrap_err();
    assert_eq!(error, BodyError::Malformed(JsonError::Utf16 { at: 0 }));
}

#[test]
fn columns_are_named_that_may_be_meant_for_the_device_or_the_time() {
    let mut decoder = Decoder::new(Schema::standard());
    let mut ignored = |body: &str| {
        decoder.decode_table(body.as_bytes(), NOW).unwrap();
        let ignored = decoder.ignored_members(body.as_bytes())?;
        let names = ignored.names().map(|name| String::from_utf8_lossy(name).into_owned());
        Some((ignored.events, names.collect::<Vec<_>>()))
    };
    assert_eq!(ignored("deviceId,cpu,rps\na,1,2\nb,1,2\n"), Some((2, vec!["deviceId".into()])));
    assert_eq!(ignored("device_id,timestamp,zone,cpu,rps\n,,a,1,2\n"), None);
    assert_eq!(ignored("cpu,rps\n1,2\n"), None);
}

/// Returns a schema with gaps: one required field and two optional ones.
fn gaps() -> &'static Schema {
    let field = |name: &str, is_required| FieldOptions {
        name: name.to_owned(),
        is_required,
        range: Some(-50.0..=1e3),
        least_deviation: 0.0,
    };
    let fields = [field("t", true), field("humidity", false), field("battery", false)];
    let names = ["device_id", "timestamp", "host"].map(str::to_owned);
    let [device, time, tag] = names.each_ref().map(std::slice::from_ref);
    Schema::leak(&fields, [device, time, tag])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// A row gives the same event, or is rejected for the same reason, as strings in JSON.
    #[test]
    fn a_row_is_the_same_event_as_in_json(
        columns in Just(["device_id", "timestamp", "T", "humidity", "battery", "zone"])
            .prop_shuffle(),
        cells in prop::collection::vec(prop_oneof![
            1 => Just(String::new()),
            4 => "-?(0|[1-9][0-9]{0,2})(\\.[0-9]{1,3})?",
            1 => "[a-z][a-z0-9.:_-]{0,8}|a/b|17954209[0-9]{2}|2026-11-23 08:02",
        ], 6),
    ) {
        let schema = gaps();
        let table = format!("{}\n{}\n", columns.join(","), cells.join(","));
        let members = columns.iter().zip(&cells).filter(|(_, cell)| !cell.is_empty());
        let member = |(name, cell): (&&str, &String)| format!("\"{name}\":\"{cell}\"");
        let members: Vec<_> = members.map(member).collect();
        let json = format!("{{{}}}", members.join(","));
        let reasons = |batch: &Batch<'_>| -> Vec<_> {
            batch.iter().map(|item| item.err().map(Rejection::reason)).collect()
        };
        let mut decoder = Decoder::new(schema);
        let batch = decoder.decode_table(table.as_bytes(), NOW).unwrap();
        let found = (shown(&batch, schema), reasons(&batch));
        let mut decoder = Decoder::new(schema);
        let batch = decoder.decode(json.as_bytes(), LineMode::Always, NOW).unwrap();
        let expected = (shown(&batch, schema), reasons(&batch));
        prop_assert_eq!(&found.1, &expected.1, "{}", table);
        if found.1 == [None] {
            prop_assert_eq!(found.0, expected.0, "{}", table);
        }
    }

    #[test]
    fn any_rows_are_items(rows in "([a1, \"\r\n]|,,|\"1\"){0,40}") {
        let body = format!("device_id,cpu,rps\n{rows}");
        let mut decoder = Decoder::new(Schema::standard());
        if let Ok(batch) = decoder.decode_table(body.as_bytes(), NOW) {
            prop_assert!(!batch.is_empty());
            for rejection in batch.iter().filter_map(Result::err) {
                let at = rejection.to_string().rsplit_once("at byte ").map(|(_, at)| at.parse());
                prop_assert!(at.is_none_or(|at: Result<usize, _>| at.unwrap() <= rows.len()));
            }
        }
    }
}
