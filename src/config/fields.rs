//! `--fields` and the options beside it: which members a metric has, and how they are called.

use std::ops::RangeInclusive;

use super::formats::Format;
use crate::limits::{FIELD_NAME_BYTES_MAX, FIELDS_MAX, MEMBER_NAMES_MAX};
use crate::schema::{FieldOptions, is_field_name};

/// The members that answers and stored metrics have beside the fields.
const RESERVED: [&str; 2] = ["timestamp", "device_id"];

/// The members that the answers of `/analyze` and `/devices/{id}` have beside the fields.
const ANALYSIS: [&str; 11] = [
    "scope",
    "instance",
    "series",
    "cores",
    "window",
    "anomalies",
    "totals",
    "store",
    "last_seen",
    "values",
    "timestamps",
];

/// The fields of a metric, each `name[?][=min..max][~deviation]`, with commas between them.
pub(super) struct FieldList;

impl Format for FieldList {
    type Value = Vec<FieldOptions>;

    fn parse(&self, text: &str) -> Result<Vec<FieldOptions>, String> {
        let mut mistakes = Mistakes::default();
        let entries: Vec<_> = text.split(',').map(str::trim).map(Entry::split).collect();
        if text.trim().is_empty() {
            let example = "temperature?=-40..125~0.5,humidity?=0..100";
            mistakes.add(format!("expected 1 to {FIELDS_MAX} fields such as {example}"), text);
            return mistakes.or(Vec::new());
        }
        let fields = entries.iter().map(|entry| entry.field(&mut mistakes)).collect();
        let names = entries.iter().map(|entry| entry.name);
        mistakes.check_distinct(&names.filter(|name| is_field_name(name)));
        mistakes.check_count(FIELDS_MAX, "fields", entries.len());
        mistakes.or(fields)
    }

    fn print(&self, value: &Vec<FieldOptions>) -> String {
        value.iter().map(written).collect::<Vec<_>>().join(",")
    }
}

/// An entry of the list, in its parts.
struct Entry<'a> {
    text: &'a str,
    name: &'a str,
    is_required: bool,
    range: Option<&'a str>,
    deviation: Option<&'a str>,
}

impl<'a> Entry<'a> {
    fn split(text: &'a str) -> Self {
        let (rest, deviation) = split(text, '~');
        let (rest, range) = split(rest, '=');
        let (name, is_required) = rest.strip_suffix('?').map_or((rest, true), |name| (name, false));
        Self { text, name, is_required, range, deviation }
    }

    /// Returns the field, or anything if there are mistakes in it.
    fn field(&self, mistakes: &mut Mistakes) -> FieldOptions {
        let is_among =
            |names: &[&str]| names.iter().any(|name| name.eq_ignore_ascii_case(self.name));
        if is_among(&RESERVED) {
            mistakes.add("expected a name other than timestamp and device_id", self.text);
        } else if is_among(&ANALYSIS) {
            let others = ANALYSIS.join(", ");
            mistakes.add(format!("expected a name other than {others}"), self.text);
        } else if !is_field_name(self.name) {
            let name = format!("name of 1 to {FIELD_NAME_BYTES_MAX} of A-Z a-z 0-9 _");
            mistakes
                .add(format!("expected name[?][=min..max][~deviation], with a {name}"), self.text);
        }
        let range = self.range.map(range);
        if range == Some(None) {
            let numbers = "two finite numbers of which the second is no less";
            mistakes.add(format!("expected a range such as =0..100, {numbers}"), self.text);
        }
        let deviation = self.deviation.map_or(Some(0.0), finite).filter(|least| *least >= 0.0);
        if deviation.is_none() {
            let number = "a finite number of at least 0";
            mistakes.add(format!("expected a deviation such as ~0.5, {number}"), self.text);
        }
        FieldOptions {
            name: self.name.to_owned(),
            is_required: self.is_required,
            range: range.flatten(),
            least_deviation: deviation.unwrap_or_default(),
        }
    }
}

fn split(text: &str, mark: char) -> (&str, Option<&str>) {
    text.split_once(mark).map_or((text, None), |(before, after)| (before, Some(after)))
}

/// Returns a finite number. It is never the zero with a sign.
fn finite(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| number + 0.0)
}

fn range(text: &str) -> Option<RangeInclusive<f64>> {
    let (min, max) = text.split_once("..")?;
    Some(finite(min)?..=finite(max)?).filter(|range| range.start() <= range.end())
}

/// Writes a field as it may be given.
fn written(field: &FieldOptions) -> String {
    let mark = if field.is_required { "" } else { "?" };
    let range = field.range.as_ref().map_or_else(String::new, |range| {
        format!("={}..{}", written_number(*range.start()), written_number(*range.end()))
    });
    let deviation = match field.least_deviation {
        0.0 => String::new(),
        least => format!("~{}", written_number(least)),
    };
    format!("{}{mark}{range}{deviation}", field.name)
}

