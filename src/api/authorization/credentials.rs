//! The tokens that a request bears, in one of the schemes that clients have for them.

use base64ct::{Base64, Encoding};

use percore::http::headers::{HeaderName, Headers};

/// The schemes in which a token is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Schemes {
    /// `Bearer` (RFC 6750), and `Token` as clients of InfluxDB 2 say it.
    Token,
    /// These, and as the password of a user of any name, as clients of InfluxDB 1 send it: in
    /// `Basic` (RFC 7617) or behind `Token`. They can do no other. (Some can, in the query, where
    /// it would get into the logs of proxies; there it does not count.)
    TokenOrPassword,
}

/// The most bytes of a user's name, a colon and a token.
const BASIC_BYTES_MAX: usize = 1024;

/// Shows each text of a request that may be a token to `know`, until that knows one.
pub(super) fn find<T>(
    headers: &Headers<'_>,
    schemes: Schemes,
    mut know: impl FnMut(&[u8]) -> Option<T>,
) -> Option<T> {
    let (scheme, credentials) = credentials(headers)?;
    let is = |name: &[u8]| scheme.eq_ignore_ascii_case(name);
    if (is(b"bearer") || is(b"token"))
        && let Some(known) = know(credentials)
    {
        return Some(known);
    }
    if schemes == Schemes::Token {
        return None;
    }
    let mut decoded = [0; BASIC_BYTES_MAX];
    let pair = if is(b"basic") {
        // Its time does not depend on what it decodes.
        Base64::decode(credentials, &mut decoded).ok()?
    } else if is(b"token") {
        credentials
    } else {
        return None;
    };
    // RFC 7617, section 2: the user's name has no colon.
    let colon = pair.iter().position(|byte| *byte == b':')?;
    know(pair.get(colon + 1..)?)
}

/// Returns the scheme and the credentials of a request, if it has any.
fn credentials<'h>(headers: &Headers<'h>) -> Option<(&'h [u8], &'h [u8])> {
    let value = headers.only(HeaderName::Authorization).ok()??;
    // RFC 9110, section 11.1: the scheme is case-insensitive, and one space or more follows it.
    let space = value.iter().position(|byte| *byte == b' ')?;
    let (scheme, credentials) = value.split_at_checked(space)?;
    Some((scheme, credentials.trim_ascii())).filter(|(_, credentials)| !credentials.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use percore::http::head_cache::HeadCache;

    /// Returns true if a request with this `Authorization` bears the token.
    fn bears(token: &str, schemes: Schemes, value: &str) -> bool {
        let head = format!("GET / HTTP/1.0\r\nAUTHORIZATION: {value}\r\n\r\n");
        let mut heads = HeadCache::default();
        let headers = heads.read(head.as_bytes()).unwrap().unwrap().headers;
        find(&headers, schemes, |text| (text == token.as_bytes()).then_some(())).is_some()
    }

    #[test]
    fn only_the_whole_token_of_the_right_scheme_will_do() {
        let has_token = |value: &str| bears("s3cret", Schemes::Token, value);
        assert!(has_token("Bearer s3cret"));
        assert!(has_token("bearer   s3cret"));
        assert!(has_token("Token s3cret"));
        assert!(has_token("token s3cret"));
        for wrong in [
            "",
            "s3cret",
            "Bearer",
            "Bearer ",
            "Token",
            "Token ",
            "Token user:s3cret",
            "Basic dXNlcjpzM2NyZXQ=",
            "Bearer s3cre",
            "Bearer s3crets",
            "Basic s3cret",
            "Bearer S3cret",
            "Bearers3cret",
        ] {
            assert!(!has_token(wrong), "{wrong}");
        }
        assert_eq!(find(&Headers::NONE, Schemes::TokenOrPassword, |_| Some(())), None);
    }

    #[test]
    fn a_password_is_the_token_whatever_the_user_s_name_is() {
        let has_password = |value: &str| bears("s3:cret", Schemes::TokenOrPassword, value);
        let basic = |pair: &str| {
            let mut encoded = [0; 4096];
            format!("Basic {}", Base64::encode(pair.as_bytes(), &mut encoded).unwrap())
        };
        assert!(has_password("Token user:s3:cret"));
        assert!(has_password("TOKEN :s3:cret"));
        assert!(has_password("Token s3:cret") && has_password("Bearer s3:cret"));
        for user in ["", "root", "\u{e9}"] {
            assert!(has_password(&basic(&format!("{user}:s3:cret"))));
        }
        for wrong in ["a:b:s3:cret", "a:s3:cre", "a:s3:crets", "s3:cret:", ":"] {
            assert!(!has_password(&basic(wrong)), "{wrong}");
            assert!(!has_password(&format!("Token {wrong}")), "{wrong}");
        }
        let long = basic(&format!("{}:s3:cret", "a".repeat(BASIC_BYTES_MAX)));
        let bare = basic("s3:cret");
        for wrong in
            ["", "Basic", "Basic ", "Basic %", "Basic OnMzOmNyZXQ", "Bearer :s3:cret", &long, &bare]
        {
            assert!(!has_password(wrong), "{wrong}");
        }
    }
}
