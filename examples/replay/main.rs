//! Replays CSV series as devices against a running server, and accounts for every event.
//!
//! Each `--cpu` file is a device named after it, the rows of `--rps` beside its own; or `--csv`
//! names tables of your own, whose headers say what their columns hold, and `--fields` which of
//! them are sent. A device always uses the same connection, so its order is kept. The exit code is
//! 0 only when every request was answered with 202 and the server accepted every event.
//!
//! ```text
//! cargo run --release --example replay -- --form ndjson --batch 500 --connections 4
//! cargo run --release --example replay -- --csv fleet.csv --column rps=requests
//! cargo run --release --example replay -- --csv rooms.csv --fields 'temperature,humidity?'
//! ```

mod bodies;
mod client;
mod fields;
mod report;
mod series;
mod table;

use bodies::{Body, Form, Members};
use clap::Parser;
use client::{Client, Target};
use fields::Fields;
use indicatif::{ProgressBar, ProgressStyle};
use report::Report;
use series::Device;
use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};
use table::{Columns, Renamed, Table};

/// Posts CSV series as devices to a running server, and accounts for every event.
#[derive(Debug, Parser)]
#[command(name = "replay")]
struct Options {
    /// The server.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// Files of `timestamp,value`; each is a device named after the file.
    #[arg(long, num_args = 1.., value_name = "FILE", default_values = [
        "tests/data/nab/ec2_cpu_utilization_24ae8d.csv",
        "tests/data/nab/ec2_cpu_utilization_5f5533.csv",
        "tests/data/nab/ec2_cpu_utilization_825cc2.csv",
        "tests/data/nab/rds_cpu_utilization_cc0c53.csv",
    ])]
    cpu: Vec<PathBuf>,
    /// The file whose values go beside them as `rps`, row by row.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "tests/data/nab/elb_request_count_8c0756.csv"
    )]
    rps: PathBuf,
    /// Tables of your own in their place: the columns of the fields, and perhaps `timestamp` and
    /// `device_id`, are found by the header, in whatever case and order. Without `device_id` a
    /// table is a device named after its file.
    #[arg(long, num_args = 1.., value_name = "FILE", conflicts_with_all = ["cpu", "rps"])]
    csv: Vec<PathBuf>,
    /// The fields of a table, in the words of the server's `--fields`: cells of those with a `?`
    /// may be empty. Without a list, the bare flag takes all columns of numbers.
    #[arg(
        long,
        env = "COREPULSE_FIELDS",
        num_args = 0..=1,
        value_name = "LIST",
        default_value = FIELDS,
        default_missing_value = fields::NUMERIC
    )]
    fields: Fields,
    /// The header of a column that is called otherwise there, such as `cpu=load`.
    #[arg(long, num_args = 1.., value_name = "MEMBER=HEADER", requires = "csv")]
    column: Vec<Renamed>,
    /// The server's `--device-name`, of several the first.
    #[arg(long, env = "COREPULSE_DEVICE_NAME", value_name = "NAME", default_value = "device_id",
        value_parser = first)]
    device_name: String,
    /// The server's `--timestamp-name`, of several the first.
    #[arg(long, env = "COREPULSE_TIMESTAMP_NAME", value_name = "NAME",
        default_value = "timestamp", value_parser = first)]
    timestamp_name: String,
    /// Connections; a device always uses the same one.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    connections: u16,
    /// How a request carries its events.
    #[arg(long, value_enum, default_value_t = Form::Single)]
    form: Form,
    /// Events of one array or NDJSON request.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    batch: u16,
    /// Compress the bodies.
    #[arg(long)]
    gzip: bool,
    /// Events a second over all connections; without it, as fast as the server answers. Latencies
    /// then count from when a request was due, so that a slow server cannot hide its queue.
    #[arg(long, value_parser = rate)]
    rate: Option<f64>,
    /// The server's `--ingest-token`.
    #[arg(long, env = "COREPULSE_INGEST_TOKEN", hide_env_values = true)]
    ingest_token: Option<String>,
    /// Permit a server on another machine.
    #[arg(long)]
    allow_remote: bool,
}

/// The fields of the recorded series, and of a table for which no others are listed.
const FIELDS: &str = "cpu,rps";

