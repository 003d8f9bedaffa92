//! `GET /openapi.json`: the description of this API for programs.

use percore::http::request::Method;
use percore::http::response::{Field, JSON, Response};

/// The document, which is written by hand. `tests/http/openapi.rs` and `ci/openapi` compare it with
/// the server.
const DOCUMENT: &[u8] = include_bytes!("../../openapi.json");

/// Answers with the document, or to HEAD with its length.
pub fn answer(method: Method, body: &mut Vec<u8>, route: usize) -> Response {
    if method == Method::Head {
        let field = Some(Field::ContentLength(DOCUMENT.len()));
        return Response { field, ..Response::ok(JSON, route) };
    }
    body.extend_from_slice(DOCUMENT);
    Response::ok(JSON, route)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_copies_nothing_and_says_how_long_it_is() {
        let mut body = Vec::new();
        let response = answer(Method::Head, &mut body, 0);
        assert_eq!(response.field, Some(Field::ContentLength(DOCUMENT.len())));
        assert_eq!(body.capacity(), 0);
        answer(Method::Get, &mut body, 0);
        assert_eq!(body.len(), DOCUMENT.len());
    }
}
