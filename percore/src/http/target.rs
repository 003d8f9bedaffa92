//! Request targets in their four forms (RFC 9112, section 3.2).

use super::request::Method;
use super::request_error::RequestError;
use super::uri;

/// The path and the query of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    pub(super) path: &'a str,
    pub(super) query: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// Parses a target: origin-form and absolute-form are for all methods, asterisk-form is for
    /// OPTIONS, authority-form for CONNECT.
    pub(super) fn parse(method: Method, target: &'a str) -> Result<Self, RequestError> {
        if method == Method::Connect {
            let well_formed = uri::is_authority_form(target.as_bytes());
            return Err(if well_formed { RequestError::Tunnel } else { RequestError::Target });
        }
        if target == "*" && method == Method::Options {
            return Ok(Self { path: "*", query: None });
        }
        let origin =
            if target.starts_with('/') { target } else { origin_of_absolute_form(target)? };
        if !uri::is_path_and_query(origin.as_bytes()) {
            return Err(RequestError::Target);
        }
        let (path, query) = match origin.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (origin, None),
        };
        let path = if path.is_empty() { "/" } else { path };
        Ok(Self { path, query })
    }
}

/// Returns `http://authority/path?query` without its authority, which RFC 9112, section 3.2.2, puts
/// above `Host`. This server serves the same under every name, so neither is looked at further.
fn origin_of_absolute_form(target: &str) -> Result<&str, RequestError> {
    let (scheme, rest) = target.split_once("://").ok_or(RequestError::Target)?;
    let secure = scheme.eq_ignore_ascii_case("https");
    if !secure && !scheme.eq_ignore_ascii_case("http") {
        return Err(RequestError::Target);
    }
    let authority_bytes = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, origin) = rest.split_at_checked(authority_bytes).ok_or(RequestError::Target)?;
    if !uri::is_authority(authority.as_bytes()) {
        return Err(RequestError::Target);
    }
    // RFC 9110, section 7.4: an https resource must not be served over what is not secured.
    if secure { Err(RequestError::Misdirected) } else { Ok(origin) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(target: &str) -> Result<Target<'_>, RequestError> {
        Target::parse(Method::Get, target)
    }

    #[test]
    fn targets_in_their_four_forms() {
        let path = |path| Ok(Target { path, query: None });
        assert_eq!(get("/a/b"), path("/a/b"));
        assert_eq!(get("/a?b?c"), Ok(Target { path: "/a", query: Some("b?c") }));
        assert_eq!(get("HTTP://host:80/a"), path("/a"));
        assert_eq!(get("http://host"), path("/"));
        assert_eq!(get("http://host?q"), Ok(Target { path: "/", query: Some("q") }));
        assert_eq!(Target::parse(Method::Options, "*"), path("*"));
        for wrong in ["", "*", "a", "ftp://host/", "http:///a", "http://", "http://u@host/", "/a#b"]
        {
            assert_eq!(get(wrong), Err(RequestError::Target), "{wrong}");
        }
        assert_eq!(get("https://host/a"), Err(RequestError::Misdirected));
        assert_eq!(get("https:///a"), Err(RequestError::Target));
    }

    #[test]
    fn a_connect_is_never_a_path() {
        let connect = |target| Target::parse(Method::Connect, target);
        assert_eq!(connect("host:443"), Err(RequestError::Tunnel));
        for wrong in ["host", "host:", "/metrics", "http://host:443/", "*"] {
            assert_eq!(connect(wrong), Err(RequestError::Target), "{wrong}");
        }
    }
}