/// Writes a number as people do: numbers with many zeros by a power of ten.
fn written_number(number: f64) -> String {
    let (plain, by_power) = (number.to_string(), format!("{number:e}"));
    let is_usual = number == 0.0 || (1e-4..1e6).contains(&number.abs());
    if is_usual || plain.len() <= by_power.len() { plain } else { by_power }
}

/// The names that one thing may have, with commas between them; the canonical one is the first.
pub(super) struct NameList {
    /// The names that are always another thing's.
    pub(super) reserved: &'static [&'static str],
}

impl Format for NameList {
    type Value = Vec<String>;

    fn parse(&self, text: &str) -> Result<Vec<String>, String> {
        let mut mistakes = Mistakes::default();
        let names: Vec<_> = text.split(',').map(str::trim).collect();
        for name in names.iter().copied() {
            if !is_member_name(name) {
                let characters = "visible characters of ASCII but \" \\ and =";
                let expected = format!("a name of 1 to {FIELD_NAME_BYTES_MAX} {characters}");
                mistakes.add(format!("expected {expected}"), name);
            }
            if let Some(reserved) = self.reserved.iter().find(|it| it.eq_ignore_ascii_case(name)) {
                mistakes.add(format!("expected a name other than {reserved}"), name);
            }
        }
        mistakes.check_distinct(&names.iter().copied().filter(|name| is_member_name(name)));
        mistakes.check_count(MEMBER_NAMES_MAX, "names", names.len());
        mistakes.or(names.into_iter().map(str::to_owned).collect())
    }

    fn print(&self, value: &Vec<String>) -> String {
        value.join(",")
    }
}

/// Returns true if a member or a tag may have this name: JSON and line protocol have it as it is.
fn is_member_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_graphic() && !b"\"\\,=".contains(&byte);
    (1..=FIELD_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_allowed)
}

/// Returns the names of the first list that are in the second too, in any case.
pub(super) fn in_both<'a>(
    names: impl IntoIterator<Item = &'a str>,
    others: &[String],
) -> impl Iterator<Item = &'a str> {
    let is_other = |name: &&str| others.iter().any(|other| other.eq_ignore_ascii_case(name));
    names.into_iter().filter(is_other)
}

/// The mistakes in one list.
#[derive(Default)]
struct Mistakes(Vec<String>);

impl Mistakes {
    fn add(&mut self, expected: impl Into<String>, found: &str) {
        self.0.push(format!("{}, found {found:?}", expected.into()));
    }

