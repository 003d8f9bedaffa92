//! Answers in JSON, written as they are made.

use std::fmt;
use std::io::Write;

use percore::http::problem::JsonText;

/// Writes one JSON object, member by member, and closes it when it goes out of scope.
#[derive(Debug)]
pub struct Object<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> Object<'a> {
    /// Opens an object.
    pub fn open(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    /// Writes a name, after which its value goes to what is returned.
    pub fn name(&mut self, name: &str) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// A whole number, `true`, `false`, or anything else that is JSON when displayed.
    pub fn plain(&mut self, name: &str, value: impl fmt::Display) {
        // Writing into memory cannot fail.
        let _ = write!(self.name(name), "{value}");
    }

    /// A text.
    pub fn text(&mut self, name: &str, value: impl fmt::Display) {
        text(self.name(name), value);
    }

    /// A text or `null`.
    pub fn text_or_null(&mut self, name: &str, value: Option<impl fmt::Display>) {
        match value {
            Some(value) => self.text(name, value),
            None => self.plain(name, "null"),
        }
    }

    /// A number, shortest that reads back the same; `null` where there is none.
    pub fn number(&mut self, name: &str, value: Option<f64>) {
        number(self.name(name), value);
    }

    /// An object within this one.
    pub fn object(&mut self, name: &str) -> Object<'_> {
        Object::open(self.name(name))
    }

    /// An array of objects.
    pub fn objects<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Object<'_>, T),
    ) {
        let out = self.name(name);
        out.push(b'[');
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write(&mut Object::open(out), item);
        }
        out.push(b']');
    }
}

impl Drop for Object<'_> {
    fn drop(&mut self) {
        self.out.push(b'}');
    }
}

/// Appends a JSON string.
pub fn text(out: &mut Vec<u8>, value: impl fmt::Display) {
    out.push(b'"');
    let _ = fmt::Write::write_fmt(&mut JsonText(out), format_args!("{value}"));
    out.push(b'"');
}

/// Appends a JSON number, the shortest that reads back the same.
fn number(out: &mut Vec<u8>, value: Option<f64>) {
    let _ = match value.filter(|value| value.is_finite()) {
        // Without an exponent the smallest doubles take three hundred digits.
        Some(value) if value != 0.0 && !(1e-7..1e21).contains(&value.abs()) => {
            write!(out, "{value:e}")
        }
        Some(value) => write!(out, "{value}"),
        None => write!(out, "null"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_nest_and_close() {
        let mut out = Vec::new();
        {
            let mut object = Object::open(&mut out);
            object.plain("a", 1);
            object.text("b", "x\"y");
            object.object("c").plain("d", true);
            object.objects("e", [1, 2], |item, value| item.plain("f", value));
            object.text_or_null("g", None::<&str>);
        }
        let expected = r#"{"a":1,"b":"x\"y","c":{"d":true},"e":[{"f":1},{"f":2}],"g":null}"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn numbers_are_the_shortest_that_read_back() {
        for (value, text) in [
            (Some(0.1), "0.1"),
            (Some(1e12), "1000000000000"),
            (Some(51.846_000_000_000_004), "51.846000000000004"),
            (Some(-2.0), "-2"),
            (Some(1e-7), "0.0000001"),
            (Some(-5e-324), "-5e-324"),
            (Some(1.5e21), "1.5e21"),
            (Some(f64::NAN), "null"),
            (None, "null"),
        ] {
            let mut out = Vec::new();
            number(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}
