//! Authorization by tokens: bearer tokens (RFC 6750), and the same in the schemes of InfluxDB.

use base64ct::{Base64, Encoding};
use constant_time_eq::constant_time_eq;

use super::route::{Reads, Route};
use super::state::State;
use crate::config::Secret;
use percore::http::headers::{HeaderName, Headers};
use percore::http::problem::problem;
use percore::http::response::{Field, Response};
use percore::http::status::Status;

/// Returns true if a request may write metrics.
#[inline]
#[must_use]
pub fn is_authorized(headers: &Headers<'_>, state: &State) -> bool {
    state.settings.ingest_token.as_ref().is_none_or(|token| has_token(headers, token))
}

/// Returns true if a request may have the answer of a route that only reads.
///
/// What is made of metrics needs the read token, if there is one. A metric itself needs one of the
/// two tokens that there are: who may write it knows it anyway, and has always been able to look it
/// up with the ingest token.
#[must_use]
pub fn may_read(route: Route<'_>, headers: &Headers<'_>, state: &State) -> bool {
    let [ingest, read] = [&state.settings.ingest_token, &state.settings.read_token];
    let has = |token: &Option<Secret>| token.as_ref().is_some_and(|it| has_token(headers, it));
    match route.reads() {
        Some(Reads::Metric) => (ingest.is_none() && read.is_none()) || has(ingest) || has(read),
        Some(Reads::Analytics) => read.is_none() || has(read),
        None => true,
    }
}

/// Answers a request that has none of the tokens that its route needs.
pub fn unauthorized(route: Route<'_>, body: &mut Vec<u8>) -> Response {
    let detail = match route.reads() {
        Some(Reads::Metric) => "Authorization: expected Bearer and the ingest or the read token",
        _ => "Authorization: expected Bearer and the read token",
    };
    let field = Some(Field::WwwAuthenticate("Bearer"));
    problem(body, Status::Unauthorized, detail, field, route.index())
}

/// Returns true if a request carries the token. The time of the comparison depends on the length of
/// the token alone: it must not tell how much of a guess was right.
#[must_use]
pub fn has_token(headers: &Headers<'_>, token: &Secret) -> bool {
    credentials(headers).is_some_and(|(scheme, credentials)| {
        let is_token =
            [&b"bearer"[..], b"token"].iter().any(|name| scheme.eq_ignore_ascii_case(name));
        is_token && constant_time_eq(credentials, token.expose().as_bytes())
    })
}

/// Returns true if a client of InfluxDB may write metrics: it has the token, or the token is the
/// password of a user of any name. Clients of version 1 can do no other. (Some can, in the query,
/// where it would get into the logs of proxies; there it does not count.)
#[must_use]
pub fn may_write(headers: &Headers<'_>, state: &State) -> bool {
    let Some(token) = &state.settings.ingest_token else {
        return true;
    };
    has_token(headers, token) || has_password(headers, token)
}

/// Returns true if a request carries the token as a password: `Basic` with `user:token` in base64
/// (RFC 7617), or `Token user:token`.
fn has_password(headers: &Headers<'_>, token: &Secret) -> bool {
    let Some((scheme, credentials)) = credentials(headers) else {
        return false;
    };
    let mut decoded = [0; BASIC_BYTES_MAX];
    let pair = if scheme.eq_ignore_ascii_case(b"basic") {
        // Its time does not depend on what it decodes.
        Base64::decode(credentials, &mut decoded).unwrap_or_default()
    } else if scheme.eq_ignore_ascii_case(b"token") {
        credentials
    } else {
        return false;
    };
    // RFC 7617, section 2: the user's name has no colon.
    let colon = pair.iter().position(|byte| *byte == b':');
    let password = colon.and_then(|colon| pair.get(colon + 1..));
    password.is_some_and(|password| constant_time_eq(password, token.expose().as_bytes()))
}

/// The most bytes of a user's name, a colon and a token.
const BASIC_BYTES_MAX: usize = 1024;

/// Returns the scheme and the credentials of a request.
fn credentials<'h>(headers: &Headers<'h>) -> Option<(&'h [u8], &'h [u8])> {
    let value = headers.only(HeaderName::Authorization).ok()??;
    // RFC 9110, section 11.1: the scheme is case-insensitive, and one space or more follows it.
    let space = value.iter().position(|byte| *byte == b' ')?;
    let (scheme, credentials) = value.split_at_checked(space)?;
    Some((scheme, credentials.trim_ascii()))
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
        assert!(!super::has_token(&Headers::NONE, &token));
    }

    #[test]
    fn a_password_is_the_token_whatever_the_user_s_name_is() {
        let token = Secret::from("s3:cret");
        let has_password = |value: &str| {
            let head = format!("GET / HTTP/1.0\r\nAuthorization: {value}\r\n\r\n");
            let mut heads = HeadCache::default();
            has_password(&heads.read(head.as_bytes()).unwrap().unwrap().headers, &token)
        };
        let basic = |pair: &str| {
            let mut encoded = [0; 4096];
            format!("Basic {}", Base64::encode(pair.as_bytes(), &mut encoded).unwrap())
        };
        assert!(has_password("Token user:s3:cret"));
        assert!(has_password("TOKEN :s3:cret"));
        for user in ["", "root", "\u{e9}"] {
            assert!(has_password(&basic(&format!("{user}:s3:cret"))));
        }
        for wrong in ["s3:cret", "a:b:s3:cret", "a:s3:cre", "a:s3:crets", "s3:cret:", ":"] {
            assert!(!has_password(&basic(wrong)), "{wrong}");
            assert!(!has_password(&format!("Token {wrong}")), "{wrong}");
        }
        let long = basic(&format!("{}:s3:cret", "a".repeat(BASIC_BYTES_MAX)));
        for wrong in
            ["", "Basic", "Basic ", "Basic %", "Basic OnMzOmNyZXQ", "Bearer :s3:cret", &long]
        {
            assert!(!has_password(wrong), "{wrong}");
        }
    }
}
