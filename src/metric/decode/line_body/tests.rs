//! Tests of bodies of line protocol: samples, and the same events in JSON.

use super::*;
use crate::limits::BATCH_EVENTS_MAX;
use crate::metric::decode::LineMode;
use crate::metric::rejection::{Reason, Rejection};
use crate::schema::{FieldOptions, Schema};
use proptest::prelude::*;

const NOW: Now = Now { mono_ns: 1, wall_us: 1_795_420_957_123_000 };

/// An event or a rejection, as text to compare.
fn shown(batch: &Batch<'_>, schema: &'static Schema) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let items = batch.iter().map(|item| match item {
        Ok(event) => {
            let fields = schema.fields().iter().filter(|field| event.present.contains(**field));
            let fields: Vec<_> = fields
                .map(|field| {
                    let literal = text(event.literal(*field));
                    let value = event.value(*field).unwrap();
                    assert_eq!(literal.parse::<f64>().unwrap() + 0.0, value, "{literal}");
                    format!("{}={literal}", field.name())
                })
                .collect();
            let id = event.device_id.map_or("-".to_owned(), text);
            let (timestamp, ms) = (event.timestamp, event.timestamp_ms);
            format!("{id} {} {timestamp} {ms}", fields.join(","))
        }
        Err(rejection) => rejection.to_string(),
    });
    items.collect()
}

fn decoded(body: &str, precision: Precision) -> Vec<String> {
    let schema = Schema::standard();
    let mut decoder = Decoder::new(schema);
    let batch = decoder.decode_lines(body.as_bytes(), precision, NOW);
    shown(&batch.unwrap_or_else(|error| panic!("{body}: {error}")), schema)
}

/// Returns the only item of a body.
fn item(body: &str) -> String {
    let mut items = decoded(body, Precision::Auto);
    assert_eq!(items.len(), 1, "{body}: {items:?}");
    items.remove(0)
}

#[test]
fn a_line_is_an_event() {
    for (line, event) in [
        (
            "m,host=d1 cpu=41.5,rps=1200i 1795420957123456789",
            "d1 cpu=41.5,rps=1200 1795420957123456789 1795420957123",
        ),
        ("m rps=12u,CPU=1.50e1", "- cpu=1.50e1,rps=12 1795420957123000 1795420957123"),
        ("m,device_id=a,host=b cpu=1,rps=2 0", "a cpu=1,rps=2 0 0"),
        ("m,host=b,device_id=a cpu=1,rps=2 0", "a cpu=1,rps=2 0 0"),
        ("m,Host=b,zone=\\ \\, cpu=1,rps=2 0", "b cpu=1,rps=2 0 0"),
        ("m,host=b a=t,cpu=.5,b=\"x=1, \",rps=007i,c=1i 0", "b cpu=0.5,rps=7 0 0"),
        ("m cpu=-0,rps=1.,cpu2=3 0", "- cpu=-0,rps=1 0 0"),
        ("m cpu=1,rps=2 0001795420957", "- cpu=1,rps=2 1795420957 1795420957000"),
        ("\u{feff}m cpu=1,rps=2 0", "- cpu=1,rps=2 0 0"),
        ("m,cpu=x,rps=y cpu=1,rps=2 0", "- cpu=1,rps=2 0 0"),
    ] {
        assert_eq!(item(line), event, "{line}");
    }
}

