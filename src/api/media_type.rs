//! Which media types hold metrics.

use crate::metric::decode::LineMode;

/// How a body of this `Content-Type` is read; `None` for types that are not taken.
///
/// `application/x-www-form-urlencoded` is what `curl -d` says of anything; who types a metric by
/// hand should not have to know that.
#[must_use]
pub fn lines(content_type: Option<&[u8]>) -> Option<LineMode> {
    let value = content_type.unwrap_or_default();
    // What nearly every device sends, before anything is taken apart.
    if value == b"application/json" || value.is_empty() {
        return Some(LineMode::Detect);
    }
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let is = |name: &&str| essence.eq_ignore_ascii_case(name.as_bytes());
    if NDJSON.iter().any(is) {
        return Some(LineMode::Always);
    }
    (JSON.iter().any(is) || has_json_suffix(essence)).then_some(LineMode::Detect)
}

/// NDJSON has no registered type: these are what its libraries and the tools that speak it say.
const NDJSON: [&str; 3] = ["application/x-ndjson", "application/ndjson", "application/jsonl"];

/// What may hold metrics in any form.
const JSON: [&str; 5] =
    ["", "application/json", "text/json", "text/plain", "application/x-www-form-urlencoded"];

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
        assert_eq!(lines(None), Some(LineMode::Detect));
        for json in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "text/plain;charset=UTF-8",
            "text/json",
            "Text/JSON;charset=utf-8",
            "application/x-www-form-urlencoded",
            "application/vnd.device+json",
            "",
        ] {
            assert_eq!(of(json), Some(LineMode::Detect), "{json}");
        }
        for ndjson in [
            "application/x-ndjson",
            "application/ndjson",
            "application/jsonl",
            "Application/NDJSON; charset=utf-8",
        ] {
            assert_eq!(of(ndjson), Some(LineMode::Always), "{ndjson}");
        }
        for other in [
            "text/html",
            "application/xml",
            "json",
            "+json",
            "application/jsonx",
            "application/jsonlines",
            "text/jsonl",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
