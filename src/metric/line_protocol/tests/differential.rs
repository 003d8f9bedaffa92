//! The reader of lines beside `influxdb-line-protocol`, the parser of InfluxDB 3.
//!
//! Invariant: both take the same lines and see the same in them, except for what [`DIFFERENCES`]
//! lists. They have to see the same lines in a body as well.

use influxdb_line_protocol::{FieldValue as TheirValue, parse_lines, split_lines};
use proptest::prelude::*;

use super::super::ValueKind;
use super::super::line_error::{LineError, LineExpected};
use super::{Line, is_whole, lines, nearly_lines};

/// The meaning of a line.
#[derive(Clone, Debug, PartialEq)]
struct Meaning {
    tags: Vec<(String, String)>,
    fields: Vec<(String, Value)>,
    timestamp: Option<i64>,
}

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Float(u64),
    Integer(i128),
    Boolean(bool),
    String(String),
}

/// A line as both read it; theirs is missing if it is refused.
#[derive(Debug)]
struct Case<'t> {
    line: &'t str,
    ours: Result<Meaning, LineError>,
    theirs: Option<Meaning>,
}

/// A difference that is meant to be.
struct Difference {
    reason: &'static str,
    /// A line that shows it.
    sample: &'static str,
    /// Returns true if a line differs for this reason.
    explains: fn(&Case<'_>) -> bool,
}

const DIFFERENCES: &[Difference] = &[
    Difference {
        reason: "a tag's value has no equals sign that is not escaped: the reference asks for the \
                 escape, and InfluxDB 1 and 2 refuse it",
        sample: "m,t=a=b f=1",
        explains: |case| case.is_refused_for(LineExpected::AfterTagValue, "="),
    },
    Difference {
        reason: "a tag's value does not begin with an equals sign, as before",
        sample: "m,t== f=1",
        explains: |case| case.is_refused_for(LineExpected::TagValue, "="),
    },
    Difference {
        reason: "a tag key has no comma that is not escaped, as before",
        sample: "m,t,u=a f=1",
        explains: |case| case.is_refused_for(LineExpected::TagEquals, ","),
    },
    Difference {
        reason: "a tag key does not begin with a comma, as before",
        sample: "m,,u=a f=1",
        explains: |case| case.is_refused_for(LineExpected::TagKey, ","),
    },
    Difference {
        reason: "a field key has no comma that is not escaped, as before",
        sample: "m f,g=1",
        explains: |case| case.is_refused_for(LineExpected::FieldEquals, ","),
    },
    Difference {
        reason: "a field key does not begin with a comma, as before",
        sample: "m ,g=1",
        explains: |case| case.is_refused_for(LineExpected::FieldKey, ","),
    },
    Difference {
        reason: "a field follows each comma, also the first; InfluxDB 1 and 2 have it so as well",
        sample: "m f=1,",
        explains: |case| {
            let ends = case.ours.as_ref().is_err_and(|error| error.ends);
            ends && case.is_refused_for(LineExpected::FieldKey, "")
        },
    },
    Difference {
        reason: "a field follows each comma, as before",
        sample: "m f=1, 1",
        explains: |case| case.is_refused_for(LineExpected::FieldKey, " "),
    },
    Difference {
        reason: "a name has no newline, escaped or not, as the reference says",
        sample: "m\\\n f=1",
        explains: |case| case.is_refused_for(LineExpected::OtherEnd, "\\\n"),
    },
    Difference {
        reason: "a carriage return is part of a line's end or an error, and never of a name",
        sample: "m,t=a\rb f=1",
        explains: |case| case.is_refused_for(LineExpected::Field, "\r"),
    },
    Difference {
        reason: "a line may end with CR LF: files of other systems are sent with curl",
        sample: "m f=1\r",
        explains: |case| case.is_taken() && case.line.ends_with('\r'),
    },
    Difference {
        reason: "spaces may follow the fields, as InfluxDB 1 and 2 have it",
        sample: "m f=1 ",
        explains: |case| case.is_taken() && case.line.ends_with(' '),
    },
    Difference {
        reason: "a number may lack the digits on one side of its point, as in InfluxDB 1 and 2",
        sample: "m f=.5,g=1.",
        explains: |case| {
            let is_point_at_end = |(at, _): (usize, &str)| {
                let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
                let bytes = case.line.as_bytes();
                !is_digit(bytes.get(at.wrapping_sub(1))) || !is_digit(bytes.get(at + 1))
            };
            case.is_taken() && case.line.match_indices('.').any(is_point_at_end)
        },
    },
    Difference {
        reason: "an integer may have any number of digits: a field that is not configured is not \
                 read, and that of another has its own range, as the timestamp has",
        sample: "m f=9223372036854775808i",
        explains: |case| {
            let digits = case.line.split(|byte: char| !byte.is_ascii_digit());
            case.is_taken() && digits.map(str::len).max() >= Some(19)
        },
    },
    Difference {
        reason: "zero bytes have no meaning, in no name",
        sample: "\0m f=1",
        explains: |case| case.is_taken() && case.line.contains('\0'),
    },
];

impl Case<'_> {
    /// Returns true if they take a line that we refuse for this, where this text is.
    fn is_refused_for(&self, expected: LineExpected, found: &str) -> bool {
        let is_found = |error: &LineError| {
            let rest = &self.line.as_bytes()[error.at as usize..];
            error.expected == expected && rest.starts_with(found.as_bytes())
        };
        self.theirs.is_some() && self.ours.as_ref().is_err_and(is_found)
    }

