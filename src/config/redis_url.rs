//! `--redis-url`: the servers of Redis, and the credentials for them.

pub mod redacted;

use std::fmt;

use redis::io::tcp::TcpSettings;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

use super::secret::Secret;

/// The URL of Redis. Its text is a secret because it may contain a password.
#[derive(Clone)]
pub struct RedisUrl {
    text: Secret,
    mode: RedisMode,
}

/// The kind of deployment, with its servers.
#[derive(Clone)]
pub enum RedisMode {
    /// This server.
    Standalone(ConnectionInfo),
    /// The current primary, which sentinels know.
    Sentinel {
        /// The sentinels.
        sentinels: Vec<ConnectionInfo>,
        /// The name of the primary among the sentinels.
        primary: String,
        /// The credentials and database of the primary; the sentinels tell its address.
        info: ConnectionInfo,
    },
    /// The servers of a cluster, found by asking any of these.
    Cluster(Vec<ConnectionInfo>),
}

/// The names in the query of a URL, by its kind.
const COMMON_NAMES: &[&str] = &["protocol"];
const SOCKET_NAMES: &[&str] = &["db", "user", "pass", "protocol"];
const SENTINEL_NAMES: &[&str] = &["sentinel_username", "sentinel_password", "protocol"];

/// The least similarity (Jaro-Winkler) of a name that is proposed for a misspelt one.
const SIMILARITY_MIN: f64 = 0.85;

const SENTINEL_PORT: u16 = 26_379;
const REDIS_PORT: u16 = 6_379;

impl RedisMode {
    /// Returns all servers of the URL, and the template of the primary.
    fn servers(&self) -> impl Iterator<Item = &ConnectionInfo> {
        let (one, others) = match self {
            Self::Standalone(info) => (Some(info), [].as_slice()),
            Self::Sentinel { sentinels, info, .. } => (Some(info), sentinels.as_slice()),
            Self::Cluster(seeds) => (None, seeds.as_slice()),
        };
        one.into_iter().chain(others)
    }
}

impl RedisUrl {
    /// Parses a URL:
    ///
    /// - `redis://[[user]:password@]host[:port][/db]`, `rediss://` with TLS, `redis+unix:///path`;
    /// - `redis+sentinel://[[user]:password@]host[:port],…/name[/db]`, with the sentinels' own
    ///   `?sentinel_username=` and `sentinel_password=`;
    /// - `redis+cluster://[[user]:password@]host[:port],…`.
    ///
    /// # Errors
    ///
    /// The URL is none of these, or has a part that would be ignored. The text says what was
    /// expected, and repeats nothing of the URL.
    pub fn parse(text: &Secret) -> Result<Self, String> {
        let url = text.expose();
        let (scheme, rest) = url.split_once("://").ok_or_else(expected)?;
        let parts = Parts::of(rest);
        let mode = if let Some(scheme) = scheme.strip_suffix("+sentinel") {
            parts.check(scheme, SENTINEL_NAMES)?;
            sentinel(scheme, &parts)
        } else if let Some(scheme) = scheme.strip_suffix("+cluster") {
            parts.check(scheme, COMMON_NAMES)?;
            cluster(scheme, &parts)
        } else {
            let is_socket = scheme.ends_with("unix");
            parts.check(scheme, if is_socket { SOCKET_NAMES } else { COMMON_NAMES })?;
            info(url).map(RedisMode::Standalone)
        };
        let mode = mode.ok_or_else(expected)?;
        mode.servers().try_for_each(check_server)?;
        Ok(Self { text: text.clone(), mode })
    }

    /// Returns the kind of deployment.
    pub const fn mode(&self) -> &RedisMode {
        &self.mode
    }
}

