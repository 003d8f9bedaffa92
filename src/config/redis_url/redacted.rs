//! The URL of Redis without passwords, for logs and prints.

use std::fmt;

use redis::{ConnectionAddr, ConnectionInfo};

use super::{RedisMode, RedisUrl};

/// A URL as it was understood, with scheme, user, hosts and database, and `***` for each password.
#[derive(Clone, Copy, Debug)]
pub struct Redacted<'a>(pub &'a RedisUrl);

/// The replacement of a password.
const HIDDEN: &str = "***";

impl fmt::Display for Redacted<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.mode() {
            RedisMode::Standalone(info) => direct(out, info),
            RedisMode::Sentinel { sentinels, primary, info } => {
                let db = info.redis_settings().db();
                several(out, "sentinel", info, sentinels)?;
                write!(out, "/{primary}/{db}")?;
                let own = sentinels.first().map(ConnectionInfo::redis_settings);
                let name =
                    own.and_then(|own| own.username().map(|name| ("sentinel_username", name)));
                let password = own.and_then(|own| own.password());
                query(out, name, password.map(|_| "sentinel_password"), None)?;
                fragment(out, info)
            }
            RedisMode::Cluster(seeds) => {
                let Some(first) = seeds.first() else { return Ok(()) };
                several(out, "cluster", first, seeds)?;
                fragment(out, first)
            }
        }
    }
}

fn direct(out: &mut fmt::Formatter<'_>, info: &ConnectionInfo) -> fmt::Result {
    let settings = info.redis_settings();
    if let ConnectionAddr::Unix(path) = info.addr() {
        write!(out, "redis+unix://{}", path.display())?;
        let name = settings.username().map(|name| ("user", name));
        return query(out, name, settings.password().map(|_| "pass"), Some(settings.db()));
    }
    write!(out, "{}://", scheme(info))?;
    user(out, info)?;
    host(out, info)?;
    write!(out, "/{}", settings.db())?;
    fragment(out, info)
}

/// Writes `redis+sentinel://user:***@a:1,b:2`, with the user of `info`.
fn several(
    out: &mut fmt::Formatter<'_>,
    kind: &str,
    info: &ConnectionInfo,
    hosts: &[ConnectionInfo],
) -> fmt::Result {
    write!(out, "{}+{kind}://", scheme(info))?;
    user(out, info)?;
    for (index, info) in hosts.iter().enumerate() {
        out.write_str(if index > 0 { "," } else { "" })?;
        host(out, info)?;
    }
    Ok(())
}

fn scheme(info: &ConnectionInfo) -> &'static str {
    if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) { "rediss" } else { "redis" }
}

fn user(out: &mut fmt::Formatter<'_>, info: &ConnectionInfo) -> fmt::Result {
    let settings = info.redis_settings();
    match (settings.username().unwrap_or_default(), settings.password()) {
        ("", None) => Ok(()),
        (name, None) => write!(out, "{name}@"),
        (name, Some(_)) => write!(out, "{name}:{HIDDEN}@"),
    }
}

fn host(out: &mut fmt::Formatter<'_>, info: &ConnectionInfo) -> fmt::Result {
    match info.addr() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            // An IPv6 address has colons of its own.
            if host.contains(':') {
                write!(out, "[{host}]:{port}")
            } else {
                write!(out, "{host}:{port}")
            }
        }
        other => write!(out, "{other}"),
    }
}

fn query(
    out: &mut fmt::Formatter<'_>,
    name: Option<(&str, &str)>,
    password: Option<&str>,
    db: Option<i64>,
) -> fmt::Result {
    let db = db.map(|db| format!("db={db}"));
    let name = name.map(|(parameter, name)| format!("{parameter}={name}"));
    let password = password.map(|parameter| format!("{parameter}={HIDDEN}"));
    for (index, part) in [db, name, password].into_iter().flatten().enumerate() {
        write!(out, "{}{part}", if index > 0 { "&" } else { "?" })?;
    }
    Ok(())
}

fn fragment(out: &mut fmt::Formatter<'_>, info: &ConnectionInfo) -> fmt::Result {
    match info.addr() {
        ConnectionAddr::TcpTls { insecure: true, .. } => out.write_str("#insecure"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[test]
    fn scheme_user_and_database_are_shown_and_passwords_are_not() {
        for (url, shown) in [
            ("redis://127.0.0.1/", "redis://127.0.0.1:6379/0"),
            ("redis://user:hunter2@cache:7000/3", "redis://user:***@cache:7000/3"),
            ("redis://:hunter2@cache", "redis://:***@cache:6379/0"),
            ("rediss://cache/1#insecure", "rediss://cache:6379/1#insecure"),
            ("redis://[::1]:7/2", "redis://[::1]:7/2"),
            (
                "redis+unix:///run/redis.sock?db=3&user=u&pass=hunter2",
                "redis+unix:///run/redis.sock?db=3&user=u&pass=***",
            ),
            ("redis+unix:///run/redis.sock", "redis+unix:///run/redis.sock?db=0"),
            ("redis+sentinel://a,b:7/main", "redis+sentinel://a:26379,b:7/main/0"),
            (
                "rediss+sentinel://u:hunter2@a/m/3?sentinel_username=s&sentinel_password=hunter2",
                "rediss+sentinel://u:***@a:26379/m/3?sentinel_username=s&sentinel_password=***",
            ),
            ("redis+cluster://u:hunter2@a,b:7,[::1]:8", "redis+cluster://u:***@a:6379,b:7,[::1]:8"),
        ] {
            let parsed =
                RedisUrl::parse(&Secret::from(url)).unwrap_or_else(|e| panic!("{url}: {e}"));
            assert_eq!(Redacted(&parsed).to_string(), shown);
        }
    }
}
