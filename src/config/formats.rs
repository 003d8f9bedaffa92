//! Formats of flags: how a text becomes a value, and how the value is printed.

use std::fmt;
use std::fs;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use percore::listen::{Listen, UNIX_PATH_BYTES_MAX};

use super::choices::Engine;
use super::cors_origins::CorsOrigins;
use super::redis_url::RedisUrl;
use super::redis_url::redacted::Redacted;
use super::secret::Secret;
use super::units::{HumanDuration, HumanSize};
use crate::limits::{FLEET_NAME_BYTES_MAX, STORE_PREFIX_BYTES_MAX};

/// Longer durations are typing errors, and overflow what clocks can add.
const DURATION_MAX: Duration = Duration::from_secs(365 * 86_400);

/// The print of an optional value that is absent.
pub(super) const NOT_SET: &str = "(not set)";

/// The format of one or several flags.
pub(super) trait Format {
    /// The type of the configuration's field.
    type Value;

    /// Reads a text. The error says what was expected; several errors are lines of their own.
    fn parse(&self, text: &str) -> Result<Self::Value, String>;

    /// Writes a value for `--print-config`.
    fn print(&self, value: &Self::Value) -> String;

    /// Reads the text of a flag, which is absent if the flag was not given and has no default.
    fn read(&self, given: Option<&str>) -> Result<Self::Value, String> {
        self.parse(given.unwrap_or_default())
    }
}

/// The values that a number or a size may have; an end of `usize::MAX` stands for no maximum.
pub(super) type Range = RangeInclusive<usize>;

/// A range in words, its bounds written by a function.
struct Bounds<'a>(&'a Range, fn(usize) -> String);

impl fmt::Display for Bounds<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(range, write) = self;
        match (write(*range.start()), *range.end()) {
            (least, usize::MAX) => write!(out, "of at least {least}"),
            (least, most) => write!(out, "from {least} to {}", write(most)),
        }
    }
}

/// A whole number.
pub(super) struct Number(pub Range);

impl Format for Number {
    type Value = usize;

    fn parse(&self, text: &str) -> Result<usize, String> {
        let value = text.trim().parse().ok().filter(|number| self.0.contains(number));
        let bounds = Bounds(&self.0, |number| number.to_string());
        value.ok_or_else(|| format!("expected a whole number {bounds}, found {text:?}"))
    }

    fn print(&self, value: &usize) -> String {
        value.to_string()
    }
}

/// A whole number, or `auto`, which is left to this machine.
pub(super) struct Auto(pub Number);

impl Format for Auto {
    type Value = Option<usize>;

    fn parse(&self, text: &str) -> Result<Option<usize>, String> {
        if text.trim() == "auto" { Ok(None) } else { self.0.parse(text).map(Some) }
    }

    fn print(&self, value: &Option<usize>) -> String {
        value.map_or("auto".to_owned(), |number| number.to_string())
    }
}

/// A size in bytes.
pub(super) struct Size(pub Range);

impl Format for Size {
    type Value = usize;

    fn parse(&self, text: &str) -> Result<usize, String> {
        let size = parse_size::parse_size(text).ok().and_then(|size| usize::try_from(size).ok());
        let bounds = Bounds(&self.0, |size| HumanSize(size).to_string());
        size.filter(|size| self.0.contains(size))
            .ok_or_else(|| format!("expected a size {bounds}, such as 64MiB, found {text:?}"))
    }

    fn print(&self, value: &usize) -> String {
        HumanSize(*value).to_string()
    }
}

/// A duration of at least some seconds.
pub(super) struct Seconds(pub u64);

impl Format for Seconds {
    type Value = Duration;

    fn parse(&self, text: &str) -> Result<Duration, String> {
        let least = Duration::from_secs(self.0);
        let value = humantime::parse_duration(text.trim()).ok();
        value.filter(|value| (least..=DURATION_MAX).contains(value)).ok_or_else(|| {
            let bounds = format!("from {} to 365days", HumanDuration(least));
            format!("expected a duration {bounds}, such as 75s, found {text:?}")
        })
    }

    fn print(&self, value: &Duration) -> String {
        HumanDuration(*value).to_string()
    }
}

/// A duration of at least a millisecond and at most some seconds.
pub(super) struct SecondsUpTo(pub u64);

impl Format for SecondsUpTo {
    type Value = Duration;

