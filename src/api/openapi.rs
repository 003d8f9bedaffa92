//! `GET /openapi.json`: this API, described for programs.

use crate::http::response::{JSON, Response};

/// Written by hand at the root of the repository, and kept true by `tests/openapi.rs` and
/// `ci/openapi`.
const DOCUMENT: &[u8] = include_bytes!("../../openapi.json");

/// Answers with the document.
pub fn document(body: &mut Vec<u8>, route: usize) -> Response {
    body.extend_from_slice(DOCUMENT);
    Response::ok(JSON, route)
}
