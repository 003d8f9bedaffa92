//! `--cors-origin`: the origins whose pages may read answers.

use std::fmt;

use url::Url;

/// Origins of pages in browsers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorsOrigins {
    /// Any origin.
    Any,
    /// These origins, as browsers write them.
    List(Vec<String>),
}

impl CorsOrigins {
    /// Parses `*`, or origins with commas between them. The default port of a scheme, capitals and
    /// a final slash are normalised away, because browsers do not send them.
    ///
    /// # Errors
    ///
    /// The first part that is not an origin.
    pub fn parse(text: &str) -> Result<Self, &str> {
        let given = text.split(',').map(str::trim).filter(|origin| !origin.is_empty());
        if given.clone().eq(["*"]) {
            return Ok(Self::Any);
        }
        let origins = given.map(|one| origin(one).ok_or(one)).collect::<Result<Vec<_>, _>>()?;
        if origins.is_empty() { Err(text) } else { Ok(Self::List(origins)) }
    }
}

/// Parses one origin and writes it as a browser does.
fn origin(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let is_bare = matches!(url.path(), "" | "/")
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    let host = url.host_str().filter(|host| is_bare && !host.is_empty() && !host.contains('*'))?;
    let scheme = url.scheme();
    Some(match url.port() {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    })
}

impl fmt::Display for CorsOrigins {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => out.write_str("*"),
            Self::List(origins) => out.write_str(&origins.join(",")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_written_as_browsers_do() {
        for (text, shown) in [
            ("*", "*"),
            (" * ,", "*"),
            ("https://a.example", "https://a.example"),
            ("HTTPS://A.Example:443/", "https://a.example"),
            (
                "http://localhost:3000, https://b.example:8443",
                "http://localhost:3000,https://b.example:8443",
            ),
            ("http://[::1]:80", "http://[::1]"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
            ("capacitor://localhost", "capacitor://localhost"),
        ] {
            assert_eq!(CorsOrigins::parse(text).unwrap().to_string(), shown, "{text}");
        }
        for (text, wrong) in [
            ("", ""),
            (",", ","),
            ("*,https://a.example", "*"),
            ("https://a.example,*", "*"),
            ("a.example", "a.example"),
            ("localhost:3000", "localhost:3000"),
            ("null", "null"),
            ("file:///", "file:///"),
            ("https://", "https://"),
            ("https://a.example/page", "https://a.example/page"),
            ("https://a.example?x", "https://a.example?x"),
            ("https://u@a.example", "https://u@a.example"),
            ("https://*.a.example", "https://*.a.example"),
            ("capacitor://*", "capacitor://*"),
        ] {
            assert_eq!(CorsOrigins::parse(text), Err(wrong), "{text}");
        }
    }
}
