//! The schema: which members a metric has, as `--fields` and the options beside it say.
//!
//! A schema is made once, when the server starts, and lives as long as the process. So a [`Field`]
//! is a reference that can be copied into an error or an anomaly, and still knows its own name.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::LazyLock;

use crate::limits::{FIELD_NAME_BYTES_MAX, FIELDS_MAX};

/// A measured value that a metric may have: one entry of `--fields`.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldOptions {
    /// The name in its canonical spelling: 1 to 64 bytes of `A-Z a-z 0-9 _`.
    pub name: String,
    /// True if an event without it is rejected.
    pub is_required: bool,
    /// The values that are accepted; `None` for every finite number.
    pub range: Option<RangeInclusive<f64>>,
    /// The least distance from the mean that is an anomaly, in the field's own unit.
    pub least_deviation: f64,
}

/// A field with what follows from its options.
#[derive(Debug)]
struct FieldEntry {
    options: FieldOptions,
    index: usize,
    min: f64,
    max: f64,
    magnitude_max: i64,
    expectation: String,
    json_prefix: String,
    short_json_prefix: Option<[u8; 16]>,
}

/// A field of the schema.
#[derive(Clone, Copy)]
pub struct Field(&'static FieldEntry);

impl Field {
    /// Returns the name in its canonical spelling.
    pub fn name(self) -> &'static str {
        &self.0.options.name
    }

    /// Returns its place among [`Schema::fields`].
    #[inline(always)]
    pub const fn index(self) -> usize {
        self.0.index
    }

    /// Returns true if an event without it is rejected.
    pub const fn is_required(self) -> bool {
        self.0.options.is_required
    }

    /// Returns true if the field takes this value; never for NaN or infinity.
    #[inline(always)]
    pub fn accepts(self, value: f64) -> bool {
        self.0.min <= value && value <= self.0.max
    }

    /// Returns the values that the field takes; `None` for every finite number.
    pub fn range(self) -> Option<RangeInclusive<f64>> {
        self.0.options.range.clone()
    }

    /// Returns the value of the field that is nearest to a finite one.
    pub fn nearest(self, value: f64) -> f64 {
        value.max(self.0.min).min(self.0.max)
    }

    /// Returns the least distance from the mean that is an anomaly.
    #[inline(always)]
    pub const fn least_deviation(self) -> f64 {
        self.0.options.least_deviation
    }

    /// Returns the power of ten of the first digit of the largest value that the field takes.
    pub const fn magnitude_max(self) -> i64 {
        self.0.magnitude_max
    }

    /// Returns what a value must be, in the words of an error text.
    pub fn expectation(self) -> &'static str {
        &self.0.expectation
    }

    /// Returns `,"name":`, which stands before the value in a stored metric.
    #[inline(always)]
    pub fn json_prefix(self) -> &'static [u8] {
        self.0.json_prefix.as_bytes()
    }

    /// Returns the same with zeros behind it, if it has no more than 16 bytes.
    #[inline(always)]
    pub fn short_json_prefix(self) -> Option<&'static [u8; 16]> {
        self.0.short_json_prefix.as_ref()
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl PartialEq for Field {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for Field {}

/// A set of fields, by their indexes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FieldSet(u16);

impl FieldSet {
    /// Returns the set of this bit mask; bit 0 is the field of index 0.
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// Returns the set as a bit mask.
    #[inline(always)]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Returns true if an event may have just these fields: all `required` ones, and at least one.
    #[inline(always)]
    pub const fn is_event(self, required: Self) -> bool {
        self.0 & required.0 == required.0 && self.0 != 0
    }

    /// Adds a field.
    pub const fn insert(&mut self, field: Field) {
        self.0 |= 1 << field.index();
    }

    /// Returns true if the field is in the set.
    #[inline(always)]
    pub const fn contains(self, field: Field) -> bool {
        self.0 >> field.index() & 1 == 1
    }

    /// Returns the indexes of the fields in the set, in their order.
    #[inline(always)]
    pub fn indexes(self) -> impl Iterator<Item = usize> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let index = (rest != 0).then(|| rest.trailing_zeros() as usize);
            rest &= rest.wrapping_sub(1);
            index
        })
    }
}

/// The schema of an instance.
#[derive(Debug)]
pub struct Schema {
    fields: Vec<Field>,
    required: usize,
    /// A metric in JSON, for error texts.
    pub example: String,
    /// The names of the member that carries the device id, the canonical one first.
    pub device_names: Vec<String>,
    /// The names of the member that carries the time, the canonical one first.
    pub timestamp_names: Vec<String>,
    /// The tags of line protocol that may carry the device id; the first that a line has counts.
    pub device_tags: Vec<String>,
}

