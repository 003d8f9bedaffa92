//! The examples of the description: their fields become those that are configured.

use super::schemas::{TEMPLATE_FIELDS, replace_fields};
use super::tree::Tree;
use crate::api::json;
use crate::metric::rejection::Rejection;
use crate::schema::{Field, Schema};

/// Replaces the fields in all examples below `tree`. What is below `requestBody` is sent by
/// devices, so the time and the device have their configured names there.
pub(super) fn replace(tree: &mut Tree, schema: &'static Schema) {
    Examples { schema, is_example: false, is_sent: false }.replace(tree);
}

/// The place in the document.
#[derive(Clone, Copy)]
struct Examples {
    schema: &'static Schema,
    is_example: bool,
    is_sent: bool,
}

impl Examples {
    fn replace(self, tree: &mut Tree) {
        match tree {
            Tree::Object(members) => {
                for (name, value) in members {
                    let is_example = self.is_example || name == "example" || name == "examples";
                    let is_sent = self.is_sent || name == "requestBody";
                    Self { is_example, is_sent, ..self }.replace(value);
                }
                if self.is_example {
                    self.replace_members(tree);
                }
            }
            Tree::Array(items) => items.iter_mut().for_each(|item| self.replace(item)),
            Tree::Text(text) if self.is_example => self.replace_text(text),
            _ => {}
        }
    }

    fn replace_members(self, object: &mut Tree) {
        if object.at(&["field"]).is_some()
            && let (Some(value), Some(field)) = (object.at(&["value"]), self.schema.field(0))
        {
            *value = accepted(field, value);
        }
        if replace_fields(object, self.schema, accepted).is_none() || !self.is_sent {
            return;
        }
        for (name, _) in object.members().into_iter().flatten() {
            let names = match name.as_str() {
                "timestamp" => &self.schema.timestamp_names,
                "device_id" => &self.schema.device_names,
                _ => continue,
            };
            names.iter().take(1).for_each(|canonical| name.clone_from(canonical));
        }
    }

    /// Replaces a text that names a field: its name alone, an error, metrics line by line, or a
    /// table of them.
    fn replace_text(self, text: &mut String) {
        let [first, _] = TEMPLATE_FIELDS;
        if text == first {
            *text = self.schema.field(0).map_or("", Field::name).to_owned();
        } else if let Some(start) = text.strip_suffix(&format!("{first}: missing")) {
            let missing = self.schema.required().first();
            let missing = missing.map(|&field| Rejection::Missing { field });
            let missing = missing.unwrap_or(Rejection::NoField { schema: self.schema });
            *text = format!("{start}{missing}");
        } else if text.starts_with('{') {
            *text = each_line(text, |line| self.replaced_object(line));
        } else if text.contains(&format!(" {first}=")) {
            *text = each_line(text, |line| self.replaced_line(line));
        } else if let Some((header, _)) = text.split_once('\n')
            && header.split(',').any(|name| name == first)
        {
            *text = each_line(text, |row| self.replaced_row(header, row));
        }
    }

    /// Returns a row of a table with the columns of other fields behind all others, or the header
    /// row itself.
    fn replaced_row(self, header: &str, row: &str) -> String {
        let Self { schema, .. } = self;
        if row.is_empty() {
            return String::new();
        }
        let cells = header.split(',').zip(row.split(','));
        let (values, others): (Vec<_>, Vec<_>) =
            cells.partition(|(name, _)| TEMPLATE_FIELDS.contains(name));
        let others = others.iter().map(|&(name, cell)| match name {
            _ if row != header => cell,
            "timestamp" => schema.timestamp_names.first().map_or(name, String::as_str),
            "device_id" => schema.device_names.first().map_or(name, String::as_str),
            _ => name,
        });
        let fields = schema.fields().iter().zip(values.iter().cycle());
        let fields = fields.map(|(field, (_, value))| match row == header {
            true => field.name().to_owned(),
            false => near(*field, value),
        });
        others.map(str::to_owned).chain(fields).collect::<Vec<_>>().join(",")
    }

    fn replaced_object(self, line: &str) -> String {
        let mut out = Vec::new();
        if let Some(mut object) = json::read::<Tree>(line.as_bytes()) {
            self.replace_members(&mut object);
            json::append(&mut out, &object);
        }
        String::from_utf8(out).unwrap_or_default()
    }

    /// Returns a line of InfluxDB's protocol with other fields, and a tag that names the device.
    fn replaced_line(self, line: &str) -> String {
        let mut parts = line.splitn(3, ' ');
        let (Some(tags), Some(fields)) = (parts.next(), parts.next()) else {
            return line.to_owned();
        };
        let values = fields.split(',').filter_map(|field| Some(field.split_once('=')?.1));
        let fields = self.schema.fields().iter().zip(values.cycle());
        let fields =
            fields.map(|(field, value)| format!("{}={}", field.name(), near(*field, value)));
        let fields = fields.collect::<Vec<_>>().join(",");
        let [mut tags, fields] = [tags.to_owned(), fields];
        let tag = |name: &str| format!(",{name}=");
        if let Some(name) = self.schema.device_tags.first()
            && self.schema.device_tags.iter().all(|name| !tags.contains(&tag(name)))
        {
            tags = tags.replace(&tag("host"), &tag(name));
        }
        [&tags, &fields].into_iter().map(String::as_str).chain(parts).collect::<Vec<_>>().join(" ")
    }
}

/// Returns a text whose lines are replaced.
fn each_line(text: &str, replaced: impl Fn(&str) -> String) -> String {
    text.split('\n').map(replaced).collect::<Vec<_>>().join("\n")
}

/// Returns a value of line protocol that the field may have; that of an integer has a suffix.
fn near(field: Field, value: &str) -> String {
    let number: f64 = value.trim_end_matches('i').parse().unwrap_or_default();
    if field.accepts(number) {
        return value.to_owned();
    }
    let mut out = Vec::new();
    json::append(&mut out, &Tree::Number(field.nearest(number)));
    String::from_utf8(out).unwrap_or_default()
}

/// Returns what is written for a field of the template as what this field may have: a value, or
/// the summary of a window.
fn accepted(field: Field, written: &Tree) -> Tree {
    match written {
        Tree::Number(value) => Tree::Number(field.nearest(*value)),
        Tree::Object(members) => {
            let member = |(name, value): &(String, Tree)| {
                let is_value = ["rolling_average", "min", "max", "last"].contains(&name.as_str());
                (name.clone(), if is_value { accepted(field, value) } else { value.clone() })
            };
            Tree::Object(members.iter().map(member).collect())
        }
        other => other.clone(),
    }
}
