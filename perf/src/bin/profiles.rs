//! Twenty profiles in a row of a server under full load: none may end it, and none may cost a
//! request.
//!
//! Stacks are walked in a signal handler, on a thread that may be anywhere. Whether that is safe is
//! seen by doing it: single metrics and batches by turns keep the core busy, while profiles and
//! flamegraphs are asked for over HTTP, one after the other. Exits with 1 where a request fails or
//! a profile is not one.
//!
//! ```text
//! cargo build --release --workspace && target/release/profiles
//! ```

use clap::Parser;
use corepulse_perf::cores::Cores;
use corepulse_perf::devices::Devices;
use corepulse_perf::drive::{Generator, Load};
use corepulse_perf::record::{self as records, Records};
use corepulse_perf::scenario::Scenario;
use corepulse_perf::server::Kind;
use corepulse_perf::usage::Usage;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use testkit::Server;

/// Looking up the names of a server with all its symbols takes seconds at first.
const NAMES_MAX: Duration = Duration::from_secs(60);

const CONNECTIONS: u16 = 64;

/// Takes profiles of a server under load.
#[derive(Debug, Parser)]
struct Options {
    /// How many, one after the other.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    profiles: u32,
    /// How long each takes samples.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Where the last of each kind is kept, to be opened.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// The record's name after its date.
    #[arg(long, default_value = "profiles")]
    name: String,
    #[command(flatten)]
    records: Records,
}

/// Both forms that a profile is served in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Pprof,
    Flamegraph,
}

/// One profile that came.
#[derive(Debug)]
struct Taken {
    form: Form,
    /// From the request to the last byte.
    took: Duration,
    bytes: usize,
    /// Of the server, when it had been taken.
    resident_bytes: u64,
}

/// What was sent meanwhile; every request was answered with 202.
#[derive(Debug, Default)]
struct Sent {
    requests: u64,
    accepted: u64,
}

impl Form {
    const fn path(self) -> &'static str {
        match self {
            Self::Pprof => "/debug/pprof/profile",
            Self::Flamegraph => "/debug/pprof/flamegraph",
        }
    }

    const fn file(self) -> &'static str {
        match self {
            Self::Pprof => "profile.pb.gz",
            Self::Flamegraph => "flamegraph.svg",
        }
    }

    /// Whether this is one, and not an empty one.
    fn is_in(self, body: &[u8]) -> bool {
        match self {
            // RFC 1952, section 2.3.1: what gzip begins with.
            Self::Pprof => body.starts_with(&[0x1f, 0x8b]) && body.len() > 1024,
            Self::Flamegraph => {
                let text = String::from_utf8_lossy(body);
                text.contains("<svg") && text.contains("corepulse::api::ingest")
            }
        }
    }
}

fn main() -> ExitCode {
    records::end("profiles", measure(&Options::parse()))
}

fn measure(options: &Options) -> Result<(), String> {
    let arguments = ["--workers", "1", "--pin", "off"];
    let cores = Cores::share(1, 1);
    let server = Kind::Corepulse.start(&arguments, cores.server)?;
    let generator = Generator::new(cores.generator)?;
    let before = Usage::of(server.id())?.resident_bytes;
    let is_over = AtomicBool::new(false);
    let (taken, sent) = thread::scope(|scope| {
        let load = scope.spawn(|| load(&generator, server.address, &is_over));
        let taken = take_all(options, &server);
        is_over.store(true, Ordering::Relaxed);
        (taken, load.join().unwrap_or_else(|_| Err("the load panicked".to_owned())))
    });
    let (taken, sent) = (taken?, sent?);
    print!("{}", table(before, &taken, &sent));
    options.records.keep(&options.name, record(before, &taken, &sent))
}