#[test]
fn a_rejection_names_what_is_wrong_and_where() {
    let range = "expected a finite number from 0 to 1000000, found";
    for (line, detail) in [
        ("m,host=a cpu=t,rps=1", format!("cpu: {range} a boolean at byte 13")),
        ("m,host=a rps=1,cpu=\"1\"", format!("cpu: {range} a string at byte 19")),
        ("m cpu=-1,rps=1", format!("cpu: {range} another number at byte 6")),
        ("m cpu=1000001i,rps=1", format!("cpu: {range} another number at byte 6")),
        ("m cpu=1e400,rps=1", format!("cpu: {range} another number at byte 6")),
        ("m cpu=.5e9,rps=1", format!("cpu: {range} another number at byte 6")),
        ("m cpu=1", "rps: missing".into()),
        ("m used=1", "cpu: missing".into()),
        ("m cpu=1,rps=2,CPU=1", "cpu: given twice, again at byte 14".into()),
        ("m,host=a,host=b cpu=1,rps=2", "host: given twice, again at byte 9".into()),
        ("m,device_id=d,host=a,host=b cpu=1,rps=2", "host: given twice, again at byte 21".into()),
        ("m,host=a,device_id=d,host=b cpu=1,rps=2", "host: given twice, again at byte 21".into()),
        (
            "m,host=a\\ b cpu=1,rps=2",
            "host: expected 1 to 128 bytes of A-Z a-z 0-9 . _ : -, found another form at byte 7"
                .into(),
        ),
        (
            "m cpu=1,rps=2 -5",
            "timestamp: expected a number of s, ms, us or ns or an ISO 8601 time since 1970, found \
             another form at byte 14"
                .into(),
        ),
        (
            "m cpu=1,rps=2 1795421557124",
            "timestamp: expected at most 600 s ahead of the server's clock, found a later time at \
             byte 14"
                .into(),
        ),
        (
            "m cpu=NaN,rps=2",
            "cpu: expected a finite number, found NaN or infinity at byte 6".into(),
        ),
        (
            "m used=1,Cpu=on",
            "cpu: expected a number, a boolean or a string in double quotes at byte 13".into(),
        ),
        (
            "m cpu=41.5%,rps=2",
            "cpu: expected ',', a space or the end of the line after a value at byte 10".into(),
        ),
        (
            "m used=1%,rps=2",
            "expected ',', a space or the end of the line after a value at byte 8".into(),
        ),
        ("  m,host cpu=1", "expected '=' after a tag key at byte 6".into()),
    ] {
        assert_eq!(item(line), detail, "{line}");
    }
}

#[test]
fn a_timestamp_has_the_precision_that_the_request_names() {
    for (precision, timestamp, event) in [
        ("ns", "1795420957123456789", "1795420957123456789 1795420957123"),
        ("us", "1795420957123456", "1795420957123456 1795420957123"),
        ("ms", "1795420957123", "1795420957123 1795420957123"),
        ("s", "1795420957", "1795420957 1795420957000"),
        ("ns", "1795420957", "1795420957 1795"),
        ("us", "1795420957", "1795420957 1795420"),
        ("m", "29923682", "1795420920000 1795420920000"),
    ] {
        let body = format!("m cpu=1,rps=2 {timestamp}");
        let precision = Precision::of(precision).unwrap();
        assert_eq!(decoded(&body, precision), [format!("- cpu=1,rps=2 {event}")]);
    }
    let items = decoded("m cpu=1,rps=2 1795420957123", Precision::Seconds);
    assert!(items[0].starts_with("timestamp: expected at most 600 s ahead"), "{items:?}");
}

#[test]
fn a_bad_line_costs_that_line() {
    let body = "# a comment\nm cpu=1,rps=2 1\n\nbad\r\nm cpu=3,rps=4 2\r\n";
    let items = decoded(body, Precision::Seconds);
    assert_eq!(
        items,
        [
            "- cpu=1,rps=2 1 1000",
            "expected a space and a field, found the end of the line at byte 3",
            "- cpu=3,rps=4 2 2000",
        ]
    );
}

#[test]
fn a_body_without_lines_is_refused_and_one_with_too_many() {
    let mut decoder = Decoder::new(Schema::standard());
    for empty in ["", "\n \r\n", "# m cpu=1,rps=2", "\u{feff}"] {
        let found = decoder.decode_lines(empty.as_bytes(), Precision::Auto, NOW);
        assert_eq!(found.map(drop), Err(BodyError::Empty), "{empty:?}");
    }
    let utf16: Vec<u8> = "m cpu=1".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let found = decoder.decode_lines(&utf16, Precision::Auto, NOW);
    assert_eq!(found.map(drop), Err(BodyError::Malformed(JsonError::Utf16 { at: 0 })));
    let many = "m cpu=1,rps=2\n".repeat(BATCH_EVENTS_MAX + 1);
    let found = decoder.decode_lines(many.as_bytes(), Precision::Auto, NOW);
    assert_eq!(found.map(drop), Err(BodyError::TooManyEvents));
}

