//! Flags whose value is one of a few names.

use percore::placement::Pin;

/// The values of a choice with their names.
pub(super) type Names<T> = &'static [(&'static str, T)];

/// `--pin`.
pub(super) const PINS: Names<Pin> = &[("auto", Pin::Auto), ("on", Pin::On), ("off", Pin::Off)];

/// `--engine`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Our own engine, one event loop per core.
    PerCore,
    /// `may_minihttp`, for comparison.
    MayMinihttp,
}

impl Engine {
    /// Returns the descriptors of a connection: `may_minihttp` needs a duplicate of the socket.
    pub const fn descriptors_per_connection(self) -> u64 {
        match self {
            Self::PerCore => 1,
            Self::MayMinihttp => 2,
        }
    }
}

pub(super) const ENGINES: Names<Engine> =
    &[("percore", Engine::PerCore), ("may-minihttp", Engine::MayMinihttp)];

/// `--store-overflow`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// Drops the oldest queued block.
    DropOldest,
    /// Refuses requests until the queue has room.
    Reject,
}

pub(super) const OVERFLOWS: Names<Overflow> =
    &[("drop-oldest", Overflow::DropOldest), ("reject", Overflow::Reject)];

/// `--log-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// `key=value` pairs, for people.
    Text,
    /// One JSON object a line, for programs.
    Json,
}

pub(super) const LOG_FORMATS: Names<LogFormat> =
    &[("text", LogFormat::Text), ("json", LogFormat::Json)];

/// `--log-level`: the least serious lines that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Failures that end the server.
    Error,
    /// Conditions that an operator should look at.
    Warn,
    /// The course of events.
    Info,
    /// Each request with an error in it.
    Debug,
}

pub(super) const LOG_LEVELS: Names<LogLevel> = &[
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
];