/// Posts single metrics and batches by turns, as many as are answered.
fn load(generator: &Generator, address: SocketAddr, is_over: &AtomicBool) -> Result<Sent, String> {
    let mut sent = Sent::default();
    for scenario in [Scenario::Single, Scenario::Ndjson].into_iter().cycle() {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let load = Load {
            scenario,
            devices: Devices::default(),
            connections: CONNECTIONS,
            threads: 1,
            seconds: 1,
            rate: None,
        };
        let drive = generator.drive(address, &load, &mut 0)?;
        if let Some(faults) = drive.faults {
            return Err(faults);
        }
        sent.requests += drive.requests;
        sent.accepted += drive.requests * u64::try_from(scenario.events_per_request()).unwrap_or(1);
    }
    Ok(sent)
}

/// The body of a page that may take long.
fn fetch(address: SocketAddr, path: &str, patience: Duration) -> Result<Vec<u8>, String> {
    let ask = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(patience))?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    };
    let mut answer = ask().map_err(|e| format!("{path}: {e}"))?;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    match end {
        Some(end) if answer.starts_with(b"HTTP/1.1 200 ") => Ok(answer.split_off(end + 4)),
        _ => Err(format!("{path}: {}", String::from_utf8_lossy(&answer))),
    }
}

fn take_all(options: &Options, server: &Server) -> Result<Vec<Taken>, String> {
    let forms = [Form::Pprof, Form::Flamegraph].into_iter().cycle();
    let patience = Duration::from_secs(options.seconds) + NAMES_MAX;
    let take = |(_, form): (u32, Form)| {
        let path = format!("{}?seconds={}", form.path(), options.seconds);
        let asked = Instant::now();
        let body = fetch(server.address, &path, patience)?;
        let took = asked.elapsed();
        if !form.is_in(&body) {
            return Err(format!("{path}: {} bytes that are no profile", body.len()));
        }
        if let Some(folder) = &options.keep {
            fs::create_dir_all(folder)
                .and_then(|()| fs::write(folder.join(form.file()), &body))
                .map_err(|e| format!("{}: {e}", folder.display()))?;
        }
        let resident_bytes = Usage::of(server.id())?.resident_bytes;
        Ok(Taken { form, took, bytes: body.len(), resident_bytes })
    };
    (0..options.profiles).zip(forms).map(take).collect()
}

fn table(before: u64, taken: &[Taken], sent: &Sent) -> String {
    let mib = |bytes: u64| bytes / (1024 * 1024);
    let mut text = "| profile | took | bytes | resident MiB |\n|---|---|---|---|\n".to_owned();
    for Taken { form, took, bytes, resident_bytes } in taken {
        text += &format!(
            "| {} | {:.2} s | {bytes} | {} |\n",
            form.file(),
            took.as_secs_f64(),
            mib(*resident_bytes)
        );
    }
    let Sent { requests, accepted } = sent;
    text + &format!(
        "\n{} profiles beside {requests} requests with {accepted} events, none failed; {} MiB were \
         resident before\n",
        taken.len(),
        mib(before)
    )
}

fn record(before: u64, taken: &[Taken], sent: &Sent) -> Value {
    let row = |taken: &Taken| {
        json!({
            "form": taken.form.file(),
            "took_s": taken.took.as_secs_f64(),
            "bytes": taken.bytes,
            "resident_bytes": taken.resident_bytes,
        })
    };
    json!({
        "requests": sent.requests,
        "events": sent.accepted,
        "failed": 0,
        "resident_bytes_before": before,
        "profiles": taken.iter().map(row).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_are_consistent() {
        use clap::CommandFactory as _;
        Options::command().debug_assert();
    }

    #[test]
    fn what_is_no_profile_is_told() {
        assert!(!Form::Pprof.is_in(&[0; 4096]));
        assert!(!Form::Flamegraph.is_in(b"<svg>No CPU time was used meanwhile.</svg>"));
        assert!(
            Form::Flamegraph
                .is_in(b"<svg><title>corepulse::api::ingest::take (3 samples)</title></svg>")
        );
    }
}
