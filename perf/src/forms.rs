//! Compares what an event costs in each form of a body, and with other fields: CPU time of the core
//! that decodes, scores and stores it, without a kernel.
//!
//! Each case has a server of one core of its own ([`crate::offline`]), warmed up with full windows
//! of 1,000 devices; one case has a million, in an order far from that in which they came, which
//! have some events each. In each round every case takes the same number of batches by turns, so
//! that a noisy minute hits all of them; ratios are within a round.

use crate::generator::number;
use crate::offline::{OfflineServer, START_MS, memory_store};
use crate::record::{self, Records};
use crate::summary::Spread;
use crate::traffic::gzip;
use clap::Parser;
use corepulse::schema::{FieldOptions, Schema};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use std::fmt::Write as _;
use std::process::ExitCode;

/// Events of a batch, each of another device.
const EVENTS: usize = 1000;

/// Events of each device that fill the windows and the store.
const WARM_UP: usize = 60;

/// Devices that are in no cache, and the events of each before the measurement.
const MANY_DEVICES: usize = 1_000_000;
const WARM_UP_OF_MANY: usize = 18;

/// From one device to the next one of many: the golden section, so that no two of a batch are
/// neighbours. It has no divisor in common with their number.
const STEP: usize = 618_033;

/// Different bodies of a case; their timestamps go round.
const BODIES: usize = 16;

/// Measures what an event costs in each form of a body and with other fields.
#[derive(Debug, Parser)]
struct Options {
    /// Rounds, in each of which every case has its turn.
    #[arg(long, default_value_t = 9)]
    rounds: u16,
    /// Batches of 1,000 events in a turn.
    #[arg(long, default_value_t = 100)]
    batches: u32,
    #[command(flatten)]
    records: Records,
}

/// A form of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Ndjson,
    Array,
    Gzip,
    Csv,
    LineProtocol,
}

/// A case: a form, and the fields.
struct Case {
    name: &'static str,
    form: Form,
    fields: usize,
    devices: usize,
    /// True if every field is optional and each event has three of them.
    has_gaps: bool,
}

const CASES: [Case; 8] = [
    Case::of("NDJSON, two fields", Form::Ndjson, 2),
    Case::of("array, two fields", Form::Array, 2),
    Case::of("gzip NDJSON, two fields", Form::Gzip, 2),
    Case::of("CSV, two fields", Form::Csv, 2),
    Case::of("line protocol, two fields", Form::LineProtocol, 2),
    Case::of("NDJSON, eight fields", Form::Ndjson, 8),
    Case { has_gaps: true, ..Case::of("NDJSON, three of sixteen", Form::Ndjson, 16) },
    Case { devices: MANY_DEVICES, ..Case::of("NDJSON, a million devices", Form::Ndjson, 2) },
];

impl Case {
    const fn of(name: &'static str, form: Form, fields: usize) -> Self {
        Self { name, form, fields, devices: EVENTS, has_gaps: false }
    }

    /// Returns its schema; the names are as long as real ones.
    fn schema(&self) -> &'static Schema {
        let options = |name: &str| FieldOptions {
            name: name.to_owned(),
            is_required: !self.has_gaps,
            range: Some(0.0..=1e12),
            least_deviation: 0.0,
        };
        let fields: Vec<_> = NAMES.iter().take(self.fields).map(|name| options(name)).collect();
        let names = ["device_id", "timestamp"].map(str::to_owned);
        let [device, time] = names.each_ref().map(std::slice::from_ref);
        Schema::leak(&fields, [device, time, device])
    }

    /// Returns the indexes of the fields that an event of this device has.
    fn present(&self, device: usize) -> impl Iterator<Item = usize> {
        let (first, count) = if self.has_gaps { (device % 14, 3) } else { (0, self.fields) };
        first..first + count
    }

    /// Returns the requests of one event of each device, at this time. They have the devices in
    /// their order or, if `is_shuffled`, in another one.
    fn requests(&self, time_ms: u64, is_shuffled: bool) -> Vec<Vec<u8>> {
        let step = if is_shuffled { STEP } else { 1 };
        let requests = (0..self.devices).step_by(EVENTS).map(|first| {
            let devices = (first..first + EVENTS).map(|number| number * step % self.devices);
            self.request(devices, time_ms)
        });
        requests.collect()
    }

    /// Returns a request of one event of each of these devices.
    fn request(&self, devices: impl Iterator<Item = usize>, time_ms: u64) -> Vec<u8> {
        let mut text = String::new();
        if self.form == Form::Csv {
            let names = NAMES.iter().take(self.fields);
            text =
                names.fold("device_id,timestamp".to_owned(), |head, name| head + "," + name) + "\n";
        }
        for device in devices {
            self.write_event(&mut text, device, time_ms);
        }
        let (path, media_type) = match self.form {
            Form::Ndjson | Form::Gzip => ("/metrics", "application/x-ndjson"),
            Form::Array => ("/metrics", "application/json"),
            Form::Csv => ("/metrics", "text/csv"),
            Form::LineProtocol => ("/api/v2/write?precision=ms", "text/plain"),
        };
        let (body, coding) = match self.form {
            Form::Array => (format!("[{}]", text.trim_end().replace('\n', ",")).into_bytes(), ""),
            Form::Gzip => (gzip(text.as_bytes()), "Content-Encoding: gzip\r\n"),
            _ => (text.into_bytes(), ""),
        };
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: {media_type}\r\n{coding}\
             Content-Length: {length}\r\n\r\n"
        );
        [head.into_bytes(), body].concat()
    }

    fn write_event(&self, text: &mut String, device: usize, time_ms: u64) {
        // Up and down a little, so that nothing is anomalous.
        let value = |field: usize| 40 + (device + field + time_ms as usize / 1000) % 4;
        let values =
            self.present(device).map(|field| (NAMES.get(field).unwrap_or(&""), value(field)));
        let written = match self.form {
            Form::Ndjson | Form::Array | Form::Gzip => {
                let members = values.map(|(name, value)| format!(",\"{name}\":{value}.25"));
                let members: String = members.collect();
                writeln!(
                    text,
                    "{{\"device_id\":\"device-{device:07}\",\"timestamp\":{time_ms}{members}}}"
                )
            }
            Form::Csv => {
                let cells: String = values.map(|(_, value)| format!(",{value}.25")).collect();
                writeln!(text, "device-{device:07},{time_ms}{cells}")
            }
            Form::LineProtocol => {
                let fields: Vec<_> =
                    values.map(|(name, value)| format!("{name}={value}.25")).collect();
                writeln!(text, "m,device_id=device-{device:07} {} {time_ms}", fields.join(","))
            }
        };
        // A string takes what is written.
        let _ = written;
    }
}

