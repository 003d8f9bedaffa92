//! The address to listen at, as `--listen` of corepulse has it.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The most bytes of a Unix socket's path: `sun_path` has 108, the last of them a zero (man 7
/// unix).
pub const UNIX_PATH_BYTES_MAX: usize = 107;

/// The address at which a server is to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// This port of every address of the machine, of IPv6 and of IPv4.
    Everywhere(u16),
    /// This port of the machine's own loopback addresses, of IPv4 and of IPv6.
    Localhost(u16),
    /// This address and port.
    At(SocketAddr),
    /// A Unix socket of this path.
    Unix(PathBuf),
}

impl Listen {
    /// Parses `:port`, `localhost:port`, `address:port` or `unix:/path`; returns `None` for
    /// anything else. Other names are not looked up: their addresses may change while the server
    /// runs.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some(path) = text.strip_prefix("unix:") {
            let is_file = path.starts_with('/') && !path.ends_with('/') && !path.contains('\0');
            let fits = is_file && path.len() <= UNIX_PATH_BYTES_MAX;
            return fits.then(|| Self::Unix(path.into()));
        }
        if let Ok(address) = text.parse() {
            return Some(Self::At(address));
        }
        let (host, digits) = text.rsplit_once(':')?;
        // A sign is no part of a port.
        let port = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok());
        match (host, port.flatten()?) {
            ("", port) => Some(Self::Everywhere(port)),
            (name, port) if name.eq_ignore_ascii_case("localhost") => Some(Self::Localhost(port)),
            _ => None,
        }
    }

    /// Returns the port, if it is one of TCP; 0 leaves the choice to the kernel.
    pub const fn port(&self) -> Option<u16> {
        match self {
            Self::Everywhere(port) | Self::Localhost(port) => Some(*port),
            Self::At(address) => Some(address.port()),
            Self::Unix(_) => None,
        }
    }
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self::At(address)
    }
}

/// As it is written in a flag.
impl fmt::Display for Listen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everywhere(port) => write!(out, ":{port}"),
            Self::Localhost(port) => write!(out, "localhost:{port}"),
            Self::At(address) => write!(out, "{address}"),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_shown_as_it_was_written() {
        for (text, expected) in [
            (":8080", Listen::Everywhere(8080)),
            ("localhost:0", Listen::Localhost(0)),
            ("0.0.0.0:8080", Listen::At(([0, 0, 0, 0], 8080).into())),
            ("[::1]:80", Listen::At(([0, 0, 0, 0, 0, 0, 0, 1], 80).into())),
            ("unix:/run/corepulse.sock", Listen::Unix("/run/corepulse.sock".into())),
        ] {
            assert_eq!(Listen::parse(text).as_ref(), Some(&expected), "{text}");
            assert_eq!(Listen::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Listen::parse(" LocalHost:80 "), Some(Listen::Localhost(80)));
        let longest = format!("unix:/{}", "a".repeat(UNIX_PATH_BYTES_MAX - 1));
        assert!(Listen::parse(&longest).is_some());
        for wrong in [
            "",
            "8080",
            ":",
            ":http",
            ":+80",
            ":65536",
            "::",
            "::1",
            "localhost",
            "localhost:",
            "example.org:80",
            "127.0.0.1",
            "*:80",
            "http://127.0.0.1:80",
            "unix:",
            "unix:run/a.sock",
            "unix:/run/",
            "unix:@name",
            "unix:/a\0b",
            &format!("{longest}a"),
        ] {
            assert_eq!(Listen::parse(wrong), None, "{wrong}");
        }
    }
}