    fn parse(&self, text: &str) -> Result<Duration, String> {
        let bounds = Duration::from_millis(1)..=Duration::from_secs(self.0);
        let value = humantime::parse_duration(text.trim()).ok();
        value.filter(|value| bounds.contains(value)).ok_or_else(|| {
            let [least, most] = [bounds.start(), bounds.end()].map(|bound| HumanDuration(*bound));
            format!("expected a duration from {least} to {most}, such as 500ms, found {text:?}")
        })
    }

    fn print(&self, value: &Duration) -> String {
        HumanDuration(*value).to_string()
    }
}

/// A duration, where zero stands for no limit.
pub(super) struct SecondsOrNever;

impl Format for SecondsOrNever {
    type Value = Option<Duration>;

    fn parse(&self, text: &str) -> Result<Option<Duration>, String> {
        Ok(Some(Seconds(0).parse(text)?).filter(|duration| !duration.is_zero()))
    }

    fn print(&self, value: &Option<Duration>) -> String {
        Seconds(0).print(&value.unwrap_or_default())
    }
}

/// A number of standard deviations.
pub(super) struct Deviations;

impl Format for Deviations {
    type Value = f64;

    fn parse(&self, text: &str) -> Result<f64, String> {
        let value = text.trim().parse::<f64>().ok().filter(|z| z.is_finite() && *z > 0.0);
        let expected = "expected a number of standard deviations above 0";
        value.ok_or_else(|| format!("{expected}, found {text:?}"))
    }

    fn print(&self, value: &f64) -> String {
        value.to_string()
    }
}

/// One of a few values, each given by its name.
pub(super) struct Choice<T: 'static>(pub &'static [T], pub fn(T) -> &'static str);

impl<T: Copy> Format for Choice<T> {
    type Value = T;

    fn parse(&self, text: &str) -> Result<T, String> {
        let Self(values, name) = self;
        let chosen = values.iter().find(|value| name(**value) == text.trim());
        chosen.copied().ok_or_else(|| {
            let names: Vec<_> = values.iter().map(|value| name(*value)).collect();
            format!("expected {}, found {text:?}", names.join(" or "))
        })
    }

    fn print(&self, value: &T) -> String {
        self.1(*value).to_owned()
    }
}

/// The name of an engine that is part of this build.
pub(super) struct BuiltEngine;

impl Format for BuiltEngine {
    type Value = Engine;

    fn parse(&self, text: &str) -> Result<Engine, String> {
        let engine = Choice(&Engine::ALL, Engine::name).parse(text)?;
        if engine == Engine::MayMinihttp && !cfg!(feature = "may-minihttp") {
            return Err("this build has no may-minihttp (cargo feature of that name)".to_owned());
        }
        Ok(engine)
    }

    fn print(&self, value: &Engine) -> String {
        value.name().to_owned()
    }
}

/// The addresses to listen on, with commas between them.
pub(super) struct ListenAddresses {
    /// True if there has to be one.
    pub are_needed: bool,
}

impl Format for ListenAddresses {
    type Value = Vec<Listen>;

    fn parse(&self, text: &str) -> Result<Vec<Listen>, String> {
        if !self.are_needed && text.trim().is_empty() {
            return Ok(Vec::new());
        }
        let read = |text: &str| {
            Listen::parse(text).ok_or_else(|| {
                format!(
                    "expected a port (:8080), an address and a port (127.0.0.1:8080, [::1]:8080), \
                     localhost:8080, or unix: and an absolute path of at most \
                     {UNIX_PATH_BYTES_MAX} bytes (unix:/run/corepulse.sock), found {text:?}"
                )
            })
        };
        text.split(',').map(read).collect()
    }

    fn print(&self, value: &Vec<Listen>) -> String {
        if value.is_empty() {
            return NOT_SET.to_owned();
        }
        value.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }
}

/// The URL of Redis; an empty one is none. Errors do not repeat it, as it may hold a password.
pub(super) struct OptionalRedisUrl;

impl Format for OptionalRedisUrl {
    type Value = Option<RedisUrl>;

    fn parse(&self, text: &str) -> Result<Option<RedisUrl>, String> {
        let text = Some(text.trim()).filter(|text| !text.is_empty());
        text.map(|text| RedisUrl::parse(&Secret::from(text))).transpose()
    }

