//! The house style as a test: sizes, heads, the direction of imports, one door per outside crate.
//!
//! The tables here are the layout that `ARCHITECTURE.md` describes. A fault names file, line and
//! rule. The rules themselves are tested beside their code, on samples in memory.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    unreachable_pub,
    reason = "a check of our own files: a panic is its way to say no"
)]

#[path = "tidy/doors.rs"]
mod doors;
#[path = "tidy/layout.rs"]
mod layout;
#[path = "tidy/paths.rs"]
mod paths;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/text.rs"]
mod text;
#[path = "tidy/tokens.rs"]
mod tokens;

use doors::{Door, Reserved};
use layout::Layout;
use source::{Source, files_under};
use std::fs;
use std::path::Path;

/// What may import what: a file imports only from rows below its own.
const LAYOUT: Layout = Layout {
    rows: &[
        (6, &["main"]),
        (5, &["server"]),
        (4, &["engine", "control"]),
        (3, &["api"]),
        // Four islands: none imports another.
        (2, &["http", "analytics", "store", "telemetry"]),
        (1, &["metric"]),
        (0, &["limits", "config", "clock", "sync"]),
    ],
    // The options' defaults and bounds are limits.
    sideways: &[("config", "limits")],
};

/// Each outside crate and the files of `src/` that may name it, or folders with a final `/`.
const DOORS: &[Door] = &[
    ("clap", &["config/", "main.rs"]),
    ("core_affinity", &["engine/placement.rs"]),
    ("crc", &["store/redis/cluster.rs"]),
    ("crossbeam", &["sync.rs", "control.rs", "control/", "store/redis/"]),
    ("fastrand", &["engine/percore.rs", "http/handler.rs", "store/redis/"]),
    ("flate2", &["http/accept_encoding.rs", "http/content_coding/", "telemetry/profile.rs"]),
    ("form_urlencoded", &["http/request.rs"]),
    ("foldhash", &["analytics/roster.rs", "store/key.rs"]),
    ("hashbrown", &["analytics/roster.rs"]),
    ("hdrhistogram", &["telemetry/latency.rs"]),
    ("httparse", &["http/head.rs"]),
    ("httpdate", &["http/date.rs"]),
    ("humantime", &["config/"]),
    ("inferno", &["telemetry/profile/flamegraph.rs"]),
    ("itoa", &["http/response.rs", "metric/batch.rs", "api/ingest.rs", "store/packing.rs"]),
    ("lexical-core", &["metric/number.rs"]),
    ("may", &["engine/may_minihttp.rs", "engine/may_minihttp/letterbox.rs"]),
    ("may_minihttp", &["engine/may_minihttp.rs", "engine/may_minihttp/exchange.rs"]),
    ("memchr", &["http/content_coding/", "http/head.rs", "metric/", "store/redis/cluster.rs"]),
    ("miniz_oxide", &["http/content_coding/inflate.rs"]),
    ("mio", &["engine/"]),
    ("parking_lot", &["sync.rs"]),
    ("parse-size", &["config/formats.rs"]),
    ("pprof", &["telemetry/profile.rs"]),
    ("prometheus", &["telemetry/exposition.rs"]),
    ("redis", &["config/redis_url.rs", "config/redis_url/", "store/redis/"]),
    ("rustix", &["engine/descriptors.rs", "engine/listener.rs"]),
    ("rustls", &["store/redis/stream.rs", "store/redis/tls.rs"]),
    ("rustls-native-certs", &["store/redis/tls.rs"]),
    ("ruzstd", &["http/content_coding/zstd.rs"]),
    ("serde", &["metric/object.rs"]),
    ("signal-hook", &["main.rs"]),
    ("slab", &["engine/connections.rs", "engine/may_minihttp/peers.rs"]),
    (
        "socket2",
        &[
            "engine/listener.rs",
            "engine/listener/unix.rs",
            "engine/healthcheck.rs",
            "engine/connection/transfer.rs",
            "store/redis/stream.rs",
        ],
    ),
    ("sonic-rs", &["metric/object.rs"]),
    ("strsim", &["config/"]),
    ("thiserror", &["metric/"]),
    ("time", &["metric/timestamp.rs"]),
    ("tracing", &["telemetry/log.rs", "telemetry/log/"]),
    ("tracing-subscriber", &["telemetry/log.rs", "telemetry/log/"]),
    ("url", &["config/cors_origins.rs"]),
];

/// Where sockets and threads live; addresses are plain values.
const RESERVED: &[Reserved] = &[
    Reserved {
        path: &["std", "net"],
        free: &[
            "AddrParseError",
            "IpAddr",
            "Ipv4Addr",
            "Ipv6Addr",
            "SocketAddr",
            "SocketAddrV4",
            "SocketAddrV6",
        ],
        files: &["engine/", "engine.rs", "control/", "control.rs", "server.rs", "store/redis/"],
    },
    Reserved { path: &["std", "os"], free: &[], files: &["engine/"] },
    Reserved {
        path: &["std", "thread"],
        free: &["available_parallelism"],
        files: &[
            "engine/",
            "engine.rs",
            "control/",
            "control.rs",
            "server.rs",
            "store/redis/",
            "main.rs",
        ],
    },
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file of the checkout, with those marked that are tests as a whole.
fn rust_files() -> (Vec<Source>, Vec<String>) {
    let mut sources = Vec::new();
    for folder in ["src", "tests", "examples", "perf", "benches", "fuzz", "testkit"] {
        sources.extend(files_under(root(), folder, &[".rs"]));
    }
    let dead = layout::reach(&mut sources);
    (sources, dead)
}

fn check(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn files_keep_the_style() {
    let (sources, _) = rust_files();
    assert!(sources.len() > 10, "the walk found {} files only", sources.len());
    check(&sources.iter().flat_map(text::faults).collect::<Vec<_>>());
}

#[test]
fn scripts_keep_the_line_length() {
    let mut sources = Vec::new();
    for folder in ["ci", ".ci", "perf", "locust"] {
        sources.extend(files_under(root(), folder, &["", ".sh", ".py"]));
    }
    let is_script =
        |source: &&Source| source.text.starts_with("#!") || source.path.ends_with(".py");
    let makefile = fs::read_to_string(root().join("Makefile")).expect("there is a Makefile");
    let makefile = Source::new("Makefile", &makefile);
    let scripts = sources.iter().filter(is_script).chain([&makefile]);
    check(&scripts.flat_map(text::long_lines).collect::<Vec<_>>());
}

#[test]
fn every_file_is_part_of_the_program() {
    check(&rust_files().1);
}

#[test]
fn imports_point_downwards() {
    let (sources, _) = rust_files();
    check(&sources.iter().flat_map(|source| LAYOUT.faults(source)).collect::<Vec<_>>());
}

#[test]
fn outside_crates_are_named_at_their_door_only() {
    let (sources, _) = rust_files();
    check(&sources.iter().flat_map(|s| doors::trespasses(s, DOORS)).collect::<Vec<_>>());
}

#[test]
fn every_door_is_used_and_every_dependency_has_one() {
    let (sources, _) = rust_files();
    let text = fs::read_to_string(root().join("Cargo.toml")).expect("there is a manifest");
    check(&doors::stale(&sources, DOORS, &Source::new("Cargo.toml", &text)));
}

#[test]
fn sockets_threads_and_the_time_have_their_places() {
    let (sources, _) = rust_files();
    let mut faults = Vec::new();
    for source in &sources {
        faults.extend(doors::reserved(source, RESERVED));
        faults.extend(doors::clock_readings(source));
        faults.extend(doors::sleeps(source));
    }
    check(&faults);
}
