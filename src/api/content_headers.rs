//! The content headers of a request with metrics: the media type and the content coding of its
//! body.

use super::ingest_error::IngestError;
use crate::metric::decode::LineMode;
use crate::metric::line_protocol::precision::Precision;
use percore::http::content_coding::ContentCoding;
use percore::http::headers::{HeaderName, Headers};
use percore::http::request::Request;

/// The properties of a body that its decoding depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ContentHeaders {
    pub(super) form: BodyForm,
    pub(super) coding: ContentCoding,
}

/// The form of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyForm {
    /// JSON.
    Json(LineMode),
    /// InfluxDB's line protocol.
    Lines(Precision),
    /// CSV with a header row.
    Table,
}

impl ContentHeaders {
    /// Those of nearly every request.
    pub(super) const USUAL: Self =
        Self { form: BodyForm::Json(LineMode::Detect), coding: ContentCoding::Identity };

    /// Reads the head of a request.
    #[inline]
    pub(super) fn read(headers: &Headers<'_>) -> Result<Self, IngestError> {
        let content_type =
            headers.only(HeaderName::ContentType).map_err(|_| IngestError::UnsupportedMediaType)?;
        Ok(Self { form: body_form(content_type)?, coding: coding(headers)? })
    }

    /// Reads the head of a request from a client of InfluxDB. Whatever media type it names, if any,
    /// the body is line protocol.
    pub(super) fn read_write(request: &Request<'_>) -> Result<Self, IngestError> {
        let precision = match request.parameter("precision") {
            Some(name) if !name.is_empty() => Precision::of(&name).ok_or(IngestError::Precision)?,
            _ => Precision::Auto,
        };
        Ok(Self { form: BodyForm::Lines(precision), coding: coding(&request.headers)? })
    }
}

#[inline]
fn coding(headers: &Headers<'_>) -> Result<ContentCoding, IngestError> {
    let coding = headers.list(HeaderName::ContentEncoding);
    ContentCoding::from_field(coding.as_deref()).ok_or(IngestError::UnsupportedCoding)
}

/// Returns the form of a body of this `Content-Type`.
///
/// `application/x-www-form-urlencoded` is the type that `curl -d` names for any data. It is taken,
/// because a person who types a metric by hand need not know that.
#[inline]
fn body_form(content_type: Option<&[u8]>) -> Result<BodyForm, IngestError> {
    let value = content_type.unwrap_or_default();
    // Nearly every device sends this: it is compared before the value is taken apart.
    if value == b"application/json" || value.is_empty() {
        return Ok(BodyForm::Json(LineMode::Detect));
    }
    other_form(value)
}

fn other_form(value: &[u8]) -> Result<BodyForm, IngestError> {
    let mut parts = value.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let essence = parts.next().unwrap_or_default();
    let is = |name: &&str| essence.eq_ignore_ascii_case(name.as_bytes());
    if NDJSON.iter().any(is) {
        return Ok(BodyForm::Json(LineMode::Always));
    }
    if is(&CSV) {
        // RFC 4180, section 3. The other parameter, `charset`, may name whatever ASCII is part of.
        let is_absent = |part: &[u8]| {
            [&b"header=absent"[..], b"header=\"absent\""]
                .iter()
                .any(|absent| part.eq_ignore_ascii_case(absent))
        };
        return match parts.any(is_absent) {
            true => Err(IngestError::HeaderAbsent),
            false => Ok(BodyForm::Table),
        };
    }
    let is_json = JSON.iter().any(is) || has_json_suffix(essence);
    is_json.then_some(BodyForm::Json(LineMode::Detect)).ok_or(IngestError::UnsupportedMediaType)
}

/// The type of CSV (RFC 4180, section 3).
const CSV: &str = "text/csv";

/// The types of NDJSON that its libraries and tools use; none is registered.
const NDJSON: [&str; 3] = ["application/x-ndjson", "application/ndjson", "application/jsonl"];

/// The types of a body in any form.
const JSON: [&str; 5] =
    ["", "application/json", "text/json", "text/plain", "application/x-www-form-urlencoded"];

/// Returns true for `application/vnd.device+json` and its like (RFC 6839, section 3.1).
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
        let of = |value: &str| body_form(Some(value.as_bytes()));
        let [detected, always] = [LineMode::Detect, LineMode::Always].map(BodyForm::Json);
        assert_eq!(body_form(None), Ok(detected));
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
            assert_eq!(of(json), Ok(detected), "{json}");
        }
        for ndjson in [
            "application/x-ndjson",
            "application/ndjson",
            "application/jsonl",
            "Application/NDJSON; charset=utf-8",
        ] {
            assert_eq!(of(ndjson), Ok(always), "{ndjson}");
        }
        for other in [
            "text/html",
            "application/xml",
            "json",
            "+json",
            "application/jsonx",
            "application/jsonlines",
            "text/jsonl",
            "text/csvx",
        ] {
            assert_eq!(of(other), Err(IngestError::UnsupportedMediaType), "{other}");
        }
        for csv in ["text/csv", "Text/CSV; charset=windows-1252", "text/csv;header=present"] {
            assert_eq!(of(csv), Ok(BodyForm::Table), "{csv}");
        }
        for bare in ["text/csv; header=absent", "text/csv;charset=utf-8;Header=\"Absent\""] {
            assert_eq!(of(bare), Err(IngestError::HeaderAbsent), "{bare}");
        }
    }
}
