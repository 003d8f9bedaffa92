//! `--redis-url`: where Redis is, and how to be let in.

pub mod redacted;

use std::fmt;

use redis::io::tcp::TcpSettings;
use redis::{ConnectionInfo, IntoConnectionInfo};

use super::Secret;

/// A Redis to connect to. Its text is a secret: it may hold a password.
#[derive(Clone)]
pub struct RedisUrl {
    text: Secret,
    route: Route,
}

/// How to find the server to write to.
#[derive(Clone)]
pub enum Route {
    /// It is this one.
    Direct(ConnectionInfo),
    /// Sentinels know which one it is at the moment.
    Sentinel {
        /// Whom to ask.
        sentinels: Vec<ConnectionInfo>,
        /// The name that they know it by.
        primary: String,
        /// How to be let in there; its address is what they say.
        info: ConnectionInfo,
    },
    /// Each key has a server of its own; any of these knows which.
    Cluster(Vec<ConnectionInfo>),
}

const SENTINEL_PORT: u16 = 26_379;
const REDIS_PORT: u16 = 6_379;

impl RedisUrl {
    /// Reads a URL; `None` for what is none of them:
    ///
    /// - `redis://[[user]:password@]host[:port][/db]`, `rediss://` with TLS, `redis+unix:///path`;
    /// - `redis+sentinel://[[user]:password@]host[:port],…/name[/db]`, with the sentinels' own
    ///   `?sentinel_username=` and `sentinel_password=`;
    /// - `redis+cluster://[[user]:password@]host[:port],…`.
    #[must_use]
    pub fn parse(text: &Secret) -> Option<Self> {
        let url = text.expose();
        let route = if let Some((scheme, rest)) = url.split_once("+sentinel://") {
            sentinel(scheme, &Parts::of(rest))?
        } else if let Some((scheme, rest)) = url.split_once("+cluster://") {
            cluster(scheme, &Parts::of(rest))?
        } else {
            Route::Direct(info(url)?)
        };
        Some(Self { text: text.clone(), route })
    }

    /// How to find the server.
    #[must_use]
    pub const fn route(&self) -> &Route {
        &self.route
    }
}

/// What stands behind the scheme of a URL with several hosts.
struct Parts<'a> {
    /// With its `@`, or nothing.
    user: &'a str,
    hosts: Vec<&'a str>,
    path: &'a str,
    query: &'a str,
    /// With its `#`, or nothing.
    fragment: &'a str,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Self {
        let split_before =
            |text: &'a str, mark: char| text.split_at(text.find(mark).unwrap_or(text.len()));
        let (text, fragment) = split_before(text, '#');
        let (text, query) = text.split_once('?').unwrap_or((text, ""));
        let (authority, path) = text.split_once('/').unwrap_or((text, ""));
        let (user, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
        Self { user, hosts: hosts.split(',').collect(), path, query, fragment }
    }

    fn parameter(&self, name: &str) -> &'a str {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(found, _)| *found == name).map_or("", |(_, value)| value)
    }

    /// Each host, with its port or this one.
    fn servers(&self, scheme: &str, user: &str, port: u16) -> Option<Vec<ConnectionInfo>> {
        let server = |host: &&str| {
            // An address of version 6 has colons of its own, in brackets.
            let has_port = host.rsplit(']').next().is_some_and(|rest| rest.contains(':'));
            let port = if has_port { String::new() } else { format!(":{port}") };
            info(&format!("{scheme}://{user}{host}{port}{}", self.fragment))
        };
        self.hosts.iter().map(server).collect()
    }
}

fn sentinel(scheme: &str, parts: &Parts<'_>) -> Option<Route> {
    let (primary, db) = parts.path.split_once('/').unwrap_or((parts.path, ""));
    if primary.is_empty() {
        return None;
    }
    let (name, password) =
        (parts.parameter("sentinel_username"), parts.parameter("sentinel_password"));
    let user = if password.is_empty() { String::new() } else { format!("{name}:{password}@") };
    let template = format!("{scheme}://{}primary/{db}{}", parts.user, parts.fragment);
    Some(Route::Sentinel {
        sentinels: parts.servers(scheme, &user, SENTINEL_PORT)?,
        primary: primary.to_owned(),
        info: info(&template)?,
    })
}

fn cluster(scheme: &str, parts: &Parts<'_>) -> Option<Route> {
    // A cluster has no numbered databases.
    if !parts.path.is_empty() {
        return None;
    }
    parts.servers(scheme, parts.user, REDIS_PORT).map(Route::Cluster)
}

fn info(url: &str) -> Option<ConnectionInfo> {
    let info = url.into_connection_info().ok()?;
    // The crate would name itself with a command that Redis knows from 7.2 on.
    let settings = info.redis_settings().clone().set_skip_set_lib_name();
    let tcp = TcpSettings::default().set_nodelay(true);
    Some(info.set_redis_settings(settings).set_tcp_settings(tcp))
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

/// The addresses alone.
impl fmt::Display for RedisUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |infos: &[ConnectionInfo]| {
            let addresses: Vec<_> = infos.iter().map(|info| info.addr().to_string()).collect();
            addresses.join(",")
        };
        match &self.route {
            Route::Direct(info) => write!(out, "{}", info.addr()),
            Route::Sentinel { sentinels, primary, .. } => {
                write!(out, "{primary} by sentinels {}", list(sentinels))
            }
            Route::Cluster(seeds) => write!(out, "cluster {}", list(seeds)),
        }
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
            ("redis+sentinel://a,b:7/main", "main by sentinels a:26379,b:7"),
            (
                "rediss+sentinel://:hunter2@a/main/3?sentinel_password=hunter2",
                "main by sentinels a:26379",
            ),
            ("redis+cluster://u:hunter2@a,b:7,[::1]:8,[::2]", "cluster a:6379,b:7,::1:8,::2:6379"),
        ] {
            let parsed = RedisUrl::parse(&Secret::from(url)).unwrap_or_else(|| panic!("{url}"));
            assert_eq!(parsed.to_string(), shown);
            assert!(!format!("{parsed:?}").contains("hunter2"));
        }
        for bad in [
            "",
            "127.0.0.1:6379",
            "http://127.0.0.1/",
            "redis://",
            "redis://:pw@",
            "http+sentinel://a/main",
            "redis+sentinel://a",
            "redis+sentinel://a,/main",
            "redis+sentinel:///main",
            "redis+cluster://",
            "redis+cluster://a/3",
            "redis+cluster://a,b:x",
        ] {
            assert!(RedisUrl::parse(&Secret::from(bad)).is_none(), "{bad}");
        }
    }

    #[test]
    fn the_primary_and_its_sentinels_have_passwords_of_their_own() {
        let url = "redis+sentinel://u:p@a:1,b:2/main/3?sentinel_username=su&sentinel_password=sp";
        let url = RedisUrl::parse(&Secret::from(url)).unwrap();
        let Route::Sentinel { sentinels, primary, info } = url.route() else {
            panic!("{url}");
        };
        assert_eq!((primary.as_str(), sentinels.len()), ("main", 2));
        let settings = info.redis_settings();
        assert_eq!((settings.username(), settings.password()), (Some("u"), Some("p")));
        assert_eq!(settings.db(), 3);
        for sentinel in sentinels {
            let settings = sentinel.redis_settings();
            assert_eq!((settings.username(), settings.password()), (Some("su"), Some("sp")));
            assert_eq!(settings.db(), 0);
        }
    }
}
