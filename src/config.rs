//! What the operator decides: flags and `COREPULSE_*` variables, checked as a whole.
//!
//! [`arguments`] lists them; here each text becomes a value. Every mistake is found before any is
//! reported, so that nobody has to start the server five times to learn five things.

pub mod arguments;
pub mod mistakes;
pub mod origins;
pub mod redis_url;
pub mod shown;
pub mod sources;
pub mod variables;

use std::fmt::{self, Write};
use std::time::Duration;

use percore::listen::{Listen, UNIX_PATH_BYTES_MAX};
use percore::placement::Pin;

use crate::limits::{
    BODY_BYTES_MAX, BODY_BYTES_MIN, MEMORY_STORE_BYTES_MIN, STORE_PREFIX_BYTES_MAX,
    STORE_QUEUE_BYTES_MIN, WINDOW_MAX, WORKERS_MAX,
};
use arguments::Arguments;
use mistakes::{Mistakes, Range};
use origins::Origins;
use redis_url::RedisUrl;
use redis_url::redacted::Redacted;
use shown::{Bytes, Shown};
use sources::Sources;

/// Exit code of a wrong command line or environment (`EX_USAGE` of sysexits.h).
pub const EXIT_USAGE: u8 = 64;

/// `--engine`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Ours: one loop per core.
    PerCore,
    /// `may_minihttp`, to compare with.
    MayMinihttp,
}

impl Engine {
    /// The socket, and beside `may_minihttp` a duplicate of it.
    #[must_use]
    pub const fn descriptors_per_connection(self) -> u64 {
        match self {
            Self::PerCore => 1,
            Self::MayMinihttp => 2,
        }
    }
}

/// `--log-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// `--log-level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// What ends the server.
    Error,
    /// What somebody should look at.
    Warn,
    /// What it does.
    Info,
    /// Each request with something wrong in it.
    Debug,
}

/// `--store-overflow`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest queued block makes room.
    DropOldest,
    /// Requests are refused until there is room.
    Reject,
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text, for comparing.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("(secret)")
    }
}

/// The checked configuration. Each field is the flag of its name.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "`Arguments` documents each flag, and --help prints it")]
pub struct Config {
    pub listen: Listen,
    pub workers: Option<usize>,
    pub pin: Pin,
    pub engine: Engine,
    pub redis_url: Option<RedisUrl>,
    pub redis_prefix: String,
    pub store_ttl: Duration,
    pub store_queue_bytes: usize,
    pub store_overflow: Overflow,
    pub memory_store_bytes: usize,
    pub window: usize,
    pub z_threshold: f64,
    pub min_samples: usize,
    pub cooldown: usize,
    pub devices_max: usize,
    pub device_ttl: Duration,
    pub body_bytes_max: usize,
    pub connections_max: Option<usize>,
    pub idle_timeout: Duration,
    pub request_timeout: Duration,
    pub connection_age: Option<Duration>,
    pub drain_delay: Duration,
    pub drain_timeout: Duration,
    pub ingest_token: Option<Secret>,
    pub admin_token: Option<Secret>,
    pub cors_origin: Option<Origins>,
    pub instance: String,
    pub log_format: LogFormat,
    pub log_level: LogLevel,
    pub sources: Sources,
}

const ZERO: Duration = Duration::ZERO;
const SECOND: Duration = Duration::from_secs(1);

const QUEUE_BYTES: Range = STORE_QUEUE_BYTES_MIN..=usize::MAX;
const MEMORY_BYTES: Range = MEMORY_STORE_BYTES_MIN..=usize::MAX;
const BODY_BYTES: Range = BODY_BYTES_MIN..=BODY_BYTES_MAX;

const PINS: [(&str, Pin); 3] = [("auto", Pin::Auto), ("on", Pin::On), ("off", Pin::Off)];
const ENGINES: [(&str, Engine); 2] =
    [("percore", Engine::PerCore), ("may-minihttp", Engine::MayMinihttp)];
const OVERFLOWS: [(&str, Overflow); 2] =
    [("drop-oldest", Overflow::DropOldest), ("reject", Overflow::Reject)];
const LOG_FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];
const LOG_LEVELS: [(&str, LogLevel); 4] = [
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
];