/// Returns the first name of a list.
fn first(text: &str) -> Result<String, String> {
    let name = text.split(',').next().unwrap_or_default().trim();
    if name.is_empty() { Err("expected a name".to_owned()) } else { Ok(name.to_owned()) }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| "expected a number of events above 0".to_owned())
}

fn main() -> ExitCode {
    match replay(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("replay: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Runs once. Returns true if every event was accepted.
fn replay(options: &Options) -> Result<bool, String> {
    let target = Target::parse(&options.url, options.allow_remote)?;
    let mut shares = vec![Vec::new(); usize::from(options.connections)];
    let members = Members {
        device_id: options.device_name.clone(),
        timestamp: options.timestamp_name.clone(),
    };
    let devices = if options.csv.is_empty() {
        if !options.fields.has_all(&FIELDS.parse()?) {
            return Err(format!(
                "the recorded series have {FIELDS}; --csv names a table of others"
            ));
        }
        devices(&options.cpu, &series::read(&options.rps)?)?
    } else {
        let (fields, renamed) = (&options.fields, &options.column);
        tables(&options.csv, &Columns { members: &members, fields, renamed })?
    };
    let used = shares.len().min(devices.len());
    if used < shares.len() {
        // A device keeps to one connection, or its events could overtake one another.
        eprintln!("replay: connections used: {used}, one for each device");
    }
    shares.truncate(used);
    for (number, device) in devices.into_iter().enumerate() {
        if let Some(share) = shares.get_mut(number % used) {
            share.push(device);
        }
    }
    let total: usize = shares.iter().flatten().map(|device| device.events.len()).sum();
    let bar = ProgressBar::new(u64::try_from(total).unwrap_or(0));
    let style = "{bar:40} {pos}/{len} events, {per_sec}, {eta} left";
    bar.set_style(ProgressStyle::with_template(style).map_err(|e| e.to_string())?);
    let batch = usize::from(options.batch);
    let requests =
        |share: &Vec<_>| bodies::bodies(share, &members, options.form, batch, options.gzip);
    let prepared: Vec<Vec<Body>> = shares.iter().map(requests).collect();
    let start = Instant::now();
    let reports = thread::scope(|scope| {
        let mut threads = Vec::new();
        for bodies in &prepared {
            let (target, bar) = (target.clone(), &bar);
            threads.push(scope.spawn(move || drive(options, target, bodies, total, bar)));
        }
        let joined = threads.into_iter().map(|thread| match thread.join() {
            Ok(report) => report,
            Err(_) => Err("a connection's thread panicked".to_owned()),
        });
        joined.collect::<Result<Vec<_>, String>>()
    })?;
    let elapsed = start.elapsed();
    bar.finish_and_clear();
    let mut all = Report::new()?;
    reports.iter().for_each(|report| all.add(report));
    println!("{}", all.summary(elapsed));
    Ok(all.is_clean())
}

/// Reads one device from each file.
fn devices(files: &[PathBuf], rps: &[series::Row]) -> Result<Vec<Device>, String> {
    let mut devices: Vec<Device> = Vec::new();
    for path in files {
        let device = series::device(path, rps)?;
        // Two series in one device would mix on the server, and differently in each run.
        if devices.iter().any(|other| other.id == device.id) {
            let (path, id) = (path.display(), device.id);
            return Err(format!("{path}: another file is the device {id} already"));
        }
        devices.push(device);
    }
    Ok(devices)
}

/// Reads the devices of all tables. A device in several tables has their rows one after the other.
fn tables(files: &[PathBuf], columns: &Columns<'_>) -> Result<Vec<Device>, String> {
    let mut devices: Vec<Device> = Vec::new();
    let mut numbers = HashMap::new();
    for path in files {
        let Table { devices: found, ignored, rows_without_values } = table::read(path, columns)?;
        let path = path.display();
        if !ignored.is_empty() {
            let ignored = ignored.join(", ");
            eprintln!("replay: {path}: columns that are not sent: {ignored}");
        }
        if rows_without_values > 0 {
            eprintln!("replay: {path}: rows without a value, not sent: {rows_without_values}");
        }
        for device in found {
            let number = *numbers.entry(device.id.clone()).or_insert(devices.len());
            match devices.get_mut(number) {
                Some(other) => other.events.extend(device.events),
                None => devices.push(device),
            }
        }
    }
    if devices.is_empty() {
        return Err("no rows to send".to_owned());
    }
    Ok(devices)
}

/// Sends the bodies of one connection in order, each after the answer to the one before.
fn drive(
    options: &Options,
    target: Target,
    bodies: &[Body],
    total: usize,
    bar: &ProgressBar,
) -> Result<Report, String> {
    let content_type = options.form.content_type();
    let token = options.ingest_token.as_deref();
    let mut client = Client::new(target, content_type, options.gzip, token);
    let mut report = Report::new()?;
    let own: usize = bodies.iter().map(|body| body.events).sum();
    // Each connection sends its part of the events, so all of them end together.
    let seconds_per_event = options.rate.map(|rate| ratio(total, own) / rate);
    let start = Instant::now();
    let mut sent = 0;
    for body in bodies {
        let due = match seconds_per_event {
            Some(seconds) => start + Duration::from_secs_f64(seconds * ratio(sent, 1)),
            None => Instant::now(),
        };
        thread::sleep(due.saturating_duration_since(Instant::now()));
        match client.post(&body.bytes) {
            Ok(response) => report.add_answer(body.events, &response, due.elapsed()),
            Err(error) => report.add_failure(body.events, &error),
        }
        sent += body.events;
        bar.inc(u64::try_from(body.events).unwrap_or(0));
    }
    Ok(report)
}

fn ratio(one: usize, other: usize) -> f64 {
    let number = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    number(one) / number(other)
}

#[cfg(test)]
#[path = "../../tests/http/in_process.rs"]
mod in_process;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::in_process::InProcessServer;
    use std::fs;
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use testkit::get;

    #[test]
    fn the_options_are_consistent() {
        use clap::CommandFactory as _;
        Options::command().debug_assert();
        assert_eq!(Options::parse_from(["replay"]).cpu.len(), 4);
        assert!(Options::try_parse_from(["replay", "--rate", "0"]).is_err());
        let fields = |arguments: &[&str]| {
            let arguments = ["replay", "--csv", "a.csv"].iter().chain(arguments);
            Options::try_parse_from(arguments).map(|options| options.fields).ok()
        };
        assert_eq!(fields(&[]), FIELDS.parse().ok());
        assert_eq!(fields(&["--fields", "--gzip"]), Some(Fields::Numeric));
        assert_eq!(fields(&["--fields", "a,b?"]), "a,b?".parse().ok());
        assert_eq!(fields(&["--fields", "a,"]), None);
        let other = replay(&Options::parse_from(["replay", "--fields", "cpu,a"]));
        assert!(other.is_err_and(|message| message.contains("--csv names a table of others")));
    }

    /// Starts a server that answers every request of one connection with `answer`.
    fn serve(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            while let Some(length) = length_of_body(&mut reader) {
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                reader.get_mut().write_all(answer.as_bytes()).unwrap();
            }
        });
        url
    }

    fn length_of_body(reader: &mut BufReader<TcpStream>) -> Option<usize> {
        let mut length = None;
        for line in reader.lines() {
            let line = line.ok()?;
            match line.strip_prefix("Content-Length: ") {
                Some(text) => length = text.parse().ok(),
                None if line.is_empty() => return length,
                None => {}
            }
        }
        None
    }

    fn accepted(count: u32) -> &'static str {
        let body = format!("{{\"accepted\":{count},\"anomalies\":0}}");
        let length = body.len();
        let head = format!("HTTP/1.1 202 Accepted\r\nContent-Length: {length}\r\n\r\n");
        (head + &body).leak()
    }

    fn run(url: &str) -> Result<bool, String> {
        let arguments = ["replay", "--connections=1", "--form=ndjson", "--batch=10000", "--gzip"];
        let cpu = "tests/data/nab/rds_cpu_utilization_cc0c53.csv";
        let with_target = ["--url", url, "--cpu", cpu];
        replay(&Options::parse_from(arguments.iter().chain(&with_target)))
    }

    #[test]
    fn two_files_of_one_name_are_refused() {
        let cpu = PathBuf::from("tests/data/nab/rds_cpu_utilization_cc0c53.csv");
        assert_eq!(devices(&[cpu.clone()], &[]).map(|found| found.len()), Ok(1));
        let twice = devices(&[cpu.clone(), cpu], &[]);
        assert!(twice.is_err_and(|message| message.contains("is the device rds_cpu")));
    }

    /// Two tables as users have them, against the server itself.
    #[test]
    fn a_users_own_tables_are_taken_whole() {
        let server = InProcessServer::start(&[]);
        let folder = std::env::temp_dir().join(format!("replay-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (fleet, lone) = (folder.join("fleet.csv"), folder.join("lone.csv"));
        fs::write(
            &fleet,
            "Time;Device_ID;Host;CPU;RPS\n1700000000;d1;a;1;2\n1700000001;d2;b;3;4\n",
        )
        .unwrap();
        fs::write(&lone, "rps,cpu\n10,11\n12,13\n14,15\n").unwrap();
        let url = format!("http://{}", server.address);
        let run = |files: &[&PathBuf], more: &[&str]| {
            let mut all = vec!["replay", "--url", &url, "--csv"];
            all.extend(files.iter().map(|file| file.to_str().unwrap()));
            replay(&Options::parse_from(all.iter().chain(more)))
        };
        assert_eq!(run(&[&fleet], &["--column", "timestamp=time"]), Ok(true));
        assert_eq!(run(&[&lone, &fleet], &["--form=ndjson"]), Ok(true));
        let error = run(&[&lone], &["--column", "timestamp=time"]).unwrap_err();
        assert!(
            error.contains("no column is called `time`; the header has `rps`, `cpu`"),
            "{error}"
        );
        fs::remove_dir_all(&folder).unwrap();

        let mut client = server.client();
        let mut of = |target: &str| client.request(&get(target)).json();
        assert_eq!(of("/analyze")["totals"]["accepted"], 7);
        assert_eq!(of("/analyze?device_id=lone")["cpu"]["max"], 15.0);
        assert_eq!(of("/metrics/d2:1700000001")["rps"], 4);
    }

    /// A server of sensors, and their table with gaps: one list of fields is for both.
    #[test]
    fn a_table_of_sensors_is_taken_whole() {
        let fields = ["--fields", "temperature?=-40..125~0.5,humidity?=0..100,battery?"];
        let names = ["--device-name", "deviceId,id", "--timestamp-name", "ts"];
        let server = InProcessServer::start(&[fields.as_slice(), &names].concat());
        let file = std::env::temp_dir().join(format!("sensors-{}.csv", std::process::id()));
        let table = "ts,deviceId,Temperature,humidity,note,battery\n\
            1700000000,a,21.5,40,ok,\n1700000001,a,,41,,3.9\n1700000002,b,,,gone,\n\
            1700000003,b,22,,,\n";
        fs::write(&file, table).unwrap();
        let url = format!("http://{}", server.address);
        let run = ["replay", "--url", &url, "--csv", file.to_str().unwrap(), "--form=array"];
        let run = |more: &[&str]| {
            let arguments = run.iter().chain(&names).chain(more);
            replay(&Options::parse_from(arguments))
        };
        assert_eq!(run(&fields), Ok(true));
        assert_eq!(run(&["--fields"]), Ok(true));
        fs::remove_file(&file).unwrap();

        let mut client = server.client();
        let mut of = |target: &str| client.request(&get(target)).json();
        assert_eq!(of("/analyze")["totals"]["accepted"], 6);
        let device = of("/analyze?device_id=a");
        assert_eq!(device["temperature"]["count"], 2);
        assert_eq!(device["humidity"]["max"], 41.0);
        assert_eq!(device["battery"]["last"], 3.9);
        let stored = of("/metrics/b:1700000003");
        assert_eq!((&stored["temperature"], stored.get("humidity")), (&22.into(), None));
    }

    #[test]
    fn a_run_is_clean_only_when_the_server_accepted_every_event() {
        assert_eq!(run(&serve(accepted(4032))), Ok(true));
        assert_eq!(run(&serve(accepted(4031))), Ok(false));
        let busy = "HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        assert_eq!(run(&serve(busy)), Ok(false));
    }
}
