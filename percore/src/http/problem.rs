//! Errors as `application/problem+json` (RFC 9457).

use std::fmt::{self, Display};
use std::io::Write;

use super::response::{Field, Response};
use super::status::Status;

/// The media type of every error's body.
pub const PROBLEM: &str = "application/problem+json";

/// Writes the members that every problem has, without the closing brace, so that a caller may add
/// members of its own. `about:blank` means that the title is that of the status (RFC 9457, 4.2.1).
pub fn open(body: &mut Vec<u8>, status: Status, detail: impl Display) {
    body.clear();
    let (title, code) = (status.reason(), status.code());
    // Writing into memory cannot fail.
    let _ = write!(body, r#"{{"type":"about:blank","title":"{title}","status":{code},"detail":""#);
    let _ = fmt::Write::write_fmt(&mut JsonText(body), format_args!("{detail}"));
    body.push(b'"');
}

/// Writes a whole problem into `body`, and returns its head.
pub fn problem(
    body: &mut Vec<u8>,
    status: Status,
    detail: impl Display,
    field: Option<Field>,
    route: usize,
) -> Response {
    open(body, status, detail);
    body.extend_from_slice(b"}\n");
    Response { status, content_type: PROBLEM, field, extra_headers: "", route }
}

/// A writer of text between the quotes of a JSON string (RFC 8259, section 7).
#[derive(Debug)]
pub struct JsonText<'a>(pub &'a mut Vec<u8>);

impl fmt::Write for JsonText<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '"' => self.0.extend_from_slice(b"\\\""),
                '\\' => self.0.extend_from_slice(b"\\\\"),
                '\0'..='\x1f' => {
                    let _ = write!(self.0, "\\u{:04x}", u32::from(character));
                }
                _ => {
                    let mut utf8 = [0; 4];
                    self.0.extend_from_slice(character.encode_utf8(&mut utf8).as_bytes());
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_its_four_members() {
        let mut body = b"left over".to_vec();
        let response = problem(&mut body, Status::BadRequest, "cpu: \"x\"\n\\", None, 3);
        assert_eq!(
            String::from_utf8(body).unwrap(),
            "{\"type\":\"about:blank\",\"title\":\"Bad Request\",\"status\":400,\
             \"detail\":\"cpu: \\\"x\\\"\\u000a\\\\\"}\n"
        );
        assert_eq!((response.status, response.content_type), (Status::BadRequest, PROBLEM));
        assert_eq!(response.route, 3);
    }
}
