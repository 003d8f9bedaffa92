//! Bearer tokens (RFC 6750).

use crate::config::Secret;
use percore::http::headers::{Headers, Name};

/// Whether a request carries the token. The comparison looks at every byte whatever it finds, so
/// that its duration tells nothing about the token but its length.
#[must_use]
pub fn bears(headers: &Headers<'_>, token: &Secret) -> bool {
    let Ok(Some(value)) = headers.only(Name::Authorization) else {
        return false;
    };
    let Some((scheme, given)) = value.split_first_chunk::<7>() else {
        return false;
    };
    // RFC 9110, section 11.1: the scheme is case-insensitive, and one space or more follows it.
    scheme.eq_ignore_ascii_case(b"bearer ") && same(given.trim_ascii(), token.expose().as_bytes())
}

fn same(given: &[u8], expected: &[u8]) -> bool {
    let difference = given.iter().zip(expected).fold(0, |sum, (a, b)| sum | (a ^ b));
    // Opaque to the optimiser, which could otherwise stop at the first difference.
    given.len() == expected.len() && std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use percore::http::head_cache::HeadCache;

    #[test]
    fn only_the_whole_token_of_the_right_scheme_will_do() {
        let token = Secret::from("s3cret");
        let bears = |value: &str| {
            let head = format!("GET / HTTP/1.0\r\nAUTHORIZATION: {value}\r\n\r\n");
            let mut heads = HeadCache::default();
            bears(&heads.read(head.as_bytes()).unwrap().unwrap().headers, &token)
        };
        assert!(bears("Bearer s3cret"));
        assert!(bears("bearer   s3cret"));
        for wrong in [
            "",
            "s3cret",
            "Bearer",
            "Bearer ",
            "Bearer s3cre",
            "Bearer s3crets",
            "Basic s3cret",
            "Bearer S3cret",
            "Bearers3cret",
        ] {
            assert!(!bears(wrong), "{wrong}");
        }
        assert!(!super::bears(&Headers::NONE, &token));
    }
}
