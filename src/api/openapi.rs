//! `GET /openapi.json`: the description of this API for programs.
//!
//! The document is written by hand, for the fields of an instance without options. For others it is
//! made from that one when the server starts: `schemas` and `examples` replace the fields in a
//! `tree` of it.

mod examples;
mod number_pattern;
mod schemas;
mod tree;

use self::tree::Tree;
use super::json;
use crate::schema::Schema;
use percore::http::request::Method;
use percore::http::response::{Field, JSON, Response};

/// The document as it is written. `tests/http/openapi.rs` and `ci/openapi` compare it with the
/// server.
const WRITTEN: &[u8] = include_bytes!("../../openapi.json");

/// The description of an instance.
#[derive(Debug)]
pub struct Description(Vec<u8>);

impl Description {
    /// Makes the description of an instance whose metrics have these members.
    pub fn new(schema: &'static Schema) -> Self {
        Self(described(schema).unwrap_or_else(|| WRITTEN.to_vec()))
    }

    /// Answers with the document, or to HEAD with its length.
    pub fn answer(&self, method: Method, body: &mut Vec<u8>, route: usize) -> Response {
        let Self(document) = self;
        if method == Method::Head {
            let field = Some(Field::ContentLength(document.len()));
            return Response { field, ..Response::ok(JSON, route) };
        }
        body.extend_from_slice(document);
        Response::ok(JSON, route)
    }
}

/// Returns the document for a schema, if it says anything else than the one that is written.
fn described(schema: &'static Schema) -> Option<Vec<u8>> {
    let written: Tree = json::read(WRITTEN)?;
    let mut tree = written.clone();
    schemas::replace(&mut tree, schema)?;
    examples::replace(&mut tree, schema);
    let mut document = Vec::new();
    json::append_line(&mut document, &tree);
    (tree != written).then_some(document)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::samples;

    #[test]
    fn head_copies_nothing_and_says_how_long_it_is() {
        for schema in samples::all() {
            let description = Description::new(schema);
            let mut body = Vec::new();
            let response = description.answer(Method::Head, &mut body, 0);
            let Some(Field::ContentLength(len)) = response.field else {
                panic!("{response:?}");
            };
            assert_eq!(body.capacity(), 0);
            description.answer(Method::Get, &mut body, 0);
            assert_eq!(body.len(), len);
        }
    }

    /// The written document says of its fields what would be said of any.
    #[test]
    fn the_written_document_is_that_of_the_standard_fields() {
        assert_eq!(Description::new(Schema::standard()).0, WRITTEN);
        assert_eq!(described(Schema::standard()), None);
        let others = described(samples::three_optional()).unwrap();
        for field in Schema::standard().fields() {
            let name = format!("\"{}\"", field.name()).into_bytes();
            assert!(others.windows(name.len()).all(|bytes| bytes != name), "{field:?}");
        }
    }
}