    fn check_distinct<'a>(&mut self, names: &(impl Iterator<Item = &'a str> + Clone)) {
        for (at, name) in names.clone().enumerate() {
            if names.clone().take(at).any(|before| before.eq_ignore_ascii_case(name)) {
                self.add("expected each name once, in whatever case", name);
            }
        }
    }

    fn check_count(&mut self, most: usize, what: &str, found: usize) {
        if found > most {
            self.0.push(format!("expected at most {most} {what}, found {found}"));
        }
    }

    /// Returns the list if there are no mistakes in it, or else each of them on a line.
    fn or<T>(self, list: T) -> Result<T, String> {
        if self.0.is_empty() { Ok(list) } else { Err(self.0.join("\n")) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TAGS: NameList = NameList { reserved: &[] };

    fn mistakes<F: Format>(format: &F, text: &str) -> Vec<String> {
        let mistakes = format.parse(text).err().unwrap_or_default();
        mistakes.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_list_is_printed_as_it_may_be_given() {
        let long = "a".repeat(FIELD_NAME_BYTES_MAX);
        for (text, printed) in [
            (" cpu=0..1000000 ,\trps=0..1000000000000\n", "cpu=0..1e6,rps=0..1e12"),
            ("temperature?=-40..125~0.5", "temperature?=-40..125~0.5"),
            ("battery?,Battery2", "battery?,Battery2"),
            ("b~0,c~-0", "b,c"),
            ("b~.25", "b~0.25"),
            ("b=-0..+5.", "b=0..5"),
            ("b=1...2e1", "b=1..2"),
            ("b=-0.000001..1e-9", "b=-1e-6..1e-9"),
            ("b=-1e308..1e308", "b=-1e308..1e308"),
            ("b=0.1..0.30000000000000004", "b=0.1..0.30000000000000004"),
            ("b=-1234567..1234567.5", "b=-1234567..1234567.5"),
            ("b=5..5", "b=5..5"),
            (&long, &long),
            ("9,_,A", "9,_,A"),
        ] {
            let fields = FieldList.parse(text).unwrap();
            assert_eq!(FieldList.print(&fields), printed, "{text}");
            assert_eq!(FieldList.parse(printed), Ok(fields), "{text}");
        }
        for name in ["deviceId", " ts, Time,@timestamp ", "a:b", "device-id,\u{9}device.id"] {
            let names = TAGS.parse(name).unwrap();
            assert_eq!(TAGS.parse(&TAGS.print(&names)), Ok(names), "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_list_is_printed_as_it_may_be_given(
            entries in prop::collection::vec(
                (
                    "[a-zA-Z0-9_]{1,62}",
                    any::<bool>(),
                    prop::option::of((any::<f64>(), any::<f64>())),
                    prop_oneof![Just(0.0), any::<f64>()],
                ),
                1..FIELDS_MAX,
            ),
        ) {
            let is_number = |number: f64| if number.is_finite() { number + 0.0 } else { 0.0 };
            let field = |(at, (name, is_required, range, deviation)): (usize, (_, _, _, f64))| {
                let name: String = name;
                FieldOptions {
                    name: format!("{name}{at:02}"),
                    is_required,
                    range: Option::<(f64, f64)>::map(range, |(one, other)| {
                        let (one, other) = (is_number(one), is_number(other));
                        one.min(other)..=one.max(other)
                    }),
                    least_deviation: is_number(deviation.abs()),
                }
            };
            let fields: Vec<_> = entries.into_iter().enumerate().map(field).collect();
            prop_assert_eq!(FieldList.parse(&FieldList.print(&fields)), Ok(fields));
        }
    }

    #[test]
    fn every_mistake_of_a_list_is_told() {
        let long = "a".repeat(FIELD_NAME_BYTES_MAX + 1);
        for wrong in ["?", "a b", "load %", "a??", "a ?", "\u{e9}", "a:1", "", "a.b=0..1", &long] {
            let found = mistakes(&FieldList, &format!("cpu,{wrong}"));
            let begin = "expected name[?][=min..max][~deviation], with a name of 1 to 64 of ";
            let expected = [format!("{begin}A-Z a-z 0-9 _, found {wrong:?}")];
            assert_eq!(found, expected);
        }
        let ranges = [
            "a=",
            "a=1",
            "a=1..",
            "a=..1",
            "a=2..1",
            "a=0..inf",
            "a=nan..1",
            "a=0..1e400",
            "a=1-2",
            "a= 0..1",
            "a=0..1..2",
            "a=0...",
            "a=0x0..1",
        ];
        for wrong in ranges {
            let [found] = <[String; 1]>::try_from(mistakes(&FieldList, wrong)).unwrap();
            assert!(found.starts_with("expected a range such as =0..100, "), "{wrong}: {found}");
        }
        for wrong in ["a~", "a~-1", "a~inf", "a~nan", "a~1~2", "a~1=0..1", "a~1?"] {
            let [found] = <[String; 1]>::try_from(mistakes(&FieldList, wrong)).unwrap();
            assert!(found.starts_with("expected a deviation such as ~0.5, "), "{wrong}: {found}");
        }
        for wrong in ["Timestamp", "device_id?=0..1"] {
            let expected = "expected a name other than timestamp and device_id";
            assert_eq!(mistakes(&FieldList, wrong), [format!("{expected}, found {wrong:?}")]);
        }
        for wrong in ["window", "Store=0..1"] {
            let [found] = <[String; 1]>::try_from(mistakes(&FieldList, wrong)).unwrap();
            assert!(found.starts_with("expected a name other than scope, instance, "), "{found}");
        }
        let expected = "expected 1 to 16 fields such as temperature?=-40..125~0.5,humidity?=0..100";
        assert_eq!(mistakes(&FieldList, " "), [format!("{expected}, found \" \"")]);
        let all = mistakes(&FieldList, "ok,a b=2..1~x,ok?,timestamp,OK=0..1,deviceId");
        assert_eq!(all.len(), 6, "{all:?}");
        let again: Vec<_> = all.iter().filter(|line| line.contains("each name once")).collect();
        assert!(
            matches!(again[..], [one, two] if one.ends_with("\"ok\"") && two.ends_with("\"OK\""))
        );
    }

    #[test]
    fn there_are_no_more_than_the_limits() {
        let list =
            |count: usize| (0..count).map(|at| format!("f{at}")).collect::<Vec<_>>().join(",");
        assert_eq!(FieldList.parse(&list(FIELDS_MAX)).unwrap().len(), FIELDS_MAX);
        let expected = "expected at most 16 fields, found 17";
        assert_eq!(mistakes(&FieldList, &list(FIELDS_MAX + 1)), [expected]);
        assert_eq!(TAGS.parse(&list(MEMBER_NAMES_MAX)).unwrap().len(), MEMBER_NAMES_MAX);
        let expected = "expected at most 8 names, found 9";
        assert_eq!(mistakes(&TAGS, &list(MEMBER_NAMES_MAX + 1)), [expected]);
    }

    #[test]
    fn a_name_stands_in_json_and_lines_as_it_is() {
        let long = "a".repeat(FIELD_NAME_BYTES_MAX + 1);
        for wrong in ["", "a b", "a=b", "a\"", "a\\", "\u{e9}", "a\u{1}b", &long] {
            let expected = "expected a name of 1 to 64 visible characters of ASCII but \" \\ and =";
            assert_eq!(
                mistakes(&TAGS, &format!("a,{wrong}")),
                [format!("{expected}, found {wrong:?}")]
            );
        }
        let device = NameList { reserved: &["timestamp"] };
        let expected = [
            "expected a name other than timestamp, found \"TIMESTAMP\"",
            "expected each name once, in whatever case, found \"A\"",
        ];
        assert_eq!(mistakes(&device, "a,TIMESTAMP,A"), expected);
    }
}
