//! Tests of the reader of lines: samples, any bytes, and a second parser.

mod differential;

use super::*;
use proptest::prelude::*;

/// The elements of a line, as they were sent.
#[derive(Clone, Debug, Default, PartialEq)]
struct Line<'t> {
    text: &'t [u8],
    tags: Vec<(&'t [u8], &'t [u8])>,
    fields: Vec<(&'t [u8], ValueKind, &'t [u8])>,
    timestamp: Option<&'t [u8]>,
}

impl LineVisitor for Line<'_> {
    fn tag(&mut self, key: Range<usize>, value: Range<usize>) {
        self.tags.push((&self.text[key], &self.text[value]));
    }

    fn tags_end(&mut self) {
        assert!(self.fields.is_empty() && self.timestamp.is_none());
    }

    fn field(&mut self, key: Range<usize>, value: FieldValue) {
        let FieldValue { start, end, kind } = value;
        self.fields.push((&self.text[key], kind, &self.text[start..end]));
    }

    fn timestamp(&mut self, literal: Range<usize>) {
        assert_eq!(self.timestamp.replace(&self.text[literal]), None);
    }
}

/// Returns where each line begins and ends, and what it is.
fn lines(text: &[u8]) -> Vec<(Range<usize>, Result<Line<'_>, LineError>)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = next_line(text, at) {
        let mut line = Line { text, ..Line::default() };
        let read = read_line(text, start, &mut line);
        at = read.unwrap_or_else(|_| bad_line_end(text, start));
        found.push((start..at, read.map(|_| line)));
    }
    found
}

/// Returns the elements of the only line, each on a line of its own.
fn shown(text: &str) -> String {
    let lines = lines(text.as_bytes());
    let [(_, line)] = lines.as_slice() else { panic!("{text:?}: {} lines", lines.len()) };
    let line = line.as_ref().unwrap_or_else(|error| panic!("{text:?}: {error}"));
    let string = String::from_utf8_lossy;
    let tags = line.tags.iter().map(|(key, value)| format!("{}={}", string(key), string(value)));
    let fields = line.fields.iter().map(|(key, kind, value)| {
        let kind = match kind {
            ValueKind::Number(_) => "number",
            ValueKind::UnusualNumber => "unusual",
            ValueKind::Boolean => "boolean",
            ValueKind::String => "string",
        };
        format!("{}={}:{kind}", string(key), string(value))
    });
    let elements: Vec<_> =
        tags.chain(fields).chain(line.timestamp.map(|at| string(at).into())).collect();
    elements.join(" | ")
}

fn error(text: &str) -> String {
    let lines = lines(text.as_bytes());
    let [(_, Err(error))] = lines.as_slice() else { panic!("{text:?}: {lines:?}") };
    error.to_string()
}

