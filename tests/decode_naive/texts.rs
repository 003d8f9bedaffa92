//! Texts of JSON, as far as `serde_json` reads them: values, blanks, and what an array begins with.

use corepulse::limits::JSON_DEPTH_MAX;
use serde_json::value::RawValue;

/// Returns the depth of the arrays and objects of a JSON text.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => depth += 1,
            b'}' | b']' if !quoted => depth -= 1,
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// A JSON text that is read here, or nothing.
pub fn json(text: &str) -> Option<&RawValue> {
    let raw: &RawValue = serde_json::from_str(text).ok()?;
    (depth(raw.get()) <= JSON_DEPTH_MAX).then_some(raw)
}

fn is_blank(byte: &u8) -> bool {
    b" \t\r\n".contains(byte)
}

/// A text without the blanks before it. A form feed, which the standard library takes for a blank,
/// is none in JSON.
pub fn unindented(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|byte| is_blank(byte)).count();
    &text[blanks..]
}

/// The value that a text begins with, and what stands behind it.
pub fn first_value(text: &[u8]) -> Option<(&RawValue, &[u8])> {
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<&RawValue>();
    let raw = values.next()?.ok()?;
    let rest = &text[values.byte_offset()..];
    (depth(raw.get()) <= JSON_DEPTH_MAX).then_some((raw, unindented(rest)))
}

/// Returns true if a text that begins with a bracket and is not JSON is an array, not a bad line.
pub fn begins_array(text: &[u8]) -> bool {
    let next_of = |rest: &[u8]| rest.iter().copied().find(|byte| !b" \t\r".contains(byte));
    let line_end = text.iter().position(|&byte| byte == b'\n').unwrap_or(text.len());
    let next = next_of(&text[1..]);
    if next.is_none_or(|next| b"{]\n".contains(&next)) {
        return true;
    }
    if std::str::from_utf8(&text[..line_end]).ok().and_then(json).is_some() {
        return false;
    }
    let inner = unindented(&text[1..]);
    let first = first_value(inner).filter(|(raw, _)| depth(raw.get()) < JSON_DEPTH_MAX);
    first.is_some_and(|(raw, _)| {
        let end = text.len() - inner.len() + raw.get().len();
        next_of(&text[end..])
            .is_none_or(|next| b",\n".contains(&next) || next == b']' && end > line_end)
    })
}
