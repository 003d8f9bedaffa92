//! Numbers in queries, each with the range that it is from.

use std::fmt;
use std::ops::RangeInclusive;

use percore::http::request::Request;

/// The error of a parameter that is no whole number of its range. It names what is possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NumberError {
    name: &'static str,
    range: RangeInclusive<usize>,
}

impl fmt::Display for NumberError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, range } = self;
        write!(out, "{name}: expected a whole number from {} to {}", range.start(), range.end())
    }
}

/// Returns the number of a parameter, or `default` where a request does not have it.
pub(super) fn number_parameter(
    request: &Request<'_>,
    name: &'static str,
    range: RangeInclusive<usize>,
    default: usize,
) -> Result<usize, NumberError> {
    let Some(text) = request.parameter(name) else {
        return Ok(default);
    };
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| is_digits && range.contains(number));
    number.ok_or(NumberError { name, range })
}

#[cfg(test)]
mod tests {
    use super::*;
    use percore::http::headers::Headers;
    use percore::http::request::Method;

    #[test]
    fn what_is_no_number_of_the_range_is_refused() {
        let number = |query: Option<&str>| {
            let headers = Headers::NONE;
            let request = Request { method: Method::Get, path: "/", query, headers, body: b"" };
            number_parameter(&request, "limit", 1..=1000, 100).map_err(|error| error.to_string())
        };
        assert_eq!(number(None), Ok(100));
        assert_eq!(number(Some("limit=1")), Ok(1));
        assert_eq!(number(Some("limit=01000")), Ok(1000));
        let expected = Err("limit: expected a whole number from 1 to 1000".to_owned());
        for wrong in ["", "0", "1001", "-1", "+1", "1.0", "1e2", "x", "99999999999999999999"] {
            assert_eq!(number(Some(&format!("limit={wrong}"))), expected, "{wrong}");
        }
    }
}
