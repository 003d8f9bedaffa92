//! `--to`: the URL of a server, for the subcommands that ask it something.

use std::fmt;
use std::str::FromStr;

use url::Url;

/// A server by its URL, `http://HOST[:PORT][/PATH]`, where the path is one that a proxy has put it
/// under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl(Url);

impl ServerUrl {
    /// Returns the name or the address of the host; an address of IPv6 without its brackets.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default().trim_matches(['[', ']'])
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or(80)
    }

    /// Returns host and port as the header `Host` has them.
    pub fn authority(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        self.0.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// Returns the path before those of the API: nothing, or one that ends without a slash.
    pub fn base(&self) -> &str {
        self.0.path().trim_end_matches('/')
    }
}

impl FromStr for ServerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected http://HOST:PORT";
        let url = Url::parse(text.trim()).map_err(|error| format!("{expected}: {error}"))?;
        if url.scheme() == "https" {
            return Err(format!("{expected}: this program does not speak TLS"));
        }
        if url.scheme() != "http" {
            return Err(expected.to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(format!("{expected}: tokens have options of their own"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(format!("{expected}, without ? and #"));
        }
        Ok(Self(url))
    }
}

/// As URLs are written.
impl fmt::Display for ServerUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "http://{}{}", self.authority(), self.base())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_host_a_port_and_perhaps_a_path() {
        for (text, host, port, base) in [
            ("http://localhost:8080", "localhost", 8080, ""),
            (" HTTP://A.Example/ ", "a.example", 80, ""),
            ("http://[::1]:8080/", "::1", 8080, ""),
            ("http://10.0.0.1/core/pulse/", "10.0.0.1", 80, "/core/pulse"),
        ] {
            let url: ServerUrl = text.parse().unwrap();
            assert_eq!((url.host(), url.port(), url.base()), (host, port, base));
        }
        let url: ServerUrl = "http://[::1]:8080/a/".parse().unwrap();
        assert_eq!(
            (url.authority(), url.to_string()),
            ("[::1]:8080".into(), "http://[::1]:8080/a".into())
        );
    }

    #[test]
    fn anything_else_is_refused_with_a_reason() {
        for (text, reason) in [
            ("", "relative URL"),
            ("localhost:8080", "expected http://HOST:PORT"),
            (":8080", "relative URL"),
            ("https://localhost", "TLS"),
            ("http://", "empty host"),
            ("http://a:99999", "port"),
            ("http://user:word@a", "tokens"),
            ("http://a/?b", "without ?"),
            ("unix:/run/a.sock", "expected http"),
        ] {
            let error = text.parse::<ServerUrl>().unwrap_err();
            assert!(error.contains(reason) && !error.contains("word"), "{text}: {error}");
        }
    }
}
