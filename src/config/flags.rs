//! The declaration of each flag: help, field, name, default and format.
//!
//! The argument of the command line, the variable, the check, the line of `--print-config` and the
//! row of the documentation all follow from it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use percore::listen::Listen;
use percore::networks::Networks;
use percore::placement::Pin;

use super::choices::{
    Acknowledgement, Engine, LogFormat, LogLevel, MetricsAuth, Novelty, Overflow,
};
use super::cors_origins::CorsOrigins;
use super::errors::ConfigErrors;
use super::fields::{FieldList, NameList};
use super::flag::Flag;
use super::formats::{
    Auto, BuiltEngine, Choice, Deviations, FleetName, Format, InstanceName, KeyPrefix,
    ListenAddresses, Number, OptionalFile, OptionalRedisUrl, OriginList, Seconds, SecondsOrNever,
    SecondsUpTo, Size, Token,
};
use super::network_list::NetworkList;
use super::optional_number::Off;
use super::rate_limit::{OptionalRateLimit, RateLimit};
use super::redis_url::RedisUrl;
use super::secret::Secret;
use super::sources::Sources;
use super::switch::Switch;
use super::time_zone::{TimeZone, ZoneName};
use crate::limits::{
    BODY_BYTES_MAX, BODY_BYTES_MIN, COOLDOWN_MAX, DEVICES_MAX, MEMORY_STORE_BYTES_MIN,
    STORE_QUEUE_BYTES_MIN, WINDOW_MAX, WORKERS_MAX,
};
use crate::schema::FieldOptions;