    /// Returns true if they refuse a line that we take.
    fn is_taken(&self) -> bool {
        self.theirs.is_none() && self.ours.is_ok()
    }

    /// Returns true if there is no difference.
    fn is_same(&self) -> bool {
        self.ours.as_ref().ok() == self.theirs.as_ref()
    }
}

/// Reads a line twice; `None` if it is none, or several.
fn read(line: &str) -> Option<Case<'_>> {
    let mut ours = lines(line.as_bytes());
    let theirs = split_lines(line).filter(|line| !line.trim().is_empty());
    let theirs = theirs.count();
    if line.contains("\n ") && ours.len() != theirs {
        // See `a_measurement_may_have_a_quote_behind_a_blank`.
        return None;
    }
    assert_eq!(ours.len(), theirs, "lines of {line:?}");
    let ours = ours.pop().filter(|_| ours.is_empty())?.1.map(|line| meaning(&line));
    let theirs = parse_lines(line).next()?.ok().map(|line| their_meaning(&line));
    Some(Case { line, ours, theirs })
}

/// Decodes escapes: a backslash before one of these bytes.
fn unescaped(raw: &[u8], escaped: &[u8]) -> String {
    let mut out = Vec::new();
    let mut bytes = raw.iter().peekable();
    while let Some(byte) = bytes.next() {
        let next = bytes.peek().copied().filter(|next| *byte == b'\\' && escaped.contains(next));
        out.push(*next.unwrap_or(byte));
        if next.is_some() {
            bytes.next();
        }
    }
    String::from_utf8(out).unwrap()
}

