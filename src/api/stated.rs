//! What the head of a request says of the metrics in its body.

use super::authorization::bears;
use super::media_type;
use super::refused::Refused;
use super::state::State;
use crate::metric::decode::LineMode;
use percore::http::content_coding::ContentCoding;
use percore::http::headers::{Headers, Name};

/// How a body is to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stated {
    pub(super) lines: LineMode,
    pub(super) coding: ContentCoding,
}

/// Whether a body may be sent under this head, and how it is to be read.
#[inline]
pub(super) fn stated(headers: &Headers<'_>, state: &State) -> Result<Stated, Refused> {
    authorize(headers, state)?;
    let content_type = headers.only(Name::ContentType).map_err(|_| Refused::MediaType)?;
    let lines = media_type::lines(content_type).ok_or(Refused::MediaType)?;
    let coding = headers.list(Name::ContentEncoding);
    let coding = ContentCoding::from_field(coding.as_deref()).ok_or(Refused::ContentCoding)?;
    Ok(Stated { lines, coding })
}

/// Whether whoever has sent this head may read and write metrics.
#[inline]
pub(super) fn authorize(headers: &Headers<'_>, state: &State) -> Result<(), Refused> {
    match &state.settings.ingest_token {
        Some(token) if !bears(headers, token) => Err(Refused::Unauthorized),
        _ => Ok(()),
    }
}
