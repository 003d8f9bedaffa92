//! Log lines as `key=value` pairs (logfmt), for people and for collectors of logs.
//!
//! A value is quoted where necessary, and escaped as in a string of JSON, so that an event is one
//! line and each key has one value, whatever text a message or a peer contains.

use std::fmt::{self, Debug, Display, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The format `time=… level=… msg=… key=value… target=…`.
#[derive(Debug)]
pub(super) struct Logfmt;

impl<S, N> FormatEvent<S, N> for Logfmt
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        out.write_str("time=")?;
        SystemTime.format_time(&mut out)?;
        let metadata = event.metadata();
        write!(out, " level={}", metadata.level())?;
        let mut message = Message(None);
        event.record(&mut message);
        if let Some(message) = message.0 {
            write!(out, " msg={}", Value(&message))?;
        }
        let mut fields = Fields { out, result: Ok(()) };
        event.record(&mut fields);
        let Fields { mut out, result } = fields;
        result?;
        writeln!(out, " target={}", metadata.target())
    }
}

/// The message alone, which comes before the fields wherever it stands in the event.
struct Message(Option<String>);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.0 = Some(format!("{value:?}"));
        }
    }
}

/// The fields in their order.
struct Fields<'a> {
    out: Writer<'a>,
    result: fmt::Result,
}

impl Fields<'_> {
    fn write(&mut self, field: &Field, value: &str) {
        if field.name() != "message" && self.result.is_ok() {
            self.result = write!(self.out, " {}={}", field.name(), Value(value));
        }
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.write(field, value);
    }

    /// Writes numbers, and values given as `%value`.
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.write(field, &format!("{value:?}"));
    }
}

/// A value, quoted unless it is a plain word.
struct Value<'a>(&'a str);

impl Display for Value<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'=' | b'\\');
        if !self.0.is_empty() && self.0.as_bytes().iter().all(is_plain) {
            return out.write_str(self.0);
        }
        out.write_char('"')?;
        for char in self.0.chars() {
            match char {
                '"' | '\\' => write!(out, "\\{char}")?,
                '\n' => out.write_str("\\n")?,
                '\r' => out.write_str("\\r")?,
                '\t' => out.write_str("\\t")?,
                control if control.is_control() => write!(out, "\\u{:04x}", u32::from(control))?,
                '\u{2028}' | '\u{2029}' => write!(out, "\\u{:04x}", u32::from(char))?,
                other => out.write_char(other)?,
            }
        }
        out.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_quoted_where_it_has_to_be() {
        for (value, shown) in [
            ("plain", "plain"),
            ("http://[::1]:8080/a,b", "http://[::1]:8080/a,b"),
            ("two words", r#""two words""#),
            ("", r#""""#),
            ("a=b", r#""a=b""#),
            (r#"say "so""#, r#""say \"so\"""#),
            (r"c:\new", r#""c:\\new""#),
            ("a\nlevel=ERROR\r\t\u{1b}[2J", r#""a\nlevel=ERROR\r\t\u001b[2J""#),
            ("Füllstand", "\"Füllstand\""),
            ("\u{2028}\u{85}", r#""\u2028\u0085""#),
        ] {
            assert_eq!(Value(value).to_string(), shown);
        }
    }
}
