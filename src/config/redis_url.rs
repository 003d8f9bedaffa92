//! `--redis-url`: where Redis is, and how to be let in.

use std::fmt;

use redis::io::tcp::TcpSettings;
use redis::{ConnectionInfo, IntoConnectionInfo};

use super::Secret;

/// A Redis to connect to. Its text is a secret: it may hold a password.
#[derive(Clone)]
pub struct RedisUrl {
    text: Secret,
    info: ConnectionInfo,
}

impl RedisUrl {
    /// Reads `redis://`, `rediss://` or `redis+unix://`; `None` for what is none of them.
    #[must_use]
    pub fn parse(text: &Secret) -> Option<Self> {
        let info = text.expose().into_connection_info().ok()?;
        // The crate would name itself with a command that Redis knows from 7.2 on.
        let settings = info.redis_settings().clone().set_skip_set_lib_name();
        let tcp = TcpSettings::default().set_nodelay(true);
        let info = info.set_redis_settings(settings).set_tcp_settings(tcp);
        Some(Self { text: text.clone(), info })
    }

    /// What the `redis` crate connects with.
    #[must_use]
    pub fn info(&self) -> ConnectionInfo {
        self.info.clone()
    }
}

impl PartialEq for RedisUrl {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// The address alone.
impl fmt::Display for RedisUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.info.addr())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_and_passwords_are_not() {
        for (url, shown) in [
            ("redis://127.0.0.1/", "127.0.0.1:6379"),
            ("redis://user:hunter2@cache:7000/3", "cache:7000"),
            ("rediss://:hunter2@cache", "cache:6379"),
            ("redis+unix:///run/redis.sock?pass=hunter2", "/run/redis.sock"),
        ] {
            let url = RedisUrl::parse(&Secret::from(url)).unwrap();
            assert_eq!(url.to_string(), shown);
            assert!(!format!("{url:?}").contains("hunter2"));
        }
        for bad in ["", "127.0.0.1:6379", "http://127.0.0.1/", "redis://", "redis://:pw@"] {
            assert!(RedisUrl::parse(&Secret::from(bad)).is_none(), "{bad}");
        }
    }
}
