//! A keep-alive client for one target: it posts bodies, and connects again where it must.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use testkit::{HttpClient, HttpResponse};

/// The time after which a silent server counts as gone.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// The server that requests are sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// Host and port as the URL spells them.
    pub(crate) authority: String,
}

impl Target {
    /// Parses `http://host:port`. Any address but a loopback one needs `allow_remote`.
    pub(crate) fn parse(url: &str, allow_remote: bool) -> Result<Self, String> {
        let rest = url.strip_prefix("http://");
        let authority = rest.ok_or_else(|| format!("{url}: expected http://host:port"))?;
        let authority = authority.trim_end_matches('/');
        if authority.is_empty() || authority.contains(['/', '@', '?', '#']) {
            return Err(format!("{url}: expected http://host:port"));
        }
        let port_is_given =
            authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let resolved = if port_is_given {
            authority.to_socket_addrs()
        } else {
            format!("{authority}:80").to_socket_addrs()
        };
        let mut addresses = resolved.map_err(|e| format!("{url}: {e}"))?;
        let address = addresses.next().ok_or_else(|| format!("{url}: no address"))?;
        if !allow_remote && !address.ip().is_loopback() {
            return Err(format!("{url}: not on this machine; --allow-remote permits it"));
        }
        Ok(Self { address, authority: authority.to_owned() })
    }
}

/// A client with one connection, which is opened on first use and again after the server closed it.
pub(crate) struct Client {
    target: Target,
    /// The header lines of every request.
    fixed: String,
    connection: Option<HttpClient>,
}

impl Client {
    pub(crate) fn new(target: Target, content_type: &str, gzip: bool, token: Option<&str>) -> Self {
        let mut fixed = format!(
            "POST /metrics HTTP/1.1\r\nHost: {}\r\nContent-Type: {content_type}\r\n",
            target.authority
        );
        if gzip {
            fixed.push_str("Content-Encoding: gzip\r\n");
        }
        if let Some(token) = token {
            fixed.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        Self { target, fixed, connection: None }
    }

    /// Sends one body and receives the whole response.
    pub(crate) fn post(&mut self, body: &[u8]) -> io::Result<HttpResponse> {
        let head = format!("{}Content-Length: {}\r\n\r\n", self.fixed, body.len());
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        connection.try_send(&[head.as_bytes(), body].concat())?;
        let response = loop {
            let response = connection.try_receive_unchecked()?;
            let response = response.ok_or(io::ErrorKind::UnexpectedEof)?;
            // RFC 9110, section 15.2: interim responses precede the final one.
            if response.status >= 200 {
                break response;
            }
        };
        if !response.closes_connection() {
            self.connection = Some(connection);
        }
        Ok(response)
    }

    fn connect(&self) -> io::Result<HttpClient> {
        let stream = TcpStream::connect_timeout(&self.target.address, SILENCE_MAX)?;
        let client = HttpClient::from_stream(stream);
        client.stream().set_read_timeout(Some(SILENCE_MAX))?;
        client.stream().set_write_timeout(Some(SILENCE_MAX))?;
        Ok(client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_stay_on_this_machine() {
        let target = Target::parse("http://127.0.0.1:8080", false).unwrap();
        assert_eq!(target.address.port(), 8080);
        assert!(Target::parse("http://[::1]:8080/", false).is_ok());
        assert_eq!(Target::parse("http://127.0.0.1", false).unwrap().address.port(), 80);
        assert!(Target::parse("http://192.0.2.1:8080", false).is_err());
        assert!(Target::parse("http://192.0.2.1:8080", true).is_ok());
        for url in ["127.0.0.1:8080", "https://127.0.0.1", "http://", "http://127.0.0.1/a/b"] {
            assert!(Target::parse(url, true).is_err(), "{url}");
        }
    }
}