#[test]
fn tags_are_named_that_may_be_meant_for_the_device() {
    let mut decoder = Decoder::new(Schema::standard());
    let mut ignored = |body: &str| {
        decoder.decode_lines(body.as_bytes(), Precision::Auto, NOW).unwrap();
        let ignored = decoder.ignored_members(body.as_bytes())?;
        assert!(ignored.missing.device_id && !ignored.missing.timestamp);
        let names = ignored.names().map(|name| String::from_utf8_lossy(name).into_owned());
        Some((ignored.events, names.collect::<Vec<_>>()))
    };
    assert_eq!(
        ignored("m,sensor=a,b=c cpu=1,rps=2\nm,d=e cpu=1,rps=2"),
        Some((2, vec!["sensor".into(), "b".into()]))
    );
    assert_eq!(ignored("m,host=a,sensor=a cpu=1,rps=2"), None);
    assert_eq!(ignored("m cpu=1,rps=2,used=3"), None);
    let body = b"m,host=d1 cpu=-1,rps=2";
    decoder.decode_lines(body, Precision::Auto, NOW).unwrap();
    let (rejection, id) = decoder.rejected_device(body).unwrap();
    assert_eq!((rejection.reason(), id), (Reason::Range, &b"d1"[..]));
}

/// Returns a schema of two required fields and three optional ones, with long names.
fn gaps() -> &'static Schema {
    let field = |name: &str, is_required| FieldOptions {
        name: name.to_owned(),
        is_required,
        range: Some(-50.0..=1e3),
        least_deviation: 0.0,
    };
    let long = format!("temperature_{}", "x".repeat(52));
    let fields = [field("t", true), field(&long, false), field("temperature_outside", false)];
    let names = ["device_id", "timestamp", "sensor"].map(str::to_owned);
    let [device, time, tag] = names.each_ref().map(std::slice::from_ref);
    Schema::leak(&fields, [device, time, tag])
}

/// Returns members with their values in JSON, and the kinds that line protocol writes otherwise.
fn member() -> impl Strategy<Value = (String, String)> {
    let name = prop_oneof![
        4 => Just("t".to_owned()),
        2 => Just(format!("temperature_{}", "x".repeat(52))),
        2 => Just("Temperature_Outside".to_owned()),
        1 => "[a-z]{1,3}|temperature_inside|temperature_",
    ];
    let value = prop_oneof![
        6 => "-?(0|[1-9][0-9]{0,2})(\\.[0-9]{1,3})?",
        1 => "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,30})?(e-?[0-9]{1,3})?",
        1 => "true|false",
    ];
    (name, value)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// A line gives the same event, or is rejected for the same reason, as the same in JSON.
    #[test]
    fn a_line_is_the_same_event_as_in_json(
        device in proptest::option::of("[a-z0-9.:_-]{1,9}|é|a/b"),
        members in prop::collection::vec(member(), 1..5),
        timestamp in proptest::option::of("[1-9][0-9]{0,18}|17954209[0-9]{11}|0"),
    ) {
        let schema = gaps();
        let mut json = Vec::new();
        let mut line = "m".to_owned();
        if let Some(id) = &device {
            json.push(format!("\"device_id\":\"{id}\""));
            line += &format!(",sensor={id}");
        }
        json.extend(members.iter().map(|(name, value)| format!("\"{name}\":{value}")));
        let fields = members.iter().map(|(name, value)| format!("{name}={value}"));
        line += &format!(" {}", fields.collect::<Vec<_>>().join(","));
        if let Some(timestamp) = &timestamp {
            json.push(format!("\"timestamp\":{timestamp}"));
            line += &format!(" {timestamp}");
        }
        let json = format!("{{{}}}", json.join(","));
        let mut decoder = Decoder::new(schema);
        let batch = decoder.decode_lines(line.as_bytes(), Precision::Auto, NOW).unwrap();
        let found = (shown(&batch, schema), reasons(&batch));
        let mut decoder = Decoder::new(schema);
        let batch = decoder.decode(json.as_bytes(), LineMode::Always, NOW).unwrap();
        let expected = (shown(&batch, schema), reasons(&batch));
        prop_assert_eq!(found.1, expected.1, "{}", line);
        if batch.events() == 1 {
            prop_assert_eq!(found.0, expected.0, "{}", line);
        }
    }

    #[test]
    fn any_bytes_are_items_in_order(body in prop::collection::vec(any::<u8>(), 0..96)) {
        let mut decoder = Decoder::new(Schema::standard());
        if let Ok(batch) = decoder.decode_lines(&body, Precision::Auto, NOW) {
            let body_bytes = body.len();
            for rejection in batch.iter().filter_map(Result::err) {
                let at = rejection.to_string().rsplit_once("at byte ").map(|(_, at)| at.parse());
                prop_assert!(at.is_none_or(|at: Result<usize, _>| at.unwrap() <= body_bytes));
            }
        }
    }
}

fn reasons(batch: &Batch<'_>) -> Vec<Option<Reason>> {
    batch.iter().map(|item| item.err().map(Rejection::reason)).collect()
}
