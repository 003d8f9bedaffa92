//! The values of a metric's members, as the twins of the decoder read them.

use corepulse::limits::{DEVICE_ID_BYTES_MAX, FUTURE_MS_MAX, NUMBER_BYTES_MAX};
use corepulse::metric::rejection::Reason;
use corepulse::metric::timestamp::from_integer;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::NOW;

/// Returns true if a text is one JSON number and nothing else.
fn is_number(text: &str) -> bool {
    let raw: Option<&RawValue> = serde_json::from_str(text).ok();
    let is_all = raw.is_some_and(|raw| raw.get() == text);
    is_all && text.starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

/// Returns the text of a string; `None` for a lone surrogate, which `serde_json` does not decode.
fn text_of(value: &str) -> Option<String> {
    serde_json::from_str(value).ok()
}

/// Returns a number from `min` to `max`, never a negative zero, and its literal.
pub fn naive_number(value: &str, min: f64, max: f64) -> Result<(f64, String), Reason> {
    let quoted = value.starts_with('"').then(|| text_of(value).unwrap_or_default());
    let literal = quoted.as_deref().unwrap_or(value);
    if !is_number(literal) {
        return Err(Reason::Type);
    }
    if literal.len() > NUMBER_BYTES_MAX {
        return Err(Reason::Range);
    }
    let number: f64 = literal.parse().map_err(|_| Reason::Range)?;
    if !number.is_finite() || number < min || number > max {
        return Err(Reason::Range);
    }
    Ok((number + 0.0, literal.to_owned()))
}

/// Returns a device id; `None` for `null`.
pub fn naive_device_id(value: &str) -> Result<Option<String>, Reason> {
    if value == "null" {
        return Ok(None);
    }
    let is_integer = value.bytes().all(|byte| byte.is_ascii_digit());
    if !is_integer && !value.starts_with('"') {
        return Err(Reason::Type);
    }
    let id = if is_integer { Some(value.to_owned()) } else { text_of(value) };
    let id = id.ok_or(Reason::DeviceId)?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    if id.is_empty() || id.len() > DEVICE_ID_BYTES_MAX || !id.bytes().all(allowed) {
        return Err(Reason::DeviceId);
    }
    Ok(Some(id))
}

/// Returns a time as keys have it, and in milliseconds; `None` for `null`.
pub fn naive_timestamp(value: &str) -> Result<Option<(String, i64)>, Reason> {
    if value == "null" {
        return Ok(None);
    }
    let quoted = value.starts_with('"').then(|| text_of(value).unwrap_or_default());
    let text = quoted.as_deref().unwrap_or(value);
    let timestamp = if is_number(text) {
        naive_time(text)
    } else if quoted.is_some() {
        naive_date(text).map(|ns| (naive_key(ns), i64::try_from(ns / 1_000_000).expect("ms")))
    } else {
        return Err(Reason::Type);
    };
    let timestamp = timestamp.ok_or(Reason::Timestamp)?;
    if timestamp.1 > NOW.wall_ms() + FUTURE_MS_MAX {
        return Err(Reason::Future);
    }
    Ok(Some(timestamp))
}

/// Returns the time of a number of s, ms, us or ns: as keys have it, and in milliseconds.
fn naive_time(text: &str) -> Option<(String, i64)> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let ms = from_integer(text.parse().ok()?)?;
        return Some((text.to_owned(), ms));
    }
    let lower = text.trim_start_matches('-').to_ascii_lowercase();
    let (mantissa, exponent) = lower.split_once('e').unwrap_or((&lower, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [whole, fraction].concat();
    let digits_from = digits.trim_start_matches('0');
    let zeros = digits.len() - digits_from.len();
    let far = if exponent.starts_with('-') { -1_000_000 } else { 1_000_000 };
    let exponent: i64 = exponent.parse().unwrap_or(far).clamp(-1_000_000, 1_000_000);
    let point = whole.len() as i64 - zeros as i64 + exponent;
    // The digits before the point, after moving it so far to the right.
    let floor = |moved: i64| -> u128 {
        let count = usize::try_from((point + moved).clamp(0, 30)).expect("small");
        let padded = digits_from.chars().chain(std::iter::repeat('0'));
        padded.take(count).collect::<String>().parse().unwrap_or(0)
    };
    if digits_from.is_empty() {
        return Some((naive_key(0), 0));
    }
    if text.starts_with('-') {
        return None;
    }
    let (_, moved) = [(5_000_000_000, 9), (5_000_000_000_000, 6)]
        .into_iter()
        .chain([(5_000_000_000_000_000, 3), (5_000_000_000_000_000_000, 0)])
        .find(|(end, _)| floor(0) < *end)?;
    let ns = floor(moved);
    Some((naive_key(ns), i64::try_from(ns / 1_000_000).ok()?))
}

/// The coarsest of milliseconds, microseconds and nanoseconds that is exact.
fn naive_key(ns: u128) -> String {
    match (ns % 1_000_000, ns % 1000) {
        (0, _) => (ns / 1_000_000).to_string(),
        (_, 0) => (ns / 1000).to_string(),
        _ => ns.to_string(),
    }
}

/// Nanoseconds since 1970 of a date and a time, which are written anew as RFC 3339.
fn naive_date(text: &str) -> Option<u128> {
    let (date, rest) = text.split_at_checked(10)?;
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let offset_at = rest.find(['Z', 'z', '+', '-', ' ', 'U']).unwrap_or(rest.len());
    let (clock, offset) = rest.split_at(offset_at);
    let seconds = if clock.len() == 5 { ":00" } else { "" };
    // The comma is a mark of a fraction alone.
    let (comma, point) = (clock.get(8..9) == Some(","), clock.contains('.'));
    let clock = if comma && !point { clock.replacen(',', ".", 1) } else { clock.to_owned() };
    let bare = offset.strip_prefix(' ').unwrap_or(offset);
    let offset = match (bare, bare.len()) {
        ("", _) if offset.is_empty() => "Z".to_owned(),
        ("Z" | "z" | "UTC", _) => "Z".to_owned(),
        (_, 3) => format!("{bare}:00"),
        (_, 5) => format!("{}:{}", bare.get(..3)?, bare.get(3..)?),
        // A blank may be in the middle of the clock as well.
        (_, 6) if bare.starts_with(['+', '-']) => bare.to_owned(),
        _ => return None,
    };
    let written = format!("{date}T{clock}{seconds}{offset}");
    let time = OffsetDateTime::parse(&written, &Rfc3339).ok()?;
    u128::try_from(time.unix_timestamp_nanos()).ok()
}
