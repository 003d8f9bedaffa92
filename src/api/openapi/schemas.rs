//! The schemas of the description that have the configured fields among their members.

use super::number_pattern::number_pattern;
use super::tree::Tree;
use crate::schema::{Field, Schema};

/// The first of the fields that the document is written for; the others stand behind it.
pub(super) const TEMPLATE_FIELDS: [&str; 2] = ["cpu", "rps"];

/// Replaces the fields in the schemas of a document. `None` if it has not the form of ours.
pub(super) fn replace(document: &mut Tree, schema: &Schema) -> Option<()> {
    let schemas = document.at(&["components", "schemas"])?;
    let names = schema.fields().iter().map(|field| field.name());
    *schemas.at(&["Field", "enum"])? = Tree::texts(names);

    let metric = schemas.at(&["Metric"])?;
    replace_fields(metric.at(&["properties"])?, schema, sent_value)?;
    rename(metric.at(&["properties"])?, "timestamp", &schema.timestamp_names);
    rename(metric.at(&["properties"])?, "device_id", &schema.device_names);
    require(metric, schema, &[], |field| {
        let is_value = Tree::object([("type", Tree::texts(VALUE_KINDS))]);
        let properties = Tree::Object(vec![(field.name().to_owned(), is_value)]);
        Tree::object([("required", Tree::texts([field.name()])), ("properties", properties)])
    })?;
    let aliases = [&schema.timestamp_names, &schema.device_names].map(|names| not_twice(names));
    let aliases: Vec<Tree> = aliases.into_iter().flatten().collect();
    if !aliases.is_empty() {
        metric.members()?.push(("allOf".to_owned(), Tree::Array(aliases)));
    }

    let stored = schemas.at(&["Stored"])?;
    replace_fields(stored.at(&["properties"])?, schema, |_, written| written.clone())?;
    require(stored, schema, &["timestamp"], |field| {
        Tree::object([("required", Tree::texts([field.name()]))])
    })?;

    let analysis = schemas.at(&["Analysis"])?;
    replace_fields(analysis.at(&["properties"])?, schema, |_, written| written.clone())?;
    let Tree::Array(required) = analysis.at(&["required"])? else {
        return None;
    };
    let at = required.iter().position(is_template_field)?;
    required.retain(|name| !is_template_field(name));
    let fields = schema.fields().iter().map(|field| Tree::from(field.name()));
    required.splice(at..at, fields);
    Some(())
}

fn is_template_field(name: &Tree) -> bool {
    TEMPLATE_FIELDS.iter().any(|field| *name == Tree::from(*field))
}

/// Puts a member for each field of the schema where those of the template stand. `member` makes one
/// from what is written for a field of the template.
pub(super) fn replace_fields(
    object: &mut Tree,
    schema: &Schema,
    member: impl Fn(Field, &Tree) -> Tree,
) -> Option<()> {
    let members = object.members()?;
    let is_field = |(name, _): &(String, Tree)| TEMPLATE_FIELDS.contains(&name.as_str());
    let at = members.iter().position(is_field)?;
    let written: Vec<Tree> =
        members.extract_if(.., |member| is_field(member)).map(|(_, value)| value).collect();
    let fields = schema.fields().iter().zip(written.iter().cycle());
    members.splice(
        at..at,
        fields.map(|(field, written)| (field.name().to_owned(), member(*field, written))),
    );
    Some(())
}

/// Puts a member under each of its names where it stands under its usual one.
fn rename(object: &mut Tree, usual: &str, names: &[String]) {
    let Some(members) = object.members() else {
        return;
    };
    if let Some(at) = members.iter().position(|(name, _)| name == usual) {
        let (_, value) = members.remove(at);
        members.splice(at..at, names.iter().map(|name| (name.clone(), value.clone())));
    }
}

/// Returns schemas that each forbid two of these names in one object.
fn not_twice(names: &[String]) -> Vec<Tree> {
    let pairs = names.iter().enumerate().flat_map(|(at, first)| {
        names.iter().skip(at + 1).map(move |second| [first.as_str(), second.as_str()])
    });
    let both = pairs.map(|pair| Tree::object([("required", Tree::texts(pair))]));
    both.map(|both| Tree::object([("not", both)])).collect()
}

/// Sets which members an object needs: `always`, and the required fields. If there are none of
/// those, one of the others, which is what `has` says of it.
fn require(
    object: &mut Tree,
    schema: &Schema,
    always: &[&str],
    has: impl Fn(Field) -> Tree,
) -> Option<()> {
    let fields = schema.required().iter().map(|field| field.name());
    let required: Vec<&str> = always.iter().copied().chain(fields).collect();
    let members = object.members()?;
    let at = members.iter().position(|(name, _)| name == "required")?;
    members.remove(at);
    if schema.required().is_empty() {
        let any = schema.fields().iter().map(|field| has(*field)).collect();
        members.insert(at, ("anyOf".to_owned(), Tree::Array(any)));
    }
    if !required.is_empty() {
        members.insert(at, ("required".to_owned(), Tree::texts(required)));
    }
    Some(())
}

/// The kinds of JSON that a value is sent as.
const VALUE_KINDS: [&str; 2] = ["number", "string"];

/// Returns the schema of a field's value as devices send it. The description stays as written.
fn sent_value(field: Field, written: &Tree) -> Tree {
    let pattern = number_pattern(field.range());
    let kinds = VALUE_KINDS.into_iter().filter(|kind| *kind != "string" || pattern.is_some());
    let kinds = kinds.chain((!field.is_required()).then_some("null"));
    let mut value = written.clone();
    if let Some(members) = value.members() {
        members.retain(|(name, _)| name == "description");
        members.push(("type".to_owned(), Tree::texts(kinds)));
        if let Some(range) = field.range() {
            members.push(("minimum".to_owned(), Tree::Number(*range.start())));
            members.push(("maximum".to_owned(), Tree::Number(*range.end())));
        }
        members.extend(pattern.map(|pattern| ("pattern".to_owned(), Tree::Text(pattern))));
    }
    value
}