/// The parts of a URL behind its scheme, with one or several hosts.
struct Parts<'a> {
    /// The user and password with the final `@`, or nothing.
    user: &'a str,
    hosts: Vec<&'a str>,
    path: &'a str,
    query: &'a str,
    /// The fragment with its `#`, or nothing.
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

    fn pairs(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let pairs = self.query.split('&').filter(|pair| !pair.is_empty());
        pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }

    fn parameter(&self, name: &str) -> &'a str {
        self.pairs().find(|(found, _)| *found == name).map_or("", |(_, value)| value)
    }

    /// Refuses parts that are not understood: metrics might go to another database than was meant.
    /// An unknown name is not repeated, because it may be half of a password.
    fn check(&self, scheme: &str, known: &[&str]) -> Result<(), String> {
        let mut found: Vec<&str> = self.pairs().map(|(name, _)| name).collect();
        found.sort_unstable();
        if found.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err("expected each name in the query of the URL once".to_owned());
        }
        if let Some(unknown) = found.iter().find(|name| !known.contains(name)) {
            let similarity = |name: &str| strsim::jaro_winkler(name, unknown);
            let closest = known.iter().max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
            let like = closest.filter(|name| similarity(name) >= SIMILARITY_MIN);
            let is_user = ["user", "username", "pass", "password"].contains(unknown);
            let hint = match (*unknown, like) {
                (_, Some(name)) => format!("; did you mean {name}?"),
                ("db" | "database", None) if !known.contains(&"db") => {
                    "; the database stands in the path, as in redis://host/2".to_owned()
                }
                _ if is_user => {
                    "; as in redis://user:password@host they stand before the host".to_owned()
                }
                _ => String::new(),
            };
            let known = known.join(", ");
            return Err(format!("expected no name in the query of the URL but {known}{hint}"));
        }
        let is_tls = matches!(scheme, "rediss" | "valkeys");
        if !self.fragment.is_empty() && !is_tls {
            return Err("expected nothing behind a # but rediss://…#insecure".to_owned());
        }
        Ok(())
    }

    /// Returns the part of the query and fragment that applies to each server.
    fn common(&self) -> String {
        match self.parameter("protocol") {
            "" => self.fragment.to_owned(),
            protocol => format!("?protocol={protocol}{}", self.fragment),
        }
    }

    /// Returns each host with its own port or the given one.
    fn servers(&self, scheme: &str, user: &str, port: u16) -> Option<Vec<ConnectionInfo>> {
        let server = |host: &&str| {
            // The colons of an IPv6 address stand in brackets.
            let has_port = host.rsplit(']').next().is_some_and(|rest| rest.contains(':'));
            let port = if has_port { String::new() } else { format!(":{port}") };
            info(&format!("{scheme}://{user}{host}{port}{}", self.common()))
        };
        self.hosts.iter().map(server).collect()
    }
}

/// Refuses ports and databases that a URL can express and Redis cannot have.
fn check_server(info: &ConnectionInfo) -> Result<(), String> {
    let port = match info.addr() {
        ConnectionAddr::Tcp(_, port) | ConnectionAddr::TcpTls { port, .. } => Some(*port),
        _ => None,
    };
    if port == Some(0) {
        return Err("expected a port from 1 to 65535".to_owned());
    }
    if info.redis_settings().db() < 0 {
        return Err("expected a database from 0 on, as in redis://host/2".to_owned());
    }
    Ok(())
}

fn expected() -> String {
    "expected redis://, rediss://, redis+unix://, redis+sentinel:// or redis+cluster:// and an \
     address, such as redis://:password@127.0.0.1:6379/0"
        .to_owned()
}

fn sentinel(scheme: &str, parts: &Parts<'_>) -> Option<RedisMode> {
    let (primary, db) = parts.path.split_once('/').unwrap_or((parts.path, ""));
    if primary.is_empty() {
        return None;
    }
    let (name, password) =
        (parts.parameter("sentinel_username"), parts.parameter("sentinel_password"));
    let user = if password.is_empty() { String::new() } else { format!("{name}:{password}@") };
    let template = format!("{scheme}://{}primary/{db}{}", parts.user, parts.common());
    Some(RedisMode::Sentinel {
        sentinels: parts.servers(scheme, &user, SENTINEL_PORT)?,
        primary: primary.to_owned(),
        info: info(&template)?,
    })
}

