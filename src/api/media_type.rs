//! Which media types hold metrics.

use crate::metric::decode::Lines;

/// How a body of this `Content-Type` is read; `None` for types that are not taken.
///
/// `application/x-www-form-urlencoded` is what `curl -d` says of anything; who types a metric by
/// hand should not have to know that.
#[must_use]
pub fn lines(content_type: Option<&[u8]>) -> Option<Lines> {
    let value = content_type.unwrap_or_default();
    // What nearly every device sends, before anything is taken apart.
    if value == b"application/json" || value.is_empty() {
        return Some(Lines::Detect);
    }
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let is = |name: &[u8]| essence.eq_ignore_ascii_case(name);
    if is(b"application/x-ndjson") {
        return Some(Lines::Always);
    }
    let named = essence.is_empty()
        || is(b"application/json")
        || is(b"text/plain")
        || is(b"application/x-www-form-urlencoded");
    (named || has_json_suffix(essence)).then_some(Lines::Detect)
}

/// `application/vnd.device+json` and its like (RFC 6839, section 3.1).
fn has_json_suffix(essence: &[u8]) -> bool {
    let Some((type_and_name, suffix)) = essence.split_last_chunk::<5>() else {
        return false;
    };
    suffix.eq_ignore_ascii_case(b"+json") && type_and_name.contains(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_by_name() {
        let of = |value: &str| lines(Some(value.as_bytes()));
        assert_eq!(lines(None), Some(Lines::Detect));
        for json in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "text/plain;charset=UTF-8",
            "application/x-www-form-urlencoded",
            "application/vnd.device+json",
            "",
        ] {
            assert_eq!(of(json), Some(Lines::Detect), "{json}");
        }
        assert_eq!(of("application/x-ndjson"), Some(Lines::Always));
        for other in ["text/html", "application/xml", "json", "+json", "application/jsonx"] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
