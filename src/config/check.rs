//! The check of the configuration as a whole, and its print.
//!
//! Every error is found before any is reported, so that nobody has to start the server five times
//! to learn of five errors.

use std::time::Duration;

use percore::listen::Listen;

use super::arguments::Arguments;
use super::choices::{Engine, MetricsAuth};
use super::errors::ConfigErrors;
use super::fields::in_both;
use super::flags::{Config, Values};
use super::token_file;

impl Config {
    /// Checks every flag and the relations between them.
    ///
    /// # Errors
    ///
    /// All errors together.
    pub fn check(arguments: &Arguments) -> Result<Self, ConfigErrors> {
        let mut errors = ConfigErrors::default();
        let values = Values::read(|flag| arguments.texts.get(flag), &mut errors);
        check_relations(&values, &mut errors);
        let saves = arguments.texts.sources.get("window-save");
        if saves != "default" && matches!(values.fleet, Some(None)) {
            errors.add("window-save", "expected --fleet as well: no window is saved without it");
        }
        if arguments.command.is_none() {
            check_files(&values, &mut errors);
        }
        let mut sources = arguments.texts.sources.clone();
        if arguments.texts.get("instance").is_none() {
            sources.derive("instance", "the host name");
        }
        errors.or(values.complete(sources))
    }

    /// Writes the effective values as `flag = value  # source`, a line each; of secrets only
    /// whether they are set.
    pub fn print(&self) -> String {
        let line = |(flag, value)| format!("{flag} = {value}  # {}\n", self.sources.get(flag));
        self.values().map(line).collect()
    }

    /// Returns the address at which a program on this machine asks the server: the first without
    /// TLS.
    pub fn own_address(&self) -> &Listen {
        self.listen.first().unwrap_or(&Listen::Everywhere(0))
    }

    /// Returns true if something comes from files that can be read again while the server runs:
    /// SIGHUP asks for that then, and does not stop it.
    pub const fn has_files_to_reload(&self) -> bool {
        self.tokens.is_some() || self.tls_cert.is_some()
    }

    /// Returns the values that should be the same in all replicas of a fleet, with the names of
    /// their flags.
    pub fn common_values(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.values().filter(|(flag, _)| COMMON.contains(flag))
    }
}

/// The flags that all replicas of a fleet should have in common: they decide how a metric is read
/// and judged, and for how long it is kept.
const COMMON: [&str; 16] = [
    "redis-prefix",
    "store-ttl",
    "fields",
    "device-name",
    "timestamp-name",
    "device-tag",
    "window",
    "z-threshold",
    "min-samples",
    "cooldown",
    "novelty",
    "time-zone",
    "stuck-after",
    "judge-duplicates",
    "max-devices",
    "device-ttl",
];

/// Checks the files that the server is going to read. A subcommand has no use for them, and must
/// not fail because of them: one that asks for the health of a server would end it.
fn check_files(values: &Values, errors: &mut ConfigErrors) {
    let tokens = values.tokens.as_ref().and_then(Option::as_ref);
    let Some(mistakes) = tokens.and_then(|path| token_file::read(path).err()) else {
        return;
    };
    mistakes.iter().for_each(|mistake| errors.add("tokens", mistake));
}

/// Checks the relations between flags; a flag whose own value is wrong takes part in none.
fn check_relations(values: &Values, errors: &mut ConfigErrors) {
    if let (Some(listen), Some(Engine::MayMinihttp)) = (&values.listen, values.engine) {
        if listen.iter().any(|listen| matches!(listen, Listen::Unix(_))) {
            errors.add("listen", "the engine may-minihttp takes no Unix socket, only a port");
        } else if listen.len() > 1 {
            errors.add("listen", "the engine may-minihttp takes one address");
        }
    }
    if let (Some(Some(_)), Some(Engine::MayMinihttp)) = (values.peer_connections, values.engine) {
        errors.add("peer-connections", "the engine may-minihttp counts none by their peers");
    }
    check_tls(values, errors);
    if let (Some(samples), Some(window)) = (values.min_samples, values.window)
        && samples > window
    {
        errors.add("min-samples", format!("{samples} are never in a window of {window}"));
    }
    if let (Some(delay), Some(timeout)) = (values.drain_delay, values.drain_timeout)
        && delay > timeout
    {
        errors.add("drain-delay", "expected at most --drain-timeout, which it is part of");
    }
    if let (Some(Some(_)), Some(None)) = (&values.fleet, &values.redis_url) {
        errors.add("fleet", "expected --redis-url as well: the replicas meet in Redis");
    }
    if let (Some(Some(limit)), Some(ttl)) = (values.device_limit, values.device_ttl)
        && Duration::from_secs(limit.seconds_max().into()) > ttl
    {
        // A device that is forgotten owes nothing when it comes again.
        errors.add("device-limit", "expected no more seconds than --device-ttl has");
    }
    if let (Some(MetricsAuth::On), Some(None), Some(None), Some(None)) =
        (values.metrics_auth, &values.tokens, &values.read_token, &values.admin_token)
    {
        errors.add("metrics-auth", "expected --tokens, --read-token or --admin-token as well");
    }
    if let (Some(Some(_)), Some(None)) = (&values.spill, &values.redis_url) {
        errors
            .add("spill", "expected --redis-url as well: the embedded store ends with the process");
    }
    check_names(values, errors);
}