fn cluster(scheme: &str, parts: &Parts<'_>) -> Option<RedisMode> {
    // A cluster has no numbered databases.
    if !parts.path.is_empty() {
        return None;
    }
    parts.servers(scheme, parts.user, REDIS_PORT).map(RedisMode::Cluster)
}

fn info(url: &str) -> Option<ConnectionInfo> {
    let info = url.into_connection_info().ok()?;
    // The crate would send its name with a command that Redis knows only since 7.2.
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

/// Writes the addresses alone.
impl fmt::Display for RedisUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |infos: &[ConnectionInfo]| {
            let addresses: Vec<_> = infos.iter().map(|info| info.addr().to_string()).collect();
            addresses.join(",")
        };
        match &self.mode {
            RedisMode::Standalone(info) => write!(out, "{}", info.addr()),
            RedisMode::Sentinel { sentinels, primary, .. } => {
                write!(out, "{primary} by sentinels {}", list(sentinels))
            }
            RedisMode::Cluster(seeds) => write!(out, "cluster {}", list(seeds)),
        }
    }
}

#[cfg(test)]
mod tests {
    use redis::ProtocolVersion;

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
            let parsed =
                RedisUrl::parse(&Secret::from(url)).unwrap_or_else(|e| panic!("{url}: {e}"));
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
            assert!(RedisUrl::parse(&Secret::from(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_would_be_ignored_is_refused_and_the_right_spelling_named() {
        for (url, named) in [
            ("redis://host?db=2", "redis://host/2"),
            ("redis://host/?password=hunter2", "redis://user:password@host"),
            ("rediss://host?tls=hunter2", "protocol"),
            ("redis://host?hunter2", "protocol"),
            ("redis+unix:///run/redis.sock?username=2", "did you mean user?"),
            ("redis://host?protocoll=3", "did you mean protocol?"),
            ("redis+unix:///run/redis.sock?db=1&db=2", "once"),
            ("redis+sentinel://a/main?sentinel_pasword=hunter2", "mean sentinel_password?"),
            ("redis+sentinel://a/main?password=hunter2", "redis://user:password@host"),
            ("redis+cluster://a?db=1", "protocol"),
            ("redis+cluster://a?readonly", "protocol"),
            ("redis://host#insecure", "rediss"),
            ("redis+cluster://host#insecure", "rediss"),
        ] {
            let error = RedisUrl::parse(&Secret::from(url)).unwrap_err();
            assert!(error.contains(named) && !error.contains("hunter2"), "{url}: {error}");
        }
    }

    #[test]
    fn every_server_of_a_url_speaks_the_same_protocol() {
        let servers = |url: &str| match RedisUrl::parse(&Secret::from(url)).unwrap().mode {
            RedisMode::Standalone(info) => vec![info],
            RedisMode::Sentinel { sentinels, info, .. } => [sentinels, vec![info]].concat(),
            RedisMode::Cluster(seeds) => seeds,
        };
        for url in [
            "redis://a/2?protocol=resp3",
            "redis+unix:///a?protocol=3",
            "redis+sentinel://a,b/main?protocol=3&sentinel_password=x",
            "rediss+cluster://a,b?protocol=resp3#insecure",
        ] {
            for info in servers(url) {
                assert_eq!(info.redis_settings().protocol(), ProtocolVersion::RESP3, "{url}");
            }
        }
        assert!(RedisUrl::parse(&Secret::from("redis://a?protocol=4")).is_err());
    }

    #[test]
    fn the_primary_and_its_sentinels_have_passwords_of_their_own() {
        let url = "redis+sentinel://u:p@a:1,b:2/main/3?sentinel_username=su&sentinel_password=sp";
        let url = RedisUrl::parse(&Secret::from(url)).unwrap();
        let RedisMode::Sentinel { sentinels, primary, info } = url.mode() else {
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