const NAMES: [&str; 16] = [
    "cpu",
    "rps",
    "memory",
    "disk_free",
    "load",
    "temperature",
    "humidity",
    "battery",
    "pressure",
    "voltage",
    "current",
    "power",
    "noise",
    "light",
    "co2",
    "rssi",
];

/// A case under measurement.
struct Running {
    server: OfflineServer,
    requests: Vec<Vec<u8>>,
    /// The number of those that were sent.
    sent: usize,
}

impl Running {
    fn start(case: &Case) -> Result<Self, String> {
        let schema = case.schema();
        let mut server = OfflineServer::new(|ids| memory_store(schema, ids), schema);
        let time = |number: usize| START_MS - 100_000 + 1000 * number as u64;
        let mut send_all = |requests: &[Vec<u8>]| {
            for request in requests {
                let answer = String::from_utf8_lossy(server.turn(request)).into_owned();
                if !answer.starts_with("HTTP/1.1 20") {
                    return Err(format!("{}: {answer}", case.name));
                }
            }
            Ok(())
        };
        let requests = if case.devices > EVENTS {
            send_all(&case.requests(time(0), false))?;
            for number in 1..WARM_UP_OF_MANY {
                send_all(&case.requests(time(number), true))?;
            }
            // Two, as an event with the timestamp of its device's last one is a repeated one.
            let rounds = WARM_UP_OF_MANY..WARM_UP_OF_MANY + 2;
            rounds.flat_map(|number| case.requests(time(number), true)).collect()
        } else {
            let all = (0..BODIES).flat_map(|number| case.requests(time(number), false));
            let requests: Vec<_> = all.collect();
            for _ in (0..WARM_UP).step_by(BODIES) {
                send_all(&requests)?;
            }
            requests
        };
        Ok(Self { server, requests, sent: 0 })
    }

    /// Returns the nanoseconds of CPU time that an event takes.
    fn measure(&mut self, batches: u32) -> Result<f64, String> {
        let accepted = |server: &OfflineServer| server.state().store.stats().totals.accepted;
        let before = accepted(&self.server);
        let start = cpu_ns();
        for request in self.requests.iter().cycle().skip(self.sent).take(batches as usize) {
            self.server.turn(request);
        }
        self.sent = (self.sent + batches as usize) % self.requests.len();
        let spent = cpu_ns() - start;
        let events = accepted(&self.server) - before;
        if events != u64::from(batches) * EVENTS as u64 {
            return Err(format!("{events} events were accepted of {batches} batches"));
        }
        Ok(spent / number(events))
    }
}

/// Returns the nanoseconds of CPU time of this thread so far.
fn cpu_ns() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

pub fn main() -> ExitCode {
    let options = Options::parse();
    record::end("forms", measure(&options))
}

fn measure(options: &Options) -> Result<(), String> {
    let mut running = CASES.iter().map(Running::start).collect::<Result<Vec<_>, _>>()?;
    let mut rounds: Vec<Vec<f64>> = Vec::new();
    for _ in 0..options.rounds {
        let all = running.iter_mut().map(|case| case.measure(options.batches));
        rounds.push(all.collect::<Result<_, _>>()?);
    }
    println!("| case | CPU ns an event | ratio to the first |\n|---|---|---|");
    for (at, case) in CASES.iter().enumerate() {
        let of = |round: &Vec<f64>| round.get(at).copied().unwrap_or(f64::NAN);
        let spent = Spread::of(rounds.iter().map(of));
        let first = |round: &Vec<f64>| round.first().copied().unwrap_or(f64::NAN);
        let ratio = Spread::of(rounds.iter().map(|round| of(round) / first(round)));
        println!("| {} | {} | {} |", case.name, spent.text(0), ratio.text(2));
    }
    let rows = rounds.iter().enumerate().flat_map(|(round, all)| {
        CASES.iter().zip(all).map(move |(case, cpu_ns)| {
            json!({ "round": round, "case": case.name, "cpu_ns_per_event": cpu_ns })
        })
    });
    options.records.keep("forms", json!({ "measurements": rows.collect::<Vec<_>>() }))
}