    fn print(&self, value: &Option<RedisUrl>) -> String {
        value.as_ref().map_or(NOT_SET.to_owned(), |url| Redacted(url).to_string())
    }
}

/// The prefix of all keys: no character that has a meaning in a cluster (braces), in an ACL or a
/// pattern (`*?[]\`), or in a shell.
pub(super) struct KeyPrefix;

impl Format for KeyPrefix {
    type Value = String;

    fn parse(&self, text: &str) -> Result<String, String> {
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:/".contains(&byte);
        if (1..=STORE_PREFIX_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_good) {
            return Ok(text.to_owned());
        }
        Err(format!(
            "expected 1 to {STORE_PREFIX_BYTES_MAX} of A-Z a-z 0-9 _ - . : /, such as metric:, \
             found {text:?}"
        ))
    }

    fn print(&self, value: &String) -> String {
        value.clone()
    }
}

/// The name of a fleet, or none: no character that has a meaning in a cluster, an ACL or a shell.
pub(super) struct FleetName;

impl Format for FleetName {
    type Value = Option<String>;

    fn parse(&self, text: &str) -> Result<Option<String>, String> {
        let name = text.trim();
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        if name.len() <= FLEET_NAME_BYTES_MAX && name.bytes().all(is_good) {
            return Ok((!name.is_empty()).then(|| name.to_owned()));
        }
        Err(format!(
            "expected 1 to {FLEET_NAME_BYTES_MAX} of A-Z a-z 0-9 _ - ., such as corepulse, found \
             {text:?}"
        ))
    }

    fn print(&self, value: &Option<String>) -> String {
        value.clone().unwrap_or_else(|| NOT_SET.to_owned())
    }
}

/// A token as a header can carry it after `Bearer` and a space. An empty one on the command line is
/// an error: it would leave open what it was meant to protect.
pub(super) struct Token;

impl Format for Token {
    type Value = Option<Secret>;

    fn parse(&self, text: &str) -> Result<Option<Secret>, String> {
        let text = text.trim();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            let expected = "expected visible characters of ASCII without blanks";
            return Err(format!("{expected}, found others or none"));
        }
        Ok(Some(Secret::from(text)))
    }

    fn print(&self, value: &Option<Secret>) -> String {
        if value.is_some() { "(set)" } else { NOT_SET }.to_owned()
    }

    fn read(&self, given: Option<&str>) -> Result<Option<Secret>, String> {
        given.map_or(Ok(None), |text| self.parse(text))
    }
}

/// The path of a file, or none.
pub(super) struct OptionalFile;

impl Format for OptionalFile {
    type Value = Option<PathBuf>;

    fn parse(&self, text: &str) -> Result<Option<PathBuf>, String> {
        Ok(Some(text).filter(|text| !text.is_empty()).map(PathBuf::from))
    }

    fn print(&self, value: &Option<PathBuf>) -> String {
        value.as_ref().map_or(NOT_SET.to_owned(), |path| path.display().to_string())
    }
}

/// The origins whose pages may read answers.
pub(super) struct OriginList;

impl Format for OriginList {
    type Value = Option<CorsOrigins>;

    fn parse(&self, text: &str) -> Result<Option<CorsOrigins>, String> {
        CorsOrigins::parse(text).map(Some).map_err(|wrong| {
            format!(
                "expected * alone, or origins with commas between them such as \
                 https://app.example,http://localhost:3000, found {wrong:?}"
            )
        })
    }

    fn print(&self, value: &Option<CorsOrigins>) -> String {
        value.as_ref().map_or(NOT_SET.to_owned(), ToString::to_string)
    }

    fn read(&self, given: Option<&str>) -> Result<Option<CorsOrigins>, String> {
        given.map_or(Ok(None), |text| self.parse(text))
    }
}

/// The name of this instance; an empty one is replaced by the host name.
pub(super) struct InstanceName;

impl Format for InstanceName {
    type Value = String;

    fn parse(&self, text: &str) -> Result<String, String> {
        let host = || fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let names = [text.to_owned(), host(), "corepulse".to_owned()];
        let mut names = names.into_iter().map(|name| name.trim().to_owned());
        Ok(names.find(|name| !name.is_empty()).unwrap_or_default())
    }

    fn print(&self, value: &String) -> String {
        value.clone()
    }
}
