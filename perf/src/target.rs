//! What a load goes to: a server that was started for it, or one that runs already.

use crate::inquiry::Stored;
use crate::redis::Redis;
use crate::server::{Kind, Server};
use crate::usage::Usage;
use core_affinity::CoreId;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// What waits for Redis after a burst is written in far less.
const SETTLE_MAX: Duration = Duration::from_secs(30);

/// Between two looks at what still waits.
const LOOK: Duration = Duration::from_millis(20);

/// A server.
#[derive(Debug)]
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    started: Option<Server>,
    writes: bool,
}

impl Target {
    /// Starts corepulse from `folder`, with as many workers: one is pinned to `core` from outside,
    /// as every server that is compared; several pin themselves. With a Redis, which is emptied, it
    /// writes there.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start(
        folder: &Path,
        workers: usize,
        core: Option<CoreId>,
        redis: Option<&Redis>,
    ) -> Result<Self, String> {
        let workers_text = workers.to_string();
        let pin = if workers > 1 { "on" } else { "off" };
        let mut arguments =
            vec!["--listen", "127.0.0.1:0", "--workers", &workers_text, "--pin", pin];
        let mut url = String::new();
        if let Some(redis) = redis {
            redis.ask("FLUSHALL")?;
            url.push_str(&format!("redis://127.0.0.1:{}/", redis.port));
            arguments.extend(["--redis-url", &url]);
        }
        let server = Server::start_with(Kind::Corepulse, &arguments, folder, core)?;
        Ok(Self { address: server.address, started: Some(server), writes: redis.is_some() })
    }

    /// A server that runs already.
    #[must_use]
    pub const fn at(address: SocketAddr) -> Self {
        Self { address, started: None, writes: false }
    }

    /// The process, if it was started here.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.started.as_ref().map(Server::id)
    }

    /// What it has used so far, if it was started here.
    ///
    /// # Errors
    ///
    /// When it has ended.
    pub fn usage(&self) -> Result<Option<Usage>, String> {
        self.id().map(Usage::of).transpose()
    }

    /// What became of events on their way to Redis, if it writes to one that was started for it.
    ///
    /// # Errors
    ///
    /// When it does not say.
    pub fn stored(&self) -> Result<Option<Stored>, String> {
        self.writes.then(|| Stored::of(self.address)).transpose()
    }

    /// Waits until nothing waits for Redis any more.
    ///
    /// # Errors
    ///
    /// When that does not come about.
    pub fn settle(&self) -> Result<(), String> {
        let start = Instant::now();
        while let Some(stored) = self.stored()?.filter(|stored| stored.pending > 0) {
            if start.elapsed() > SETTLE_MAX {
                return Err(format!("{} events still wait for Redis", stored.pending));
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }
}

/// The address of a URL of this machine. A load is nothing to send to others.
///
/// # Errors
///
/// When it is no `http` URL of a loopback address without a path; says so.
pub fn loopback(url: &str) -> Result<SocketAddr, String> {
    let expected = || {
        format!(
            "`{url}`: expected http:// with a loopback address, such as \
                               http://127.0.0.1:8080"
        )
    };
    let authority = url.strip_prefix("http://").ok_or_else(expected)?;
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
        _ => (authority, Some(80)),
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let ip = match host {
        "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        _ => bare.unwrap_or(host).parse().ok(),
    };
    let (ip, port) = ip.zip(port).ok_or_else(expected)?;
    if !ip.is_loopback() {
        return Err(format!("`{url}`: {ip} is not this machine; a load goes to loopback only"));
    }
    Ok(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_this_machine_are_understood() {
        for (url, expected) in [
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://localhost:8080/", "127.0.0.1:8080"),
            ("http://127.0.0.9", "127.0.0.9:80"),
            ("http://[::1]:81", "[::1]:81"),
            ("http://[::1]", "[::1]:80"),
        ] {
            assert_eq!(loopback(url), Ok(expected.parse().unwrap()), "{url}");
        }
    }

    #[test]
    fn no_other_machine_is_loaded() {
        for url in ["http://192.0.2.1:8080", "http://[2001:db8::1]:80", "http://0.0.0.0:8080"] {
            assert!(loopback(url).unwrap_err().contains("loopback only"), "{url}");
        }
        for url in [
            "https://127.0.0.1",
            "127.0.0.1:8080",
            "http://example.com",
            "http://127.0.0.1:none",
            "http://127.0.0.1/metrics",
            "http://127.0.0.1@192.0.2.1",
            "http://::1",
            "http://",
        ] {
            assert!(loopback(url).unwrap_err().contains("expected"), "{url}: {:?}", loopback(url));
        }
    }
}
