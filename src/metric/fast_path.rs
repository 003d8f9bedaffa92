//! The fast path of the decoder: metrics of the usual shape.
//!
//! Nearly every device sends one flat object with the canonical names, numbers and a plain device
//! id, at most one space after a colon or a comma, and nothing else. This file reads that in one
//! pass, eight bytes at a time. Anything else, wrong or merely unusual, is left to the general
//! decoder, which reads the object again. A property test checks that both agree.

use crate::metric::batch::{EventSpans, FieldRows};
use crate::metric::device_id::scan_device_id;
use crate::metric::member::Member;
use crate::metric::member_table::MemberTable;
use crate::metric::span::Span;
use crate::metric::usual_number::{usual_time, usual_value};
use crate::metric::word::{byte_at, word_at};
use crate::schema::FieldSet;

/// Parses the object whose brace is at `start`, and returns it with its end. Its timestamp is empty
/// if none was sent, and no later than `latest_ms`; its values are in the row that is being filled.
/// An accepted object is ASCII without line ends, and has the `required` fields and at least one.
#[inline(always)]
pub(super) fn parse(
    members: &MemberTable,
    rows: &mut FieldRows,
    required: FieldSet,
    text: &[u8],
    start: u32,
    latest_ms: i64,
) -> Option<(EventSpans, u32)> {
    let (mut device_id, mut timestamp, mut timestamp_ms) = (Span::default(), Span::default(), 0);
    let (mut present, mut read) = (0_u32, 0_u64);
    let (values, literals) = rows.row_mut()?;
    let mut before = members.start()?;
    let mut at = start;
    loop {
        let name = word_at(text, at);
        if name as u8 == b'}' {
            break;
        }
        let mut entry = members.next(before, text, at, name)?;
        let mut word = word_at(text, at + entry.bytes);
        if word as u8 == b' ' {
            // The pattern with a space begins with that without one.
            entry = members.search(before, text, at)?;
            word = word_at(text, at + entry.bytes);
        }
        before = entry;
        at += entry.bytes;
        match entry.member {
            Member::Value(field) => {
                let (value, end) = usual_value(field, text, at, word)?;
                let index = field.index();
                (*values.get_mut(index)?, *literals.get_mut(index)?) = (value, Span::of(at, end));
                at = end;
            }
            Member::Timestamp(_) => {
                let (ms, end) = usual_time(text, at, word, latest_ms)?;
                (timestamp, timestamp_ms) = (Span::of(at, end), ms);
                at = end;
            }
            Member::DeviceId(_) => {
                let end = scan_device_id(text, at + 1, &entry.value_bytes)?;
                if word as u8 != b'"' || byte_at(text, end) != b'"' {
                    return None;
                }
                device_id = Span::of(at + 1, end);
                at = end + 1;
            }
        }
        // The sum differs from the union if a member is there twice.
        present |= entry.bit;
        read += u64::from(entry.bit);
    }
    let fields = FieldSet::from_bits(present as u16);
    if read != u64::from(present) || !fields.is_event(required) {
        return None;
    }
    let row = rows.end_row();
    Some((EventSpans { device_id, timestamp, timestamp_ms, row, present: fields }, at + 1))
}

#[cfg(test)]
mod tests {
    use crate::metric::object::ObjectReader;
    use crate::schema::{FieldOptions, Schema};
    use percore::clock::Now;

    const NOW: Now = Now { mono_ns: 1, wall_us: 1_795_420_957_123_000 };

    fn reader(names: &[&str]) -> ObjectReader {
        let options = |name: &&str| FieldOptions {
            name: (*name).to_owned(),
            is_required: false,
            range: None,
            least_deviation: 0.0,
        };
        let [device, time] = ["device_id".to_owned(), "timestamp".to_owned()];
        let (device, time) = ([device], [time]);
        let fields: Vec<_> = names.iter().map(options).collect();
        let mut reader = ObjectReader::new(Schema::leak(&fields, [&device, &time, &device]));
        reader.writer.begin_body(1000, NOW);
        reader
    }

    #[test]
    fn the_usual_shape_is_read_here_whatever_came_before() {
        let long = "a_name_of_more_than_sixteen_bytes";
        let mut reader = reader(&["cpu", "rps", "x", long]);
        let with_long = format!("{{\"{long}\":1,\"x\":2}}");
        let objects = [
            r#"{"device_id":"device-1","timestamp":1795420957123,"cpu":41.5,"rps":1200}"#,
            r#"{"device_id": "device-1", "timestamp": 1795420957123, "cpu": 41.5, "rps": 1200}"#,
            r#"{"device_id":"device-1", "timestamp":1795420957, "rps":1200, "cpu":41.5}"#,
            r#"{"rps": -12345678.5,"cpu": 0,"device_id": "d"}"#,
            r#"{"x":0.1234567890123}"#,
            &with_long,
        ];
        for round in 0..objects.len() * objects.len() {
            let object = objects[(round + round / objects.len()) % objects.len()];
            let found = reader.read_fast(object.as_bytes(), 0);
            assert_eq!(found.map(|(_, end)| end), Some(object.len()), "{object}");
        }
    }

    #[test]
    fn all_else_is_left_to_the_general_decoder() {
        let mut reader = reader(&["cpu", "rps", "x"]);
        let usual = r#"{"device_id":"device-1","cpu":41.5}"#;
        for object in [
            "{}",
            "{",
            r#"{"device_id":"device-1"}"#,
            r#"{,"cpu":1}"#,
            r#"{"cpu":1{"rps":2}"#,
            r#"{"cpu":1"rps":2}"#,
            r#"{"cpu":1,}"#,
            r#"{"cpu":1 ,"rps":2}"#,
            r#"{"cpu":  1,"rps":2}"#,
            r#"{"cpu":1,  "rps":2}"#,
            r#"{"cpu":1,"cpu":1}"#,
            r#"{"cpu":1,"rps":2,"x":3,"cpu":1}"#,
            r#"{"CPU":1}"#,
            r#"{"cpu":1e1}"#,
            r#"{"cpu":01}"#,
            r#"{"cpu":1,"device_id":"a/b"}"#,
            r#"{"cpu":1,"device_id":a"}"#,
            r#"{"cpu":1,"device_id":""}"#,
            r#"{"cpu":1,"timestamp":"1795420957123"}"#,
            r#"{"cpu":1,"timestamp":1795521557123}"#,
        ] {
            assert_eq!(reader.read_fast(object.as_bytes(), 0), None, "{object}");
            assert!(reader.read_fast(usual.as_bytes(), 0).is_some(), "after {object}");
        }
    }
}