#[test]
fn a_line_has_tags_fields_and_a_timestamp() {
    for (text, elements) in [
        ("m f=1", "f=1:number"),
        ("m,t=v f=1 12", "t=v | f=1:number | 12"),
        ("m,a=1,b=x,c=\"q\" f=1,g=2.5e-3", "a=1 | b=x | c=\"q\" | f=1:number | g=2.5e-3:number"),
        ("  m  f=1  -12  ", "f=1:number | -12"),
        ("m f=1\r\n", "f=1:number"),
        ("m f=1 12\r", "f=1:number | 12"),
        ("m f=12i,g=-12i,h=12u", "f=12:number | g=-12:number | h=12:number"),
        (
            "m f=007i,g=.5,h=1.,i=-00.5",
            "f=007:unusual | g=.5:unusual | h=1.:unusual | i=-00.5:unusual",
        ),
        (
            "m a=t,b=T,c=true,d=True,e=TRUE",
            "a=t:boolean | b=T:boolean | c=true:boolean | d=True:boolean | e=TRUE:boolean",
        ),
        (
            "m a=f,b=F,c=false,d=False,e=FALSE",
            "a=f:boolean | b=F:boolean | c=false:boolean | d=False:boolean | e=FALSE:boolean",
        ),
        ("m f=\"a, b=c\" 1", "f=\"a, b=c\":string | 1"),
        ("m f=\"a\nb\",g=1", "f=\"a\nb\":string | g=1:number"),
        (r#"m f="a\"b\\",g="\n""#, r#"f="a\"b\\":string | g="\n":string"#),
        (r"a\ b\,c=d,e\=\ =\,f g\ h=1", r"e\=\ =\,f | g\ h=1:number"),
        ("=m f=1", "f=1:number"),
        ("# f\"\n\n \t\r\n#\nm f=1\n# end", "f=1:number"),
        ("m\u{e9},t\u{e9}=\u{fc} \u{e9}=1", "t\u{e9}=\u{fc} | \u{e9}=1:number"),
    ] {
        assert_eq!(shown(text), elements, "{text:?}");
    }
    assert!(lines(b" \n\t\r\n# m f=1").is_empty());
    assert!(lines(b"").is_empty());
}

#[test]
fn a_bad_line_says_what_was_expected_and_where() {
    let end = ", found the end of the line";
    for (text, expected) in [
        (",a=b f=1", "a measurement at byte 0".into()),
        ("m", format!("a space and a field{end} at byte 1")),
        ("m ", format!("a space and a field{end} at byte 2")),
        ("m\tf=1", "a space and a field at byte 1".into()),
        ("m,a=b", format!("a space and a field{end} at byte 5")),
        ("m, f=1", "a tag key at byte 2".into()),
        ("m,a=b, f=1", "a tag key at byte 6".into()),
        ("m,=b f=1", "a tag key at byte 2".into()),
        ("m,a f=1", "'=' after a tag key at byte 3".into()),
        ("m,a,b=c f=1", "'=' after a tag key at byte 3".into()),
        ("m,a= f=1", "a tag value at byte 4".into()),
        ("m,a=,b=c f=1", "a tag value at byte 4".into()),
        (
            "m,a=b=c f=1",
            "',' or a space after a tag value, which has '\\=' for '=' at byte 5".into(),
        ),
        ("m f", format!("'=' after a field key{end} at byte 3")),
        ("m f=1,", format!("a field key{end} at byte 6")),
        ("m f=1, 12", "a field key at byte 6".into()),
        ("m =1", "a field key at byte 2".into()),
        ("m f,g=1", "'=' after a field key at byte 3".into()),
        ("m f=", format!("a number, a boolean or a string in double quotes{end} at byte 4")),
        ("m f= ", "a number, a boolean or a string in double quotes at byte 4".into()),
        ("m f=on", "a number, a boolean or a string in double quotes at byte 4".into()),
        ("m f=tRue", "a number, a boolean or a string in double quotes at byte 4".into()),
        ("m f=--1", "a number, a boolean or a string in double quotes at byte 4".into()),
        ("m f=.", "a number, a boolean or a string in double quotes at byte 4".into()),
        ("m f=NaN", "a finite number, found NaN or infinity at byte 4".into()),
        ("m f=-Inf", "a finite number, found NaN or infinity at byte 4".into()),
        ("m f=+infinity", "a finite number, found NaN or infinity at byte 4".into()),
        ("m f=1.5i", "',', a space or the end of the line after a value at byte 7".into()),
        ("m f=1e3i", "',', a space or the end of the line after a value at byte 7".into()),
        ("m f=-1u", "',', a space or the end of the line after a value at byte 6".into()),
        ("m f=-01u", "',', a space or the end of the line after a value at byte 7".into()),
        ("m f=1.2.3", "',', a space or the end of the line after a value at byte 7".into()),
        ("m f=1C", "',', a space or the end of the line after a value at byte 5".into()),
        ("m f=\"a\"b", "',', a space or the end of the line after a value at byte 7".into()),
        ("m f=\"a", format!("the closing '\"' of a string{end} at byte 6")),
        ("m f=1 noon", "a timestamp, which is an integer at byte 6".into()),
        ("m f=1 1.5", "the end of the line after the timestamp at byte 7".into()),
        ("m f=1 1 2", "the end of the line after the timestamp at byte 8".into()),
        ("m f=1 1\rx", "the end of the line after the timestamp at byte 7".into()),
        (r"m\", "a name that does not end with a backslash at byte 1".into()),
        (r"m\\ f=1", "a name that does not end with a backslash at byte 3".into()),
        (r"m,a=b\\,c=d f=1", "a name that does not end with a backslash at byte 7".into()),
    ] {
        assert_eq!(error(text), format!("expected {expected}"), "{text:?}");
    }
    let nested = lines(b"m f=1\n  m f=x\n")[1].clone();
    assert_eq!(nested.1.map(drop).unwrap_err().relative_to(nested.0.start).at, 4);
}

#[test]
fn a_bad_line_costs_that_line_and_no_string_is_taken_for_lines() {
    let good = |text: &str| {
        let lines = lines(text.as_bytes());
        lines.iter().map(|(_, line)| line.is_ok()).collect::<Vec<_>>()
    };
    assert_eq!(good("m f=1\nbad\nm f=2\n"), [true, false, true]);
    assert_eq!(good("m f=x,g=\"a\nm f=2\",h=3\nm f=1"), [false, true]);
    assert_eq!(good("m f=1,g=\"a\nm f=2\nm f=3"), [false]);
    assert_eq!(good("m\\\nm f=2\nm f=3"), [false, true]);
    assert_eq!(good("\"\nm f=1"), [false, true]);
}

#[test]
fn items_have_the_numbers_of_their_lines() {
    let numbers = |body: &str| line_numbers(body.as_bytes()).collect::<Vec<_>>();
    assert_eq!(numbers("m f=1\n\n# a\nbad\nm f=\"\n\n\"\r\nm f=2"), [1, 4, 5, 8]);
    assert_eq!(numbers("\u{feff}\nm f=1\n"), [2]);
    assert_eq!(numbers("\u{feff}#\n"), [0; 0]);
}

/// Returns text that is nearly line protocol.
fn nearly_lines() -> impl Strategy<Value = String> {
    let name = "([a-z\"é]|\\\\[, =\\\\a\"]|[,= \\\\\t]){1,4}|[a-z]{1,6}";
    let number = "-?[0-9]{0,3}\\.?[0-9]{0,2}(e-?[0-9])?[iu]?|-?[0-9]{1,25}[iu]?";
    let string = "\"([a-z, =\n]|\\\\[\"\\\\a]){0,4}\"|\"[a\\\\\n]{0,3}\"?";
    let word = "t|T|true|True|TRUE|f|F|false|False|FALSE|tr|NaN|-inf";
    let value = prop_oneof![4 => number, 2 => string, 1 => word];
    let tags = prop::collection::vec(
        (name, name).prop_map(|(key, value)| format!(",{key}={value}")),
        0..3,
    );
    let fields = prop::collection::vec(
        (name, value).prop_map(|(key, value)| format!("{key}={value}")),
        0..4,
    );
    let timestamp = "| -?[0-9]{1,20}|  [0-9]{1,3} | [a-z]|,| 1 1";
    let blank = "|[ \t]";
    (blank, name, tags, " {0,2}", fields, timestamp, "|\r").prop_map(
        |(blank, measurement, tags, space, fields, timestamp, end)| {
            let (tags, fields) = (tags.concat(), fields.join(","));
            format!("{blank}{measurement}{tags}{space}{fields}{timestamp}{end}")
        },
    )
}

/// Returns true if lines may follow this text: there is no quote without its pair.
fn is_whole(text: &str) -> bool {
    let body = format!("{text}\nm f=1");
    let lines = lines(body.as_bytes());
    lines.last().is_some_and(|(range, _)| range.start == text.len() + 1)
}

/// Fails if a line is not within the text, or does not end where its text as a bad line would.
fn check(text: &[u8]) {
    let mut last_end = 0;
    for (range, line) in lines(text) {
        assert!(last_end <= range.start && range.start < range.end && range.end <= text.len());
        assert!(matches!(text.get(range.end), None | Some(b'\n')), "{range:?}");
        assert_eq!(bad_line_end(text, range.start), range.end, "{range:?}");
        last_end = range.end;
        match line {
            Ok(line) => assert!(!line.fields.is_empty()),
            Err(error) => {
                let at = error.at as usize;
                assert!((range.start..=range.end).contains(&at), "{error} of {range:?}");
                assert_eq!(error.ends, ends_line(text, at));
            }
        }
    }
    let rest = &text[last_end..];
    assert!(next_line(rest, 0).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn any_bytes_are_lines_within_the_text(text in prop::collection::vec(any::<u8>(), 0..64)) {
        check(&text);
    }

    #[test]
    fn any_text_is_lines_within_it(lines in prop::collection::vec(nearly_lines(), 0..4)) {
        check(lines.join("\n").as_bytes());
    }

    /// A line is the same alone and among others.
    #[test]
    fn a_line_does_not_depend_on_others(line in nearly_lines(), before in nearly_lines()) {
        let line = line.trim_end_matches('\r');
        let before = if is_whole(&before) { before.as_str() } else { "#" };
        prop_assume!(is_whole(line));
        let body = format!("{before}\n{line}\r\n{line}");
        let alone: Vec<_> = lines(line.as_bytes());
        let among = lines(body.as_bytes());
        let counts = [before, line, line].map(|text| lines(text.as_bytes()).len());
        prop_assert_eq!(among.len(), counts.iter().sum::<usize>());
        for (found, expected) in among.iter().skip(counts[0]).zip(alone.iter().chain(&alone)) {
            let [found, expected] = [found, expected].map(|(_, line)| {
                line.as_ref().map(|line| (&line.tags, line.fields.len(), line.timestamp)).ok()
            });
            prop_assert_eq!(found, expected);
        }
    }
}
