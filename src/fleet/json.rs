//! JSON of entries and messages, which others write.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The levels of arrays and objects in each other. None of ours has so many, and the parser takes
/// stack for each.
const DEPTH_MAX: usize = 64;

/// Returns the JSON of a value.
pub(super) fn write(value: &impl Serialize) -> Vec<u8> {
    // Writing into memory cannot fail.
    sonic_rs::to_vec(value).unwrap_or_default()
}

/// Reads a value; `None` if it is none, or too deep.
pub fn read<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    if is_shallow(json) { sonic_rs::from_slice(json).ok() } else { None }
}

/// Returns true if no more than [`DEPTH_MAX`] brackets are open at once.
fn is_shallow(json: &[u8]) -> bool {
    let (mut depth, mut in_string, mut is_escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_string,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn nested(levels: usize) -> String {
        format!("{}1{}", "[".repeat(levels), "]".repeat(levels))
    }

    #[test]
    fn what_is_too_deep_is_refused_before_it_takes_the_stack() {
        assert!(read::<Value>(nested(DEPTH_MAX).as_bytes()).is_some());
        assert!(read::<Value>(nested(DEPTH_MAX + 1).as_bytes()).is_none());
        assert!(read::<Value>("[".repeat(1 << 20).as_bytes()).is_none());
        assert!(read::<Value>("{\"a\":".repeat(1 << 18).as_bytes()).is_none());
    }

    #[test]
    fn brackets_in_strings_and_side_by_side_are_not_deep() {
        let text = format!("{:?}", "[".repeat(1000));
        assert!(read::<Value>(text.as_bytes()).is_some());
        let escaped = r#"["\\","\"[[[",{}]"#;
        assert_eq!(read::<Value>(escaped.as_bytes()), serde_json::from_str(escaped).ok());
        let wide = format!("[{}[]]", "[],".repeat(1000));
        assert!(read::<Value>(wide.as_bytes()).is_some());
    }
}
