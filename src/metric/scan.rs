//! Scanners of JSON tokens.
//!
//! A scanner takes a text and the offset where a token begins, and returns where it ends. Scanners
//! are as strict as RFC 8259 and never recurse. They do not check UTF-8: the callers do.

use memchr::memchr;

use crate::metric::json_error::{Expected, JsonError, position};

/// Skips blanks (RFC 8259, section 2), and returns the offset of the first other byte.
#[inline]
pub(super) fn skip_blanks(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(at) {
        at += 1;
    }
    at
}

/// Returns the end of the line that `at` is in: its newline, or the end of the body.
#[inline]
pub(super) fn line_end(body: &[u8], at: usize) -> usize {
    let rest = body.get(at..).unwrap_or_default();
    memchr(b'\n', rest).map_or(body.len(), |length| at + length)
}

/// Returns the end of the letters from `at` on.
pub(super) fn word_end(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|byte| byte.is_ascii_alphabetic()).count()
}

/// A scanned string, quotes excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StringToken {
    /// The offset of its closing quote.
    pub(super) end: usize,
    /// True if it contains escapes, which [`unescape`] decodes.
    pub(super) escaped: bool,
}

/// Scans a string whose first byte after the opening quote is at `at`.
#[inline]
pub(super) fn scan_string(bytes: &[u8], at: usize) -> Result<StringToken, JsonError> {
    let end = plain_end(bytes, at);
    if bytes.get(end) == Some(&b'"') {
        let escaped = false;
        return Ok(StringToken { end, escaped });
    }
    escaped_string(bytes, end)
}

#[cold]
fn escaped_string(bytes: &[u8], mut at: usize) -> Result<StringToken, JsonError> {
    loop {
        at = plain_end(bytes, at);
        match bytes.get(at) {
            Some(b'"') => {
                let (end, escaped) = (at, true);
                return Ok(StringToken { end, escaped });
            }
            Some(b'\\') => at = escape_end(bytes, at)?,
            _ => return Err(JsonError::expected(Expected::Character, bytes, at)),
        }
    }
}

/// Returns the first byte from `at` on that is a quote, a backslash or a control character.
#[inline]
fn plain_end(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    let plain = rest.iter().take_while(|&&byte| byte >= b' ' && byte != b'"' && byte != b'\\');
    at + plain.count()
}

/// Scans the escape whose backslash is at `at`. Surrogates need not be paired: the grammar of
/// RFC 8259 does not ask for it, and no name or id here contains any.
fn escape_end(bytes: &[u8], at: usize) -> Result<usize, JsonError> {
    match bytes.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => {
            let digits = at + 2..at + 6;
            match digits.clone().find(|&at| !bytes.get(at).is_some_and(u8::is_ascii_hexdigit)) {
                Some(wrong) => Err(JsonError::expected(Expected::HexDigits, bytes, wrong)),
                None => Ok(digits.end),
            }
        }
        _ => Err(JsonError::expected(Expected::Escape, bytes, at + 1)),
    }
}

/// Appends the decoded text of a scanned string, with `?` for every character that is not ASCII: no
/// name, id or timestamp contains either, so the difference cannot matter.
pub(super) fn unescape(raw: &[u8], out: &mut String) {
    let mut bytes = raw.iter();
    while let Some(&byte) = bytes.next() {
        let decoded = match byte {
            b'\\' => match bytes.next() {
                Some(b'b') => 0x08,
                Some(b'f') => 0x0c,
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b't') => b'\t',
                Some(b'u') => {
                    let digits = bytes.by_ref().take(4);
                    let code = digits.fold(0, |code, &digit| code * 16 + hex_value(digit));
                    u8::try_from(code).unwrap_or(b'?')
                }
                Some(&itself) => itself,
                None => b'?',
            },
            byte => byte,
        };
        out.push(if decoded.is_ascii() { char::from(decoded) } else { '?' });
    }
}

fn hex_value(digit: u8) -> u32 {
    char::from(digit).to_digit(16).unwrap_or(0)
}

/// Returns the end of the array or object that begins at `at`. Strings are scanned strictly,
/// brackets are only counted. At most `depth_max` may be open at once.
pub(super) fn container_end(
    bytes: &[u8],
    mut at: usize,
    depth_max: usize,
) -> Result<usize, JsonError> {
    let mut open = 0_usize;
    loop {
        match bytes.get(at) {
            Some(b'"') => at = scan_string(bytes, at + 1)?.end,
            Some(b'{' | b'[') if open == depth_max => {
                return Err(JsonError::Depth { at: position(at) });
            }
            Some(b'{' | b'[') => open += 1,
            Some(b'}' | b']') if open <= 1 => return Ok(at + 1),
            Some(b'}' | b']') => open -= 1,
            Some(_) => {}
            None => return Err(JsonError::expected(Expected::Value, bytes, at)),
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(literal: &str) -> Result<String, JsonError> {
        let text = scan_string(literal.as_bytes(), 1)?;
        assert_eq!(text.end, literal.len() - 1);
        let mut out = String::new();
        unescape(&literal.as_bytes()[1..text.end], &mut out);
        Ok(out)
    }

    #[test]
    fn escapes_mean_what_the_rfc_says() {
        for (literal, meant) in [
            (r#""""#, ""),
            (r#""plain""#, "plain"),
            (r#""a\"b\\c\/d""#, "a\"b\\c/d"),
            (r#""\b\f\n\r\t""#, "\u{8}\u{c}\n\r\t"),
            (r#""\u0041\u007a\u005F""#, "Az_"),
            (r#""\u0000""#, "\0"),
            (r#""\u00e9\ud83d\ude00\ud800""#, "????"),
            (r#""\uFFFFa""#, "?a"),
        ] {
            assert_eq!(meaning(literal).as_deref(), Ok(meant), "{literal}");
        }
    }

    #[test]
    fn a_bad_string_says_where() {
        for (literal, expected, at) in [
            ("\"a", Expected::Character, 2),
            ("\"a\nb\"", Expected::Character, 2),
            ("\"\u{1f}\"", Expected::Character, 1),
            (r#""\x""#, Expected::Escape, 2),
            (r#""\"#, Expected::Escape, 2),
            (r#""\u12""#, Expected::HexDigits, 5),
            (r#""\u12"#, Expected::HexDigits, 5),
            (r#""\u+123""#, Expected::HexDigits, 3),
            (r#""ab\"#, Expected::Escape, 4),
        ] {
            let bytes = literal.as_bytes();
            assert_eq!(
                scan_string(bytes, 1),
                Err(JsonError::expected(expected, bytes, at)),
                "{literal:?}"
            );
        }
    }

    #[test]
    fn a_container_ends_where_its_brackets_balance() {
        let end = |text: &str, room| container_end(text.as_bytes(), 0, room);
        assert_eq!(end("[] ", 1), Ok(2));
        assert_eq!(end(r#"{"a":"]}\"}","b":[{}]},"#, 3), Ok(22));
        assert_eq!(end("[[]]", 1), Err(JsonError::Depth { at: 1 }));
        assert_eq!(end("[", 0), Err(JsonError::Depth { at: 0 }));
        assert_eq!(end("[[]", 9), Err(JsonError::expected(Expected::Value, b"[[]", 3)));
    }
}