/// Checks that TLS has all that it needs, and that nothing is given in vain.
fn check_tls(values: &Values, errors: &mut ConfigErrors) {
    let (Some(listen), Some(certificate), Some(key), Some(client_ca)) =
        (&values.tls_listen, &values.tls_cert, &values.tls_key, &values.tls_client_ca)
    else {
        return;
    };
    if !listen.is_empty() {
        if values.engine == Some(Engine::MayMinihttp) {
            errors.add("tls-listen", "the engine may-minihttp speaks no TLS");
        }
        for (flag, file) in [("tls-cert", certificate), ("tls-key", key)] {
            if file.is_none() {
                errors.add("tls-listen", format!("expected --{flag} as well"));
            }
        }
        return;
    }
    for (flag, file) in [("tls-cert", certificate), ("tls-key", key), ("tls-client-ca", client_ca)]
    {
        if file.is_some() {
            errors.add(flag, "expected --tls-listen as well: without it nobody speaks TLS");
        }
    }
}

/// Checks that no member is two things.
fn check_names(values: &Values, errors: &mut ConfigErrors) {
    let lists =
        [("device-name", &values.device_names), ("timestamp-name", &values.timestamp_names)];
    let lists = lists.map(|(flag, names)| (flag, names.as_deref().unwrap_or_default()));
    for (flag, others) in lists {
        let fields = values.fields.iter().flatten().map(|field| field.name.as_str());
        for name in in_both(fields, others) {
            errors.add(
                "fields",
                format!("expected a name other than those of --{flag}, found {name:?}"),
            );
        }
    }
    let [(flag, devices), (_, times)] = lists;
    for name in in_both(times.iter().map(String::as_str), devices) {
        let expected = format!("expected a name other than those of --{flag}, found {name:?}");
        errors.add("timestamp-name", expected);
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::flag::Flag;
    use crate::config::flags::FLAGS;
    use crate::schema::Schema;

    fn check(arguments: &[&str]) -> Result<Config, ConfigErrors> {
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
            "fields = cpu=0..1e6,rps=0..1e12",
            "device-name = device_id",
            "timestamp-name = timestamp",
            "device-tag = device_id,host",
            "window = 50",
            "z-threshold = 2",
            "min-samples = 16",
            "cooldown = 50",
            "judge-duplicates = off",
            "max-devices = 100000",
            "device-ttl = 1h",
            "device-limit = (not set)",
            "max-body = 1MiB",
            "max-connections = auto",
            "idle-timeout = 1m 15s",
            "request-timeout = 10s",
            "max-connection-age = 5m",
            "drain-delay = 0s",
            "drain-timeout = 20s",
            "fleet = (not set)",
            "ingest-token = (not set)",
            "instance = pod-a",
            "log-format = text",
            "log-level = info",
        ] {
            assert!(
                printed.lines().any(|printed| printed.starts_with(&format!("{line}  # "))),
                "{line} in\n{printed}"
            );
        }
    }

    #[test]
    fn all_errors_are_reported_at_once() {
        let errors = check(&[
            "--listen=here",
            "--workers=0",
            "--pin=maybe",
            "--store-ttl=0s",
            "--store-queue=1B",
            "--window=1",
            "--cooldown=-1",
            "--judge-duplicates=yes",
            "--z-threshold=nan",
            "--max-body=1GiB",
            "--idle-timeout=soon",
            "--log-format=xml",
            "--redis-prefix=a{b}",
            "--fields=a b,c=1",
            "--device-name=",
            "--timestamp-name=a\\b",
            "--device-tag=a,A",
        ])
        .unwrap_err();
        let text = errors.to_string();
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
            "judge-duplicates",
            "redis-prefix",
            "fields",
            "device-name",
            "timestamp-name",
            "device-tag",
        ] {
            assert!(text.contains(&format!("corepulse: --{flag}: ")), "{flag} in\n{text}");
        }
        assert_eq!(text.lines().count(), 18, "{text}");
    }

    #[test]
    fn relations_between_flags_are_checked() {
        let text = |arguments: &[&str]| check(arguments).unwrap_err().to_string();
        assert!(text(&["--window=10", "--min-samples=11"]).contains("--min-samples"));
        assert!(check(&["--window=10", "--min-samples=10"]).is_ok());
        assert!(text(&["--drain-delay=30s"]).contains("--drain-delay"));
        assert!(text(&["--fleet=a"]).contains("--fleet: expected --redis-url"));
        assert!(text(&["--window-save=9s"]).contains("--window-save: expected --fleet"));
        assert!(check(&["--fleet=a", "--redis-url=redis://localhost"]).is_ok());
        assert!(text(&["--spill=/tmp"]).contains("--spill: expected --redis-url"));
        assert!(check(&["--spill=/tmp", "--redis-url=redis://localhost"]).is_ok());
        let limit = ["--device-limit=9:60", "--device-ttl=59s"];
        assert_eq!(
            text(&limit),
            "corepulse: --device-limit: expected no more seconds than --device-ttl has\n"
        );
        assert!(check(&["--device-limit=9:60", "--device-ttl=60s"]).is_ok());
        assert_eq!(text(&["--device-limit=9,8:60,7:60", "--device-ttl=1s"]).lines().count(), 2);
        assert!(text(&["--metrics-auth=on"]).contains("--metrics-auth: expected --tokens"));
        assert!(check(&["--metrics-auth=on", "--read-token=a"]).is_ok());
        // A value that could not be read is blamed alone, not with the values beside it.
        assert_eq!(text(&["--window=many"]).lines().count(), 1);
        assert_eq!(text(&["--drain-timeout=x", "--drain-delay=5s"]).lines().count(), 1);
    }

    #[test]
    fn no_member_is_two_things() {
        let text = |arguments: &[&str]| check(arguments).err().unwrap_or_default().to_string();
        let expected = "expected a name other than those of";
        let both = text(&["--fields=a,TS,Id", "--device-name=ID,x", "--timestamp-name=ts,X"]);
        let lines = [
            format!("corepulse: --fields: {expected} --device-name, found \"Id\"\n"),
            format!("corepulse: --fields: {expected} --timestamp-name, found \"TS\"\n"),
            format!("corepulse: --timestamp-name: {expected} --device-name, found \"X\"\n"),
        ];
        assert_eq!(both, lines.concat());
        // Not even one that is not used.
        assert!(text(&["--device-name=deviceId", "--fields=device_id"]).contains("--fields: "));
        let swapped = text(&["--device-name=timestamp", "--timestamp-name=device_id"]);
        assert!(swapped.contains("--device-name: ") && swapped.contains("--timestamp-name: "));
        // Tags are none of the members.
        let used = ["--device-tag=a,ts", "--device-name=a", "--fields=ts", "--timestamp-name=time"];
        assert_eq!(text(&used), "");
    }

    #[test]
    fn the_standard_schema_is_that_of_the_defaults() {
        let Config { fields, device_names, timestamp_names, device_tags, .. } = check(&[]).unwrap();
        let made = Schema::leak(&fields, [&device_names, &timestamp_names, &device_tags]);
        let describe = |schema: &'static Schema| {
            let fields = schema.fields().iter().map(|field| {
                let numbers = (field.index(), field.least_deviation(), field.magnitude_max());
                (field.name(), field.is_required(), field.expectation(), numbers)
            });
            let names = [&schema.device_names, &schema.timestamp_names, &schema.device_tags];
            (fields.collect::<Vec<_>>(), names, schema.required_set(), &schema.example)
        };
        assert_eq!(describe(made), describe(Schema::standard()));
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
                let errors = check(&[&format!("{flag}={wrong}")]).unwrap_err().to_string();
                assert!(errors.contains(&format!("{flag}: expected visible")), "{errors}");
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

    #[test]
    fn the_table_of_flags_has_a_row_for_each() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operating.md");
        let text = std::fs::read_to_string(path).unwrap();
        for row in FLAGS.iter().map(Flag::row) {
            assert!(text.contains(&row), "a row is missing:\n{row}");
        }
    }
}
