//! The flags, as `--help` shows them. Each is also a variable: `COREPULSE_` and its name.
//!
//! All values are texts here: [`super::Config::check`] reads them, so that every mistake is found
//! in one go.

use std::env;

use clap::builder::{OsStr, Resettable};
use clap::{Arg, CommandFactory, FromArgMatches, Parser, Subcommand};

use super::Secret;
use super::sources::Sources;

/// A thread-per-core HTTP server for streams of device metrics.
///
/// Devices POST metrics to /metrics; /analyze shows rolling averages, z-scores and anomalies,
/// /metrics/prometheus is for Prometheus. Durations and sizes take units: 300s, 5m, 64MiB.
#[derive(Clone, Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Arguments {
    /// Where to listen: :PORT for every address, of IPv6 and IPv4, ADDRESS:PORT, localhost:PORT, or
    /// unix:/PATH; port 0 lets the kernel choose
    #[arg(long, env = "COREPULSE_LISTEN", hide_env_values = true, default_value = ":8080")]
    pub listen: String,

    /// Worker threads, one a core; auto follows the CPU quota and the affinity mask
    #[arg(long, env = "COREPULSE_WORKERS", hide_env_values = true, default_value = "auto")]
    pub workers: String,

    /// Whether each worker is pinned to its core: auto, on or off
    #[arg(long, env = "COREPULSE_PIN", hide_env_values = true, default_value = "auto")]
    pub pin: String,

    /// The engine that serves: percore, or may-minihttp to compare with
    #[arg(long, env = "COREPULSE_ENGINE", hide_env_values = true, default_value = "percore")]
    pub engine: String,

    /// Redis to keep metrics in: redis://, rediss:// (TLS), redis+unix://, redis+sentinel:// or
    /// redis+cluster://; REDIS_URL is honoured too. Without either they are kept in this process
    #[arg(long, env = "COREPULSE_REDIS_URL", hide_env_values = true, value_name = "URL")]
    pub redis_url: Option<Secret>,

    /// What every key in Redis begins with
    #[arg(
        long,
        env = "COREPULSE_REDIS_PREFIX",
        hide_env_values = true,
        value_name = "PREFIX",
        default_value = "metric:"
    )]
    pub redis_prefix: String,

    /// How long a stored metric can be read
    #[arg(long, env = "COREPULSE_STORE_TTL", hide_env_values = true, default_value = "300s")]
    pub store_ttl: String,

    /// Bytes that may wait to be written to Redis; the embedded store has no queue
    #[arg(long, env = "COREPULSE_STORE_QUEUE", hide_env_values = true, default_value = "64MiB")]
    pub store_queue: String,

    /// What happens when the queue to Redis is full: drop-oldest or reject
    #[arg(
        long,
        env = "COREPULSE_STORE_OVERFLOW",
        hide_env_values = true,
        default_value = "drop-oldest"
    )]
    pub store_overflow: String,

    /// Bytes of the embedded store, its index included; the oldest metrics make room
    #[arg(long, env = "COREPULSE_MEMORY_STORE", hide_env_values = true, default_value = "256MiB")]
    pub memory_store: String,

    /// Events of a rolling window
    #[arg(long, env = "COREPULSE_WINDOW", hide_env_values = true, default_value = "50")]
    pub window: String,

    /// Standard deviations from the mean beyond which a value is anomalous
    #[arg(long, env = "COREPULSE_Z_THRESHOLD", hide_env_values = true, default_value = "2.0")]
    pub z_threshold: String,

    /// Events that a window must hold before a value is judged
    #[arg(long, env = "COREPULSE_MIN_SAMPLES", hide_env_values = true, default_value = "16")]
    pub min_samples: String,

    /// Events after an anomaly within which a further one belongs to the same episode
    #[arg(long, env = "COREPULSE_COOLDOWN", hide_env_values = true, default_value = "50")]
    pub cooldown: String,

    /// Devices that get a window of their own
    #[arg(long, env = "COREPULSE_MAX_DEVICES", hide_env_values = true, default_value = "100000")]
    pub max_devices: String,

    /// A device silent for this long is forgotten
    #[arg(long, env = "COREPULSE_DEVICE_TTL", hide_env_values = true, default_value = "1h")]
    pub device_ttl: String,

    /// Bytes of a request's body, after inflation
    #[arg(long, env = "COREPULSE_MAX_BODY", hide_env_values = true, default_value = "1MiB")]
    pub max_body: String,

    /// Connections at once; auto is what the limit of open files leaves
    #[arg(long, env = "COREPULSE_MAX_CONNECTIONS", hide_env_values = true, default_value = "auto")]
    pub max_connections: String,

    /// A connection without a request is closed after this long
    #[arg(long, env = "COREPULSE_IDLE_TIMEOUT", hide_env_values = true, default_value = "75s")]
    pub idle_timeout: String,

    /// A request must arrive, an answer make progress, and what takes turns get its own within this
    /// long
    #[arg(long, env = "COREPULSE_REQUEST_TIMEOUT", hide_env_values = true, default_value = "10s")]
    pub request_timeout: String,

    /// A connection is closed after this long (±10 %), so that new replicas get their share; 0s
    /// never
    #[arg(
        long,
        env = "COREPULSE_MAX_CONNECTION_AGE",
        hide_env_values = true,
        default_value = "5m"
    )]
    pub max_connection_age: String,

    /// After a signal to stop, serve on for this long while /ready says 503
    #[arg(long, env = "COREPULSE_DRAIN_DELAY", hide_env_values = true, default_value = "0s")]
    pub drain_delay: String,

    /// After a signal to stop (TERM, INT, HUP), be gone within this long
    #[arg(long, env = "COREPULSE_DRAIN_TIMEOUT", hide_env_values = true, default_value = "20s")]
    pub drain_timeout: String,

    /// Bearer token that POST /metrics and GET /metrics/{key} ask for; better as a variable
    #[arg(long, env = "COREPULSE_INGEST_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub ingest_token: Option<Secret>,

    /// Bearer token of /debug/pprof/, which only this machine may ask for without it
    #[arg(long, env = "COREPULSE_ADMIN_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub admin_token: Option<Secret>,

    /// Origins whose pages in browsers may read answers and post JSON (CORS), with commas between
    /// them, or * for any; none unless given. What any page may post without asking, as text/plain,
    /// only --ingest-token keeps out
    #[arg(long, env = "COREPULSE_CORS_ORIGIN", hide_env_values = true, value_name = "ORIGINS")]
    pub cors_origin: Option<String>,

    /// The name that /analyze gives this instance; the host name unless given
    #[arg(long, env = "COREPULSE_INSTANCE", hide_env_values = true, value_name = "NAME")]
    pub instance: Option<String>,

    /// Format of the log on standard error: text or json
    #[arg(long, env = "COREPULSE_LOG_FORMAT", hide_env_values = true, default_value = "text")]
    pub log_format: String,

    /// The least serious lines of the log: error, warn, info or debug
    #[arg(long, env = "COREPULSE_LOG_LEVEL", hide_env_values = true, default_value = "info")]
    pub log_level: String,

    /// Print the effective configuration and exit
    #[arg(long)]
    pub print_config: bool,

    /// Where each of these came from.
    #[arg(skip)]
    pub sources: Sources,

    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the program can do beside serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Ask the server at --listen on this machine whether it serves; exit code 0 if so, else 1. It
    /// takes the options of the server, before it or behind it
    Healthcheck,
}