/// Declares flags, each as `/// help`, `field: type, "name" [VALUE_NAME] [= default], format;`.
macro_rules! flags {
    ($(
        $(#[doc = $help:literal])+
        $field:ident: $type:ty, $name:literal $($value_name:ident)? $(= $default:literal)?,
            $format:expr;
    )+) => {
        /// All flags, in the order of `--help`.
        pub(super) const FLAGS: &[Flag] = &[$(Flag {
            name: $name,
            help: concat!($($help),+),
            value_name: &[$(stringify!($value_name))?],
            default: &[$($default)?],
        }),+];

        /// The checked configuration.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Config {
            $($(#[doc = $help])+ pub $field: $type,)+
            /// The source of each value.
            pub sources: Sources,
        }

        /// The values of the flags; those whose text is wrong have none.
        pub(super) struct Values {
            $(pub(super) $field: Option<$type>,)+
        }

        impl Values {
            /// Reads the text of each flag, given a function that returns it.
            pub(super) fn read<'a>(
                text: impl Fn(&str) -> Option<&'a str>,
                errors: &mut ConfigErrors,
            ) -> Self {
                Self { $($field: errors.check($name, $format.read(text($name))),)+ }
            }

            /// Returns the configuration, if each flag has a value.
            pub(super) fn complete(self, sources: Sources) -> Option<Config> {
                Some(Config { $($field: self.$field?,)+ sources })
            }
        }

        impl Config {
            /// Writes the values, each with the name of its flag.
            pub(super) fn values(&self) -> impl Iterator<Item = (&'static str, String)> {
                [$(($name, $format.print(&self.$field))),+].into_iter()
            }
        }
    };
}

flags! {
    /// Where to listen: :PORT for every address, of IPv6 and IPv4, ADDRESS:PORT, localhost:PORT, or
    /// unix:/PATH, or several with commas between them; port 0 lets the kernel choose
    listen: Vec<Listen>, "listen" = ":8080", ListenAddresses { are_needed: true };

    /// Where to listen with TLS, as --listen writes it, beside what that says; needs --tls-cert and
    /// --tls-key
    tls_listen: Vec<Listen>, "tls-listen" ADDRESSES, ListenAddresses { are_needed: false };

    /// PEM file of the server's certificate and those between it and its authority; read again on
    /// SIGHUP and when it changes
    tls_cert: Option<PathBuf>, "tls-cert" FILE, OptionalFile;

    /// PEM file of the private key of --tls-cert; read again with it
    tls_key: Option<PathBuf>, "tls-key" FILE, OptionalFile;

    /// PEM file of the authorities that sign certificates of devices: with it, TLS takes no client
    /// without one, and its events only under the device id that is the certificate's common name
    /// or first DNS name
    tls_client_ca: Option<PathBuf>, "tls-client-ca" FILE, OptionalFile;

    /// Worker threads, one a core; auto follows the CPU quota and the affinity mask
    workers: Option<usize>, "workers" = "auto", Auto(Number(1..=WORKERS_MAX));

    /// Whether each worker is pinned to its core: auto, on or off
    pin: Pin, "pin" = "auto", Choice(&Pin::ALL, Pin::name);

    /// The engine that serves: percore, or may-minihttp to compare with
    engine: Engine, "engine" = "percore", BuiltEngine;

    /// Redis to keep metrics in: redis://, rediss:// (TLS), redis+unix://, redis+sentinel:// or
    /// redis+cluster://; REDIS_URL is honoured too. Without either they are kept in this process
    redis_url: Option<RedisUrl>, "redis-url" URL, OptionalRedisUrl;

    /// What every key in Redis begins with
    redis_prefix: String, "redis-prefix" PREFIX = "metric:", KeyPrefix;

    /// Name of the fleet whose replicas answer for each other, through the Redis that they share:
    /// /analyze?scope=fleet and its like. Needs --redis-url; none unless given
    fleet: Option<String>, "fleet" NAME, FleetName;

    /// How long what a device has sent may be unsaved for the other replicas of --fleet: as much of
    /// it as a replica takes along when it is killed
    window_save: Duration, "window-save" = "5s", Seconds(1);

    /// How long a stored metric can be read
    store_ttl: Duration, "store-ttl" = "300s", Seconds(1);

    /// Bytes that may wait to be written to Redis; the embedded store has no queue
    store_queue_bytes: usize, "store-queue" = "64MiB", Size(STORE_QUEUE_BYTES_MIN..=usize::MAX);

    /// What happens when the queue to Redis is full: drop-oldest or reject
    store_overflow: Overflow, "store-overflow" = "drop-oldest",
        Choice(&Overflow::ALL, Overflow::name);

    /// Directory for events that Redis has not taken at the end, which the next start takes up;
    /// without one they are lost. Needs --redis-url
    spill: Option<PathBuf>, "spill" DIR, OptionalFile;

    /// When POST of metrics is answered: once its events are accepted, or stored, where the answer
    /// waits for Redis and tells; ?ack= of a request goes before
    ack: Acknowledgement, "ack" = "accepted",
        Choice(&Acknowledgement::ALL, Acknowledgement::name);

    /// An answer waits for events to be stored this long, and then is 503 with what is known
    ack_timeout: Duration, "ack-timeout" = "2s", SecondsUpTo(60);

    /// Bytes of the embedded store, its index included; the oldest metrics make room
    memory_store_bytes: usize, "memory-store" = "256MiB",
        Size(MEMORY_STORE_BYTES_MIN..=usize::MAX);

    /// Fields of a metric, with commas between them: name[?][=min..max][~deviation], where ? lets
    /// it be absent, and a value that is nearer to the mean than the deviation is no anomaly
    fields: Vec<FieldOptions>, "fields" = "cpu=0..1e6,rps=0..1e12", FieldList;

    /// Name of the member that has the device id, or several with commas between them
    device_names: Vec<String>, "device-name" NAMES = "device_id",
        NameList { reserved: &["timestamp"] };

    /// Name of the member that has the time, or several with commas between them
    timestamp_names: Vec<String>, "timestamp-name" NAMES = "timestamp",
        NameList { reserved: &["device_id"] };

    /// Tags of InfluxDB's line protocol that may have the device id, with commas between them; of
    /// those that a line has the first in this order counts
    device_tags: Vec<String>, "device-tag" TAGS = "device_id,host", NameList { reserved: &[] };

    /// Events of a rolling window
    window: usize, "window" = "50", Number(2..=WINDOW_MAX);

    /// Standard deviations from the mean beyond which a value is anomalous
    z_threshold: f64, "z-threshold" = "2.0", Deviations;

    /// Events that a window must hold before a value is judged
    min_samples: usize, "min-samples" = "16", Number(1..=WINDOW_MAX);

    /// Events after an anomaly within which a further one belongs to the same episode
    cooldown: usize, "cooldown" = "50", Number(0..=COOLDOWN_MAX);

    /// A second judge beside the deviations, which tells what is new to a series: on, quiet for the
    /// clearest only, or off
    novelty: Novelty, "novelty" = "off", Choice(&Novelty::ALL, Novelty::name);

    /// Time zone of the people behind the devices, whose hours and weekends --novelty goes by: its
    /// IANA name
    time_zone: TimeZone, "time-zone" NAME = "UTC", ZoneName;

    /// Events of one value in succession with which a series stands still, and is told as new; off
    /// if it may
    stuck_after: Option<usize>, "stuck-after" EVENTS = "off", Off(Number(2..=COOLDOWN_MAX));

    /// Whether an event that repeats the last one of its device, its timestamp and its values, is
    /// judged again: on or off
    judge_duplicates: bool, "judge-duplicates" = "off", Switch;

    /// Devices that get a window of their own
    devices_max: usize, "max-devices" = "100000", Number(0..=DEVICES_MAX);

    /// A device silent for this long is forgotten
    device_ttl: Duration, "device-ttl" = "1h", Seconds(1);

    /// Events that each device may send, EVENTS:SECONDS, up to four with commas between them, such
    /// as 100:1,2000:60. More are rejected. An instance counts what it hears itself; no limit
    /// unless given
    device_limit: Option<RateLimit>, "device-limit" LIMIT, OptionalRateLimit;

    /// Bytes of a request's body, after inflation
    body_bytes_max: usize, "max-body" = "1MiB", Size(BODY_BYTES_MIN..=BODY_BYTES_MAX);

    /// Connections at once; auto is what the limit of open files leaves
    connections_max: Option<usize>, "max-connections" = "auto", Auto(Number(1..=usize::MAX));

    /// Connections at once of one peer address (of IPv6, a network of 64 bits); those of a proxy
    /// named by --trust-proxy are its clients'; off for no bound
    peer_connections: Option<usize>, "peer-connections" = "off", Off(Number(1..=usize::MAX));

    /// Proxies that are believed who their clients are, by Forwarded, X-Forwarded-For or the PROXY
    /// protocol: addresses and networks such as 10.0.0.0/8, or unix for those on Unix sockets, with
    /// commas between them
    trust_proxy: Option<Arc<Networks>>, "trust-proxy" CIDRS, NetworkList;

    /// A connection without a request is closed after this long
    idle_timeout: Duration, "idle-timeout" = "75s", Seconds(1);

    /// A request must arrive, an answer make progress, and what takes turns get its own within this
    /// long
    request_timeout: Duration, "request-timeout" = "10s", Seconds(1);

    /// A connection is closed after this long (±10 %), so that new replicas get their share; 0s
    /// never
    connection_age: Option<Duration>, "max-connection-age" = "5m", SecondsOrNever;

    /// After a signal to stop, serve on for this long while /ready says 503
    drain_delay: Duration, "drain-delay" = "0s", Seconds(0);

    /// After a signal to stop (TERM, INT; HUP as well, unless it reloads a file), be gone within
    /// this long
    drain_timeout: Duration, "drain-timeout" = "20s", Seconds(0);

    /// Token that POST of metrics (/metrics, /write, /api/v2/write) and GET /metrics/{key} ask for;
    /// better as a variable
    ingest_token: Option<Secret>, "ingest-token" TOKEN, Token;

    /// Token that GET of /analyze, /devices, /anomalies, /stats and /metrics/{key} asks for; stored
    /// metrics take the ingest token as well
    read_token: Option<Secret>, "read-token" TOKEN, Token;

    /// Bearer token of /debug/pprof/, which only this machine may ask for without it
    admin_token: Option<Secret>, "admin-token" TOKEN, Token;

    /// File of tokens, a line each: NAME SHA256 ROLES PREFIX LIMIT, as corepulse token new prints
    /// it. Roles are write, read and admin, with commas between them; a prefix is that of the
    /// device ids which may be written, * any. Read again on SIGHUP, which does not end the server
    /// then
    tokens: Option<PathBuf>, "tokens" FILE, OptionalFile;

    /// Whether GET /metrics/prometheus asks for a token, which may read or be the admin token: off
    /// or on
    metrics_auth: MetricsAuth, "metrics-auth" = "off",
        Choice(&MetricsAuth::ALL, MetricsAuth::name);

    /// Origins whose pages in browsers may read answers and post JSON (CORS), with commas between
    /// them, or * for any; none unless given. What any page may post without asking, as text/plain,
    /// only --ingest-token keeps out
    cors_origin: Option<CorsOrigins>, "cors-origin" ORIGINS, OriginList;

    /// The name that /analyze gives this instance; the host name unless given
    instance: String, "instance" NAME, InstanceName;

    /// Format of the log on standard error: text or json
    log_format: LogFormat, "log-format" = "text", Choice(&LogFormat::ALL, LogFormat::name);

    /// The least serious lines of the log: error, warn, info or debug
    log_level: LogLevel, "log-level" = "info", Choice(&LogLevel::ALL, LogLevel::name);
}