impl Config {
    /// Checks every argument.
    ///
    /// # Errors
    ///
    /// All mistakes together.
    pub fn check(given: &Arguments) -> Result<Self, Mistakes> {
        let mut sources = given.sources.clone();
        if given.instance.is_none() {
            sources.derive("instance", "the host name");
        }
        let mut mistakes = Mistakes::default();
        let found = &mut mistakes;
        let age = found.duration("max-connection-age", &given.max_connection_age, ZERO);
        let overflow = Overflow::DropOldest;
        let log_format = LogFormat::Text;
        let config = Self {
            listen: check_listen(&given.listen, found),
            workers: found.number_or_auto("workers", &given.workers, WORKERS_MAX),
            pin: found.choice("pin", &given.pin, &PINS, Pin::Auto),
            engine: check_engine(&given.engine, found),
            redis_url: check_redis_url(given.redis_url.as_ref(), found),
            redis_prefix: check_redis_prefix(&given.redis_prefix, found),
            store_ttl: found.duration("store-ttl", &given.store_ttl, SECOND),
            store_queue_bytes: found.bytes("store-queue", &given.store_queue, QUEUE_BYTES),
            store_overflow: found.choice(
                "store-overflow",
                &given.store_overflow,
                &OVERFLOWS,
                overflow,
            ),
            memory_store_bytes: found.bytes("memory-store", &given.memory_store, MEMORY_BYTES),
            window: found.number("window", &given.window, 2..=WINDOW_MAX),
            z_threshold: check_threshold(&given.z_threshold, found),
            min_samples: found.number("min-samples", &given.min_samples, 1..=WINDOW_MAX),
            cooldown: found.number("cooldown", &given.cooldown, 0..=COOLDOWN_MAX),
            devices_max: found.number("max-devices", &given.max_devices, 0..=DEVICES_MAX),
            device_ttl: found.duration("device-ttl", &given.device_ttl, SECOND),
            body_bytes_max: found.bytes("max-body", &given.max_body, BODY_BYTES),
            connections_max: found.number_or_auto(
                "max-connections",
                &given.max_connections,
                usize::MAX,
            ),
            idle_timeout: found.duration("idle-timeout", &given.idle_timeout, SECOND),
            request_timeout: found.duration("request-timeout", &given.request_timeout, SECOND),
            connection_age: (!age.is_zero()).then_some(age),
            drain_delay: found.duration("drain-delay", &given.drain_delay, ZERO),
            drain_timeout: found.duration("drain-timeout", &given.drain_timeout, ZERO),
            ingest_token: check_token("ingest-token", given.ingest_token.as_ref(), found),
            admin_token: check_token("admin-token", given.admin_token.as_ref(), found),
            cors_origin: check_origins(given.cors_origin.as_deref(), found),
            instance: given
                .instance
                .as_deref()
                .map(str::trim)
                .filter(|name| !name.is_empty())
                .map_or_else(host_name, str::to_owned),
            log_format: found.choice("log-format", &given.log_format, &LOG_FORMATS, log_format),
            log_level: found.choice("log-level", &given.log_level, &LOG_LEVELS, LogLevel::Info),
            sources,
        };
        config.check_relations(found);
        if mistakes.is_empty() { Ok(config) } else { Err(mistakes) }
    }

    fn check_relations(&self, found: &mut Mistakes) {
        let by_file = matches!(self.listen, Listen::Unix(_));
        if by_file && self.engine == Engine::MayMinihttp && !found.blame(&["listen", "engine"]) {
            found.add("listen", "the engine may-minihttp takes no Unix socket, only a port");
        }
        if self.min_samples > self.window && !found.blame(&["min-samples", "window"]) {
            let (samples, window) = (self.min_samples, self.window);
            found.add("min-samples", format!("{samples} are never in a window of {window}"));
        }
        let drain = ["drain-delay", "drain-timeout"];
        if self.drain_delay > self.drain_timeout && !found.blame(&drain) {
            found.add("drain-delay", "expected at most --drain-timeout, which it is part of");
        }
    }

    /// The effective values, one `flag = value` a line, and where each came from; secrets only as
    /// set or not.
    #[must_use]
    pub fn print(&self) -> String {
        let auto = |number: Option<usize>| number.map_or("auto".to_owned(), |n| n.to_string());
        let mut text = String::new();
        let mut line = |flag: &str, value: &dyn fmt::Display| {
            // Writing into a string cannot fail.
            let _ = writeln!(text, "{flag} = {value}{}", self.sources.comment(flag));
        };
        line("listen", &self.listen);
        line("workers", &auto(self.workers));
        line("pin", &name_of(&PINS, self.pin));
        line("engine", &name_of(&ENGINES, self.engine));
        match &self.redis_url {
            Some(url) => line("redis-url", &Redacted(url)),
            None => line("redis-url", &"(not set)"),
        }
        line("redis-prefix", &self.redis_prefix);
        line("store-ttl", &Shown(self.store_ttl));
        line("store-queue", &Bytes(self.store_queue_bytes));
        line("store-overflow", &name_of(&OVERFLOWS, self.store_overflow));
        line("memory-store", &Bytes(self.memory_store_bytes));
        line("window", &self.window);
        line("z-threshold", &self.z_threshold);
        line("min-samples", &self.min_samples);
        line("cooldown", &self.cooldown);
        line("max-devices", &self.devices_max);
        line("device-ttl", &Shown(self.device_ttl));
        line("max-body", &Bytes(self.body_bytes_max));
        line("max-connections", &auto(self.connections_max));
        line("idle-timeout", &Shown(self.idle_timeout));
        line("request-timeout", &Shown(self.request_timeout));
        line("max-connection-age", &Shown(self.connection_age.unwrap_or_default()));
        line("drain-delay", &Shown(self.drain_delay));
        line("drain-timeout", &Shown(self.drain_timeout));
        let token = if self.ingest_token.is_some() { "(set)" } else { "(not set)" };
        line("ingest-token", &token);
        let token = if self.admin_token.is_some() { "(set)" } else { "(not set)" };
        line("admin-token", &token);
        match &self.cors_origin {
            Some(origins) => line("cors-origin", origins),
            None => line("cors-origin", &"(not set)"),
        }
        line("instance", &self.instance);
        line("log-format", &name_of(&LOG_FORMATS, self.log_format));
        line("log-level", &name_of(&LOG_LEVELS, self.log_level));
        text
    }
}