fn meaning(line: &Line<'_>) -> Meaning {
    let name = |raw: &[u8]| unescaped(raw, b", =\\");
    let value = |kind: &ValueKind, raw: &[u8], suffix: Option<&u8>| {
        let text = std::str::from_utf8(raw).unwrap();
        match kind {
            ValueKind::Boolean => Value::Boolean(matches!(raw[0], b't' | b'T')),
            ValueKind::String => Value::String(unescaped(&raw[1..raw.len() - 1], b"\"\\")),
            _ if matches!(suffix, Some(b'i' | b'u')) => {
                text.parse().map_or(Value::Float(0), Value::Integer)
            }
            _ => Value::Float(text.parse::<f64>().unwrap().to_bits()),
        }
    };
    let suffix = |raw: &[u8]| {
        let end = raw.as_ptr_range().end as usize - line.text.as_ptr() as usize;
        line.text.get(end)
    };
    Meaning {
        tags: line.tags.iter().map(|(key, value)| (name(key), name(value))).collect(),
        fields: line
            .fields
            .iter()
            .map(|(key, kind, raw)| (name(key), value(kind, raw, suffix(raw))))
            .collect(),
        timestamp: line
            .timestamp
            .map(|raw| std::str::from_utf8(raw).unwrap().parse().unwrap_or(i64::MAX)),
    }
}

fn their_meaning(line: &influxdb_line_protocol::ParsedLine<'_>) -> Meaning {
    let tags = line.series.tag_set.iter().flatten();
    let value = |value: &TheirValue<'_>| match value {
        TheirValue::I64(integer) => Value::Integer((*integer).into()),
        TheirValue::U64(integer) => Value::Integer((*integer).into()),
        TheirValue::F64(float) => Value::Float(float.to_bits()),
        TheirValue::String(string) => Value::String(string.to_string()),
        TheirValue::Boolean(boolean) => Value::Boolean(*boolean),
    };
    Meaning {
        tags: tags.map(|(key, value)| (key.to_string(), value.to_string())).collect(),
        fields: line.field_set.iter().map(|(key, of)| (key.to_string(), value(of))).collect(),
        timestamp: line.timestamp,
    }
}

#[test]
fn each_difference_is_shown_by_its_sample_alone() {
    for Difference { reason, sample, explains } in DIFFERENCES {
        let case = read(sample).unwrap_or_else(|| panic!("{sample:?} is no line"));
        assert!(!case.is_same() && explains(&case), "{reason}: {case:?}");
        let others = DIFFERENCES.iter().filter(|other| (other.explains)(&case));
        assert_eq!(others.count(), 1, "{reason}: {case:?}");
    }
}

/// To them a space before the measurement is the one before the fields, so that a quote in a
/// measurement may begin a string.
#[test]
fn a_measurement_may_have_a_quote_behind_a_blank() {
    let body = " a=\"\nm f=1";
    assert_eq!((lines(body.as_bytes()).len(), split_lines(body).count()), (2, 1));
}

#[test]
fn a_comment_ends_with_its_line_whatever_quotes_it_has() {
    // To them the quote begins a string, and the line after it is part of the comment.
    let body = "# a=\"\nm f=1";
    assert_eq!((lines(body.as_bytes()).len(), split_lines(body).count()), (1, 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn both_read_a_line_alike(line in nearly_lines()) {
        if let Some(case) = read(line.trim_start()) {
            let is_meant = DIFFERENCES.iter().any(|difference| (difference.explains)(&case));
            prop_assert!(case.is_same() || is_meant, "{:?}", case);
        }
    }

    /// Lines of a body are those that both read alike one by one.
    #[test]
    fn both_find_the_same_lines_in_a_body(parts in prop::collection::vec(nearly_lines(), 1..6)) {
        // They take a line of CR alone for one that is none.
        let is_same = |line: &&String| {
            let is_alone = !line.ends_with('\r') && is_whole(line);
            is_alone && read(line).is_some_and(|case| case.is_same())
        };
        let parts = parts.iter().map(|line| line.trim_start().to_owned());
        let alike: Vec<_> = parts.filter(|line| is_same(&line)).collect();
        let body = alike.join("\n");
        let ours: Vec<_> = lines(body.as_bytes()).iter()
            .map(|(_, line)| line.as_ref().ok().map(meaning)).collect();
        let theirs: Vec<_> = parse_lines(&body)
            .map(|line| line.ok().map(|line| their_meaning(&line))).collect();
        prop_assert_eq!(ours, theirs, "{:?}", body);
    }
}
