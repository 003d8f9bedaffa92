//! The decoder's twin for any schema, on `serde_json`, and schemas to try it with.

use std::sync::LazyLock;

use corepulse::metric::rejection::Reason;
use corepulse::schema::{FieldOptions, Schema};
use serde_json::value::RawValue;

use crate::naive::values::{naive_device_id, naive_number, naive_timestamp};
use crate::naive::{Item, Members, Owned, Rejected, Told, Twin};

/// A schema as it is configured.
#[derive(Clone, Debug)]
pub struct Configured {
    pub fields: Vec<FieldOptions>,
    pub device_names: Vec<String>,
    pub timestamp_names: Vec<String>,
}

/// The meaning of a member.
#[derive(Clone, Copy, PartialEq)]
enum Meaning {
    Device,
    Time,
    /// The field at this place.
    Field(usize),
}

impl Configured {
    /// Returns the twin for this schema.
    fn twin(&self) -> Twin {
        let (mut this, no_tags) = (self.clone(), ["host".to_owned()]);
        let schema =
            Schema::leak(&this.fields, [&this.device_names, &this.timestamp_names, &no_tags]);
        // The required ones come first.
        this.fields.sort_by_key(|field| !field.is_required);
        Twin { schema, item: Box::new(move |raw| this.item(raw)) }
    }

    /// Returns the name of a member in its canonical spelling, and its meaning.
    fn meaning(&self, name: &str) -> Option<(&str, Meaning)> {
        let devices = self.device_names.iter().map(|name| (name.as_str(), Meaning::Device));
        let times = self.timestamp_names.iter().map(|name| (name.as_str(), Meaning::Time));
        let fields = self.fields.iter().enumerate();
        let fields = fields.map(|(at, field)| (field.name.as_str(), Meaning::Field(at)));
        let mut all = devices.chain(times).chain(fields);
        all.find(|(canonical, _)| canonical.eq_ignore_ascii_case(name))
    }

    fn item(&self, raw: &RawValue) -> Item {
        let rejected = |reason, member: Option<&str>, at| {
            let told = Some(Told { member: member.map(str::to_owned), at });
            Err(Rejected { reason, told })
        };
        if !raw.get().starts_with('{') {
            return rejected(Reason::NotObject, None, None);
        }
        let members: Members<'_> = serde_json::from_str(raw.get()).expect("an object");
        let mut event =
            Owned { device_id: None, timestamp: None, fields: vec![None; self.fields.len()] };
        let mut given = Vec::new();
        for (name, value) in members.0 {
            // A lone surrogate, which `serde_json` does not decode, is in no known name.
            let text: String = serde_json::from_str(name.get()).unwrap_or_default();
            let Some((canonical, meaning)) = self.meaning(&text) else {
                continue;
            };
            let at = |part: &RawValue| part.get().as_ptr().addr() - raw.get().as_ptr().addr();
            if given.contains(&meaning) {
                return rejected(Reason::Duplicate, Some(canonical), Some(at(name)));
            }
            given.push(meaning);
            let read = self.read(&mut event, meaning, value.get());
            if let Err(reason) = read {
                return rejected(reason, Some(canonical), Some(at(value)));
            }
        }
        let mut fields = self.fields.iter().zip(&event.fields);
        if let Some((field, _)) = fields.find(|(field, it)| field.is_required && it.is_none()) {
            return rejected(Reason::Missing, Some(&field.name), None);
        }
        if event.fields.iter().all(Option::is_none) {
            return rejected(Reason::Missing, None, None);
        }
        Ok(event)
    }

    /// Reads the value of a member.
    fn read(&self, event: &mut Owned, meaning: Meaning, value: &str) -> Result<(), Reason> {
        match meaning {
            Meaning::Device => event.device_id = naive_device_id(value)?,
            Meaning::Time => event.timestamp = naive_timestamp(value)?,
            Meaning::Field(at) if value == "null" && !self.fields[at].is_required => {}
            Meaning::Field(at) => {
                let range = self.fields[at].range.clone().unwrap_or(f64::MIN..=f64::MAX);
                event.fields[at] = Some(naive_number(value, *range.start(), *range.end())?);
            }
        }
        Ok(())
    }
}

/// Returns a field of this name, with the mark of an optional one.
fn field(name: &str, range: Option<(f64, f64)>) -> FieldOptions {
    let (name, is_required) = name.strip_suffix('?').map_or((name, true), |name| (name, false));
    FieldOptions {
        name: name.to_owned(),
        is_required,
        range: range.map(|(min, max)| min..=max),
        least_deviation: 0.0,
    }
}

fn configured(fields: Vec<FieldOptions>, devices: &[&str], times: &[&str]) -> Configured {
    let [device_names, timestamp_names] =
        [devices, times].map(|names| names.iter().map(|name| (*name).to_owned()).collect());
    Configured { fields, device_names, timestamp_names }
}

/// The twins for [`SCHEMAS`], made once, as a schema is never freed.
pub static TWINS: LazyLock<Vec<Twin>> =
    LazyLock::new(|| SCHEMAS.iter().map(Configured::twin).collect());

/// Schemas that differ from each other in what a decoder may get wrong.
pub static SCHEMAS: LazyLock<Vec<Configured>> = LazyLock::new(|| {
    let usual = |fields| configured(fields, &["device_id"], &["timestamp"]);
    let long = "b".repeat(64);
    vec![
        usual(vec![field("cpu", Some((0.0, 1e6))), field("rps", Some((0.0, 1e12)))]),
        // All optional.
        usual(vec![
            field("temperature?", Some((-40.0, 125.0))),
            field("humidity?", Some((0.0, 100.0))),
            field("battery?", None),
        ]),
        // As many as there may be.
        usual((0..16).map(|at| field(&format!("load{at}"), Some((0.0, 100.0)))).collect()),
        // The shortest and the longest names, of which two differ in the last byte alone.
        usual(vec![
            field("a", Some((-1.0, 1.0))),
            field(&format!("{long}?"), Some((0.0, 100.0))),
            field("_?", Some((0.0, 1e6))),
            field(&format!("{}_", &long[..63]), None),
        ]),
        // Names that begin with others, around what fits into one word and into two.
        usual(
            [
                "abcde?",
                "abcdef",
                "abcdefg?",
                "abcdefgh",
                "abcdefghi?",
                "abcdefgh_1?",
                "abcdefghijklm?",
                "abcdefghijklmn",
                "abcdefghijklmnop?",
                "abcdefghijklmnopq?",
                "abcdefghijklmnop_1",
            ]
            .map(|name| field(name, Some((0.0, 1000.0))))
            .to_vec(),
        ),
        // Any number, and ranges far from the usual ones.
        usual(vec![
            field("any?", None),
            field("huge?", Some((1e300, 1e308))),
            field("tiny?", Some((-1e-300, 5e-324))),
            field("below?", Some((-273.15, -0.1))),
            field("one?", Some((7.0, 7.0))),
            field("zero?", Some((0.0, 0.0))),
        ]),
        // Names of the device's own.
        configured(
            vec![field("temperature", Some((-40.0, 125.0))), field("rssi?", Some((-120.0, 0.0)))],
            &["deviceId", "serial"],
            &["ts", "time"],
        ),
    ]
});