/// Devices are numbered in 32 bits.
const DEVICES_MAX: usize = 100_000_000;
const COOLDOWN_MAX: usize = 1_000_000;

/// The second engine may have been left out of this build.
fn check_engine(given: &str, found: &mut Mistakes) -> Engine {
    let engine = found.choice("engine", given, &ENGINES, Engine::PerCore);
    if engine == Engine::MayMinihttp && !cfg!(feature = "may-minihttp") {
        found.add("engine", "this build has no may-minihttp (cargo feature of that name)");
    }
    engine
}

/// The URL itself is not repeated: it may hold a password.
fn check_redis_url(given: Option<&Secret>, found: &mut Mistakes) -> Option<RedisUrl> {
    let text = secret(given)?;
    match RedisUrl::parse(&text) {
        Ok(url) => Some(url),
        Err(expected) => {
            found.add("redis-url", expected);
            None
        }
    }
}

/// What keys begin with: nothing that has a meaning in a cluster (braces), in an ACL or to KEYS
/// (`*?[]\`), or in a shell.
fn check_redis_prefix(text: &str, found: &mut Mistakes) -> String {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:/".contains(&byte);
    let good = (1..=STORE_PREFIX_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_good);
    let expected = format!(
        "expected 1 to {STORE_PREFIX_BYTES_MAX} of A-Z a-z 0-9 _ - . : /, such as metric:, found \
         {text:?}"
    );
    found.note("redis-prefix", &expected, good.then(|| text.to_owned()), String::new())
}

fn check_listen(text: &str, found: &mut Mistakes) -> Listen {
    let expected = format!(
        "expected a port (:8080), an address and a port (127.0.0.1:8080, [::1]:8080), \
         localhost:8080, or unix: and an absolute path of at most {UNIX_PATH_BYTES_MAX} bytes \
         (unix:/run/corepulse.sock), found {text:?}"
    );
    found.note("listen", &expected, Listen::parse(text), Listen::Everywhere(0))
}

fn check_origins(given: Option<&str>, found: &mut Mistakes) -> Option<Origins> {
    let text = given?;
    let origins = Origins::parse(text);
    if let Err(wrong) = &origins {
        found.add(
            "cors-origin",
            format!(
                "expected * alone, or origins with commas between them such as \
                 https://app.example,http://localhost:3000, found {wrong:?}"
            ),
        );
    }
    origins.ok()
}

fn check_threshold(text: &str, found: &mut Mistakes) -> f64 {
    let value = text.trim().parse::<f64>().ok().filter(|z| z.is_finite() && *z > 0.0);
    let expected = format!("expected a number of standard deviations above 0, found {text:?}");
    found.note("z-threshold", &expected, value, 1.0)
}

/// A token is what a header can carry after `Bearer` and a blank. An empty one on the command line
/// would leave the door open that it was to close; an empty variable is an unset one.
fn check_token(flag: &str, given: Option<&Secret>, found: &mut Mistakes) -> Option<Secret> {
    let text = given?.expose().trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        found
            .add(flag, "expected visible characters of ASCII without blanks, found others or none");
    }
    Some(Secret::from(text))
}

/// A secret that was given; an empty one was not.
fn secret(given: Option<&Secret>) -> Option<Secret> {
    given.map(|secret| secret.expose().trim()).filter(|text| !text.is_empty()).map(Secret::from)
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "corepulse".to_owned() } else { name.to_owned() }
}