impl Schema {
    /// Makes a schema, which is never freed. Its fields are in the order in which they were given,
    /// but the required ones come first. The lists of names have at least one entry each, and no
    /// name appears twice, in any case: `config` has checked that.
    pub fn leak(
        fields: &[FieldOptions],
        [device_names, timestamp_names, device_tags]: [&[String]; 3],
    ) -> &'static Self {
        let (required, optional): (Vec<_>, Vec<_>) =
            fields.iter().take(FIELDS_MAX).partition(|field| field.is_required);
        let entry = |(index, options): (usize, &&FieldOptions)| {
            let entry: &'static FieldEntry = Box::leak(Box::new(FieldEntry::new(index, options)));
            Field(entry)
        };
        let count = required.len();
        let fields: Vec<_> = [required, optional].concat().iter().enumerate().map(entry).collect();
        Box::leak(Box::new(Self {
            required: count,
            example: example(&fields),
            fields,
            device_names: device_names.to_vec(),
            timestamp_names: timestamp_names.to_vec(),
            device_tags: device_tags.to_vec(),
        }))
    }

    /// Returns the schema of an instance without any options: `cpu` and `rps`, both required.
    pub fn standard() -> &'static Self {
        static STANDARD: LazyLock<&Schema> = LazyLock::new(|| {
            let field = |name: &str, max| FieldOptions {
                name: name.to_owned(),
                is_required: true,
                range: Some(0.0..=max),
                least_deviation: 0.0,
            };
            let [device, time] = ["device_id", "timestamp"].map(str::to_owned);
            let tags = [device.clone(), "host".to_owned()];
            Schema::leak(&[field("cpu", 1e6), field("rps", 1e12)], [&[device], &[time], &tags])
        });
        *STANDARD
    }

    /// Returns all fields, required ones first.
    #[inline(always)]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Returns the names of all fields, with commas between them.
    pub fn names(&self) -> String {
        self.fields.iter().map(|field| field.name()).collect::<Vec<_>>().join(", ")
    }

    /// Returns the fields that every event has.
    #[inline(always)]
    pub fn required(&self) -> &[Field] {
        self.fields.get(..self.required).unwrap_or_default()
    }

    /// Returns the fields that an event may have.
    pub fn optional(&self) -> &[Field] {
        self.fields.get(self.required..).unwrap_or_default()
    }

    /// Returns the set of the required fields.
    #[inline(always)]
    pub const fn required_set(&self) -> FieldSet {
        FieldSet(((1_u32 << self.required) - 1) as u16)
    }

    /// Returns the field of this index.
    #[inline(always)]
    pub fn field(&self, index: usize) -> Option<Field> {
        self.fields.get(index).copied()
    }

    /// Returns the fields of a set, in the order of the schema.
    #[inline(always)]
    pub fn fields_in(&self, set: FieldSet) -> impl Iterator<Item = Field> {
        set.indexes().filter_map(|index| self.field(index))
    }

    /// Returns the field of this name, in any case.
    pub fn field_of(&self, name: &[u8]) -> Option<Field> {
        let is = |field: &&Field| name.eq_ignore_ascii_case(field.name().as_bytes());
        self.fields.iter().find(is).copied()
    }
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Schema {}

impl FieldEntry {
    fn new(index: usize, options: &FieldOptions) -> Self {
        let range = options.range.clone().unwrap_or(-f64::MAX..=f64::MAX);
        let (min, max) = range.into_inner();
        let largest = min.abs().max(max.abs());
        let expectation = match &options.range {
            Some(_) => format!("a finite number from {} to {}", Bound(min), Bound(max)),
            None => "a finite number".to_owned(),
        };
        let json_prefix = format!(",\"{}\":", options.name);
        let mut short_json_prefix = [0; 16];
        let place = short_json_prefix.get_mut(..json_prefix.len());
        let is_short = place.map(|place| place.copy_from_slice(json_prefix.as_bytes())).is_some();
        Self {
            index,
            min,
            max,
            // Rounded up, as the logarithm of a number just below a power of ten may be.
            magnitude_max: largest.max(1.0).log10().floor() as i64 + 1,
            expectation,
            short_json_prefix: is_short.then_some(short_json_prefix),
            json_prefix,
            options: options.clone(),
        }
    }
}

/// Returns a metric in JSON with all required fields, and with two if there are so many.
fn example(fields: &[Field]) -> String {
    let member = |(field, value): (Field, f64)| {
        format!("\"{}\":{}", field.name(), Bound(field.nearest(value)))
    };
    let required = fields.iter().filter(|field| field.is_required()).count();
    let values = [41.5, 1200.0].into_iter().cycle().take(required.max(2));
    let members: Vec<_> = fields.iter().copied().zip(values).map(member).collect();
    format!("{{{}}}", members.join(","))
}

/// A bound of a range, in words.
struct Bound(f64);

impl fmt::Display for Bound {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(value) = *self;
        let is_plain = value == 0.0 || (1e-7..1e21).contains(&value.abs());
        if is_plain { write!(out, "{value}") } else { write!(out, "{value:e}") }
    }
}

/// Returns true if a field may have this name.
pub fn is_field_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=FIELD_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_allowed)
}

#[cfg(test)]
pub(crate) mod samples;
