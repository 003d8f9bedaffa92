//! Authorization by bearer tokens (RFC 6750).

use constant_time_eq::constant_time_eq;

use super::state::State;
use crate::config::Secret;
use percore::http::headers::{HeaderName, Headers};

/// Returns true if a request may read and write metrics.
#[inline]
#[must_use]
pub fn is_authorized(headers: &Headers<'_>, state: &State) -> bool {
    state.settings.ingest_token.as_ref().is_none_or(|token| has_token(headers, token))
}

/// Returns true if a request carries the token. The time of the comparison depends on the length of
/// the token alone: it must not tell how much of a guess was right.
#[must_use]
pub fn has_token(headers: &Headers<'_>, token: &Secret) -> bool {
    let Ok(Some(value)) = headers.only(HeaderName::Authorization) else {
        return false;
    };
    let Some((scheme, credentials)) = value.split_first_chunk::<7>() else {
        return false;
    };
    // RFC 9110, section 11.1: the scheme is case-insensitive, and one space or more follows it.
    scheme.eq_ignore_ascii_case(b"bearer ")
        && constant_time_eq(credentials.trim_ascii(), token.expose().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use percore::http::head_cache::HeadCache;

    #[test]
    fn only_the_whole_token_of_the_right_scheme_will_do() {
        let token = Secret::from("s3cret");
        let has_token = |value: &str| {
            let head = format!("GET / HTTP/1.0\r\nAUTHORIZATION: {value}\r\n\r\n");
            let mut heads = HeadCache::default();
            has_token(&heads.read(head.as_bytes()).unwrap().unwrap().headers, &token)
        };
        assert!(has_token("Bearer s3cret"));
        assert!(has_token("bearer   s3cret"));
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
            assert!(!has_token(wrong), "{wrong}");
        }
        assert!(!super::has_token(&Headers::NONE, &token));
    }
}
