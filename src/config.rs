//! The configuration: flags and `COREPULSE_*` variables, checked as a whole.
//!
//! Each flag is declared once, in [`flags`]; [`arguments`] reads the texts and [`check`] makes the
//! values of them.

pub mod arguments;
mod check;
mod choices;
pub mod cors_origins;
mod errors;
mod fields;
mod flag;
mod flags;
mod formats;
mod network_list;
mod optional_number;
mod rate_limit;
pub mod redis_url;
pub mod replay_options;
mod secret;
pub mod server_url;
mod sources;
mod switch;
pub mod time_zone;
pub mod token_digest;
pub mod token_file;
pub mod token_options;
pub mod units;
pub mod unknown_variables;

pub use choices::{Acknowledgement, Engine, LogFormat, LogLevel, MetricsAuth, Novelty, Overflow};
pub use errors::ConfigErrors;
pub use flags::Config;
pub use rate_limit::RateLimit;
pub use secret::Secret;

/// The exit code of a wrong command line or environment (`EX_USAGE` of sysexits.h).
pub const EXIT_USAGE: u8 = 64;