fn name_of<T: PartialEq + Copy>(choices: &[(&'static str, T)], value: T) -> &'static str {
    choices.iter().find(|(_, choice)| *choice == value).map_or("", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn check(arguments: &[&str]) -> Result<Config, Mistakes> {
        let arguments = std::iter::once("corepulse").chain(arguments.iter().copied());
        Config::check(&Arguments::try_parse_from(arguments).unwrap())
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let config = check(&["--instance", "pod-a"]).unwrap();
        let printed = config.print();
        for line in [
            "listen = :8080",
            "workers = auto",
            "pin = auto",
            "engine = percore",
            "redis-prefix = metric:",
            "store-ttl = 5m",
            "store-queue = 64MiB",
            "store-overflow = drop-oldest",
            "memory-store = 256MiB",
            "window = 50",
            "z-threshold = 2",
            "min-samples = 16",
            "cooldown = 50",
            "max-devices = 100000",
            "device-ttl = 1h",
            "max-body = 1MiB",
            "max-connections = auto",
            "idle-timeout = 1m 15s",
            "request-timeout = 10s",
            "max-connection-age = 5m",
            "drain-delay = 0s",
            "drain-timeout = 20s",
            "ingest-token = (not set)",
            "instance = pod-a",
            "log-format = text",
            "log-level = info",
        ] {
            assert!(printed.lines().any(|printed| printed == line), "{line} in\n{printed}");
        }
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let mistakes = check(&[
            "--listen=here",
            "--workers=0",
            "--pin=maybe",
            "--store-ttl=0s",
            "--store-queue=1B",
            "--window=1",
            "--cooldown=-1",
            "--z-threshold=nan",
            "--max-body=1GiB",
            "--idle-timeout=soon",
            "--log-format=xml",
            "--redis-prefix=a{b}",
        ])
        .unwrap_err();
        let text = mistakes.to_string();
        for flag in [
            "listen",
            "workers",
            "pin",
            "store-ttl",
            "store-queue",
            "window",
            "z-threshold",
            "max-body",
            "idle-timeout",
            "log-format",
            "cooldown",
            "redis-prefix",
        ] {
            assert!(text.contains(&format!("corepulse: --{flag}: ")), "{flag} in\n{text}");
        }
        assert_eq!(text.lines().count(), 12, "{text}");
    }

    #[test]
    fn relations_between_flags_are_checked() {
        let text = |arguments: &[&str]| check(arguments).unwrap_err().to_string();
        assert!(text(&["--window=10", "--min-samples=11"]).contains("--min-samples"));
        assert!(check(&["--window=10", "--min-samples=10"]).is_ok());
        assert!(text(&["--drain-delay=30s"]).contains("--drain-delay"));
        // A value that could not be read is blamed alone, not with the values beside it.
        assert_eq!(text(&["--window=many"]).lines().count(), 1);
        assert_eq!(text(&["--drain-timeout=x", "--drain-delay=5s"]).lines().count(), 1);
    }

    #[test]
    fn an_engine_is_chosen_by_its_name() {
        assert_eq!(check(&["--engine=percore"]).unwrap().engine, Engine::PerCore);
        let second = check(&["--engine=may-minihttp"]);
        if cfg!(feature = "may-minihttp") {
            assert_eq!(second.unwrap().engine, Engine::MayMinihttp);
        } else {
            assert!(second.unwrap_err().to_string().contains("cargo feature"));
        }
        let text = check(&["--engine=hyper"]).unwrap_err().to_string();
        assert!(text.contains("percore") && text.contains("may-minihttp"), "{text}");
    }

    #[test]
    fn a_token_is_what_a_header_can_carry() {
        for wrong in ["", " ", "a b", "a\nb", "\u{e9}"] {
            for flag in ["--ingest-token", "--admin-token"] {
                let mistakes = check(&[&format!("{flag}={wrong}")]).unwrap_err().to_string();
                assert!(mistakes.contains(&format!("{flag}: expected visible")), "{mistakes}");
            }
        }
        let config = check(&["--ingest-token= aZ09-._~+/=! "]).unwrap();
        assert_eq!(config.ingest_token.unwrap().expose(), "aZ09-._~+/=!");
    }

    #[test]
    fn secrets_are_never_printed() {
        let config = check(&["--ingest-token=s3cret", "--admin-token=s3cret"]).unwrap();
        let wrong = check(&["--redis-url=s3cret://"]).unwrap_err().to_string();
        assert!(wrong.contains("--redis-url: expected redis://") && !wrong.contains("s3cret"));
        let given = Arguments::try_parse_from(["corepulse", "--redis-url=s3cret"]).unwrap();
        let shown = format!("{config:?}{given:?}{}", config.print());
        assert!(!shown.contains("s3cret"));
        assert!(shown.contains("ingest-token = (set)") && shown.contains("admin-token = (set)"));
        assert_eq!(config.ingest_token.unwrap().expose(), "s3cret");
    }

    #[test]
    fn age_zero_means_no_limit() {
        assert_eq!(check(&["--max-connection-age=0s"]).unwrap().connection_age, None);
    }
}
