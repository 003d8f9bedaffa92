//! The fast path of the decoder: metrics of the usual shape.
//!
//! Nearly every device sends one flat object with the canonical names, numbers and a plain device
//! id, at most one space after a colon or a comma, and perhaps members that mean nothing here. This
//! file reads that in one pass, eight bytes at a time. Anything else, wrong or merely unusual, is
//! left to the general decoder, which reads the object again. A property test checks that both
//! agree.

use crate::metric::batch::{EventSpans, FieldRows, NO_TIMESTAMP};
use crate::metric::device_id::scan_device_id;
use crate::metric::json_error::position;
use crate::metric::member::Member;
use crate::metric::member_table::MemberTable;
use crate::metric::number::scan_number;
use crate::metric::span::Span;
use crate::metric::usual_number::{usual_time, usual_value};
use crate::metric::word::{byte_at, word_at};
use crate::schema::FieldSet;

/// Parses the object whose brace is at `start`, and returns it with its end. Its timestamp is
/// [`NO_TIMESTAMP`] if none was sent, and no later than `latest_ms`; its values are in the row that
/// is being filled. An accepted object is ASCII without line ends, and has the `required` fields
/// and at least one.
#[inline(always)]
pub(super) fn parse(
    members: &MemberTable,
    rows: &mut FieldRows,
    required: FieldSet,
    text: &[u8],
    start: u32,
    latest_ms: i64,
) -> Option<(EventSpans, u32)> {
    let (mut device_id, mut timestamp) = (Span::default(), NO_TIMESTAMP);
    let (mut present, mut read) = (0_u32, 0_u64);
    let mut has_others = false;
    let (values, literals) = rows.row_mut()?;
    let mut before = members.start()?;
    let mut at = start;
    loop {
        let name = word_at(text, at);
        if name as u8 == b'}' {
            break;
        }
        let Some(mut entry) = members.next(before, text, at, name) else {
            at = skip_other(members, text, at, if at == start { b'{' } else { b',' })?;
            before = members.other()?;
            has_others = true;
            continue;
        };
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
                (timestamp, at) = usual_time(text, at, word, latest_ms)?;
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
    // Members of an event without one of these are names that may be misspelt.
    const BOTH: u32 = Member::TIMESTAMP_BIT | Member::DEVICE_ID_BIT;
    if has_others && present & BOTH != BOTH {
        return None;
    }
    let row = rows.end_row();
    Some((EventSpans { device_id, timestamp, row, present: fields }, at + 1))
}

/// Skips a member that is none of the schema's in any case, with the brace or comma before it at
/// `at`, and returns its end. `None` if its value is not a plain one.
#[inline(never)]
fn skip_other(members: &MemberTable, text: &[u8], at: u32, opening: u8) -> Option<u32> {
    let quote = skip_space(text, at + 1);
    let name_end = plain_string_end(text, quote)?;
    let name = text.get(quote as usize + 1..name_end as usize - 1)?;
    let is_other = byte_at(text, at) == opening && members.of_name(name).is_none();
    if !is_other || byte_at(text, name_end) != b':' {
        return None;
    }
    let value = skip_space(text, name_end + 1);
    let rest = text.get(value as usize..)?;
    match rest.first()? {
        b'"' => plain_string_end(text, value),
        b'0'..=b'9' | b'-' => Some(position(scan_number(text, value as usize).ok()?.end)),
        _ => {
            let words = ["true", "false", "null"];
            let word = words.iter().find(|word| rest.starts_with(word.as_bytes()))?;
            Some(value + word.len() as u32)
        }
    }
}

/// Skips one space, which is the most that common libraries write.
fn skip_space(text: &[u8], at: u32) -> u32 {
    at + u32::from(byte_at(text, at) == b' ')
}

/// Returns the end of the string that begins at `at`, if it is one of ASCII without escapes.
fn plain_string_end(text: &[u8], at: u32) -> Option<u32> {
    let (quote, rest) = text.get(at as usize..)?.split_first()?;
    let is_plain = |byte: &&u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    let len = rest.iter().take_while(is_plain).count();
    let is_string = *quote == b'"' && rest.get(len) == Some(&b'"');
    is_string.then(|| at + position(len) + 2)
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
            r#"{"status":"ok, {","device_id":"d","n":-1.5e3,"timestamp":1795420957,"cpu":1}"#,
            r#"{"device_id": "d", "a": true, "b": null, "timestamp": 0, "rps": 1, "c": "", "": 1}"#,
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
            r#"{"device_id":"d","cpu":1,"other":2}"#,
            r#"{"timestamp":0,"cpu":1,"other":2}"#,
            r#"{"timestamp":0,"device_id":"d","other":2}"#,
            r#"{"timestamp":0,"device_id":"d","cpu":1,"other":{}}"#,
            r#"{"timestamp":0,"device_id":"d","cpu":1,"other":[]}"#,
            r#"{"timestamp":0,"device_id":"d","cpu":1,"other":"\""}"#,
            r#"{"timestamp":0,"device_id":"d","cpu":1,"other":"é"}"#,
            r#"{"timestamp":0,"device_id":"d","cpu":1,"oth\er":1}"#,
            r#"{"timestamp":0,"device_id":"d","cpu":1,"other":nul}"#,
            r#"{"timestamp":0,"device_id":"d","cpu":1,"other":nullx}"#,
            r#"{"timestamp":0,"device_id":"d","cpu":1,"other":1x}"#,
            r#"{"timestamp":0,"device_id":"d","cpu":1,"other":}"#,
            r#"{"timestamp":0,"device_id":"d","cpu":1{"other":1}"#,
            r#"{"timestamp":0,"device_id":"d","cpu":1,"other" :1}"#,
            r#"{"timestamp":0,"device_id":"d","cpu":1,"other"}"#,
            r#"{"timestamp":0,"device_id":"d","cpu":1,"Cpu":1}"#,
            r#"{"timestamp":0,"device_id":"d","cpu":1,other:1}"#,
            "{\"timestamp\":0,\"device_id\":\"d\",\"cpu\":1,\"other\":\"\n\"}",
            r#"{"cpu":1,"timestamp":1795521557123}"#,
        ] {
            assert_eq!(reader.read_fast(object.as_bytes(), 0), None, "{object}");
            assert!(reader.read_fast(usual.as_bytes(), 0).is_some(), "after {object}");
        }
    }
}