impl Arguments {
    /// Reads the command line and the environment. An empty variable is an unset one, as shells
    /// and Kubernetes manifests have it.
    ///
    /// # Errors
    ///
    /// What clap finds wrong, and what it prints instead of starting: help and version.
    pub fn read() -> Result<Self, clap::Error> {
        let command = Self::command().mut_args(behind_command_too).mut_args(without_empty_variable);
        let flags: Vec<_> = command.get_arguments().filter_map(names).collect();
        let matches = command.try_get_matches()?;
        let mut arguments = Self::from_arg_matches(&matches)?;
        arguments.sources = Sources::of(&matches, &flags);
        if arguments.redis_url.is_none() {
            let url = env::var("REDIS_URL").ok().filter(|url| !url.is_empty());
            if url.is_some() {
                arguments.sources.set_variable("redis-url", "REDIS_URL");
            }
            arguments.redis_url = url.as_deref().map(Secret::from);
        }
        Ok(arguments)
    }
}

/// `corepulse healthcheck --listen …` is how people write it.
fn behind_command_too(arg: Arg) -> Arg {
    arg.global(true)
}

/// The id of a flag, its name and that of its variable, if it has one and that is not empty.
fn names(arg: &Arg) -> Option<(String, String, String)> {
    let variable = arg.get_env().map(|name| name.to_string_lossy().into_owned());
    let (id, flag) = (arg.get_id().to_string(), arg.get_long()?.to_owned());
    Some((id, flag, variable.unwrap_or_default()))
}

fn without_empty_variable(arg: Arg) -> Arg {
    let value = arg.get_env().and_then(env::var_os);
    if value.is_some_and(|value| value.is_empty()) {
        return arg.env(Resettable::<OsStr>::Reset);
    }
    arg
}
