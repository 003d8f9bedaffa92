//! Schemas that tests run under beside the standard one.

use super::{FieldOptions, FieldSet, Schema};
use crate::limits::FIELD_NAME_BYTES_MAX;

/// Returns a field that takes any finite number.
fn field(name: &str, is_required: bool) -> FieldOptions {
    FieldOptions { name: name.to_owned(), is_required, range: None, least_deviation: 0.0 }
}

/// Makes a schema of these fields; the other members have their usual names.
pub(crate) fn schema_of(fields: &[FieldOptions]) -> &'static Schema {
    let names = ["device_id", "timestamp"].map(str::to_owned);
    let [device, time] = names.each_ref().map(std::slice::from_ref);
    Schema::leak(fields, [device, time, device])
}

/// Makes a schema of so many required fields, and so many optional ones behind them.
pub(crate) fn numbered(required: usize, optional: usize) -> &'static Schema {
    let all = 0..required + optional;
    schema_of(&all.map(|at| field(&format!("f{at}"), at < required)).collect::<Vec<_>>())
}

/// Makes a schema of three optional fields.
pub(crate) fn three_optional() -> &'static Schema {
    schema_of(&["temperature", "humidity", "battery"].map(|name| field(name, false)))
}

/// Makes a schema of two required fields and an optional one.
pub(crate) fn one_optional() -> &'static Schema {
    let fields = [("cpu", true), ("rps", true), ("battery", false)];
    schema_of(&fields.map(|(name, is_required)| field(name, is_required)))
}

/// Makes a schema of sixteen fields, every other one required, whose names have 1 to 64 bytes, and
/// some the same first eight.
pub(crate) fn sixteen() -> &'static Schema {
    let longest = "n".repeat(FIELD_NAME_BYTES_MAX);
    let names = [
        "a",
        "bc",
        "pressure",
        "pressure1",
        "pressure_2",
        "pressure_03",
        "pressure_004",
        "name_of_13",
        "name_of_14_by",
        "x",
        "Y",
        "z_",
        "_",
        "0",
        "exactly_sixteen_",
        &longest,
    ];
    let fields = names.iter().enumerate().map(|(at, name)| field(name, at % 2 == 0));
    schema_of(&fields.collect::<Vec<_>>())
}

/// Makes the schemas that a property is checked for.
pub(crate) fn all() -> [&'static Schema; 3] {
    [Schema::standard(), three_optional(), sixteen()]
}

/// Returns the set of all fields.
pub(crate) fn all_fields(schema: &Schema) -> FieldSet {
    FieldSet::from_bits(((1_u32 << schema.fields().len()) - 1) as u16)
}

/// Returns fields that an event may have: the required ones, and the optional ones whose bits the
/// number has.
pub(crate) fn fields_of(schema: &Schema, number: u64) -> FieldSet {
    let (all, required) = (all_fields(schema), schema.required_set());
    let fields = FieldSet::from_bits(number as u16 & all.bits() | required.bits());
    if fields.is_event(required) { fields } else { all }
}
