//! `corepulse replay`: files as users have them, posted to real servers and to some that are none.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use testkit::child_process::{ChildProcess, send_signal};
use testkit::server::{FinishedProcess, command, run_with};
use testkit::{HttpClient, Server, get, wait_until};

/// The series of the checkout, and what makes metrics of them.
const SERIES: [&str; 8] = [
    "tests/data/nab/ec2_cpu_utilization_24ae8d.csv",
    "tests/data/nab/ec2_cpu_utilization_5f5533.csv",
    "tests/data/nab/ec2_cpu_utilization_825cc2.csv",
    "tests/data/nab/rds_cpu_utilization_cc0c53.csv",
    "--column",
    "cpu=value",
    "--beside",
    "rps=tests/data/nab/elb_request_count_8c0756.csv",
];

/// A folder for the files of one test; it is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("replay-{test}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn replay(address: SocketAddr, arguments: &[&str]) -> FinishedProcess {
    let url = format!("http://{address}");
    run_with(&[&["replay", "--to", &url], arguments].concat())
}

/// Asserts that a run has ended with this code and printed these lines, among others.
fn assert_run(run: &FinishedProcess, code: i32, lines: &[&str]) {
    assert_eq!(run.code, code, "{run:?}");
    for line in lines {
        assert!(run.output.lines().any(|printed| printed.starts_with(line)), "{line}: {run:?}");
    }
}

fn totals(server: &Server) -> (u64, u64) {
    let analysis = HttpClient::connect(server.address).request(&get("/analyze")).json();
    let number = |value: &serde_json::Value| value.as_u64().unwrap();
    (number(&analysis["totals"]["accepted"]), number(&analysis["anomalies"]["points"]))
}

#[test]
fn the_recorded_series_are_four_devices_however_they_are_sent() {
    let mut found = Vec::new();
    for how in [&[][..], &["--batch", "1000", "--connections", "1"]] {
        let server = Server::start(&[]);
        let run = replay(server.address, &[&SERIES[..], how].concat());
        assert_run(&run, 0, &["sent       16128 events in ", "accepted   16128", "rejected   0"]);
        let (accepted, anomalies) = totals(&server);
        assert_eq!(accepted, 16128);
        assert_run(&run, 0, &[&format!("anomalies  {anomalies}")]);
        let device = "/analyze?device_id=rds_cpu_utilization_cc0c53";
        let device = HttpClient::connect(server.address).request(&get(device)).json();
        assert_eq!(device["totals"]["accepted"], 4032);
        found.push((anomalies, device["cpu"]["rolling_average"].clone()));
    }
    // The order of each device was kept.
    assert_eq!(found[0], found[1]);
}

#[test]
fn a_users_own_tables_are_taken_whole() {
    let folder = Folder::new("own");
    let fleet = "Time;Device_ID;Host;CPU;RPS\n1700000000;d1;a;1;2\n1700000001;d2;b;3;4\n";
    let fleet = folder.file("fleet.csv", fleet);
    let lone = folder.file("lone.csv", "rps,cpu\n10,11\n12,13\n14,15\n");
    let server = Server::start(&["--ingest-token", "word"]);
    let token = ["--ingest-token", "word"];
    let run =
        replay(server.address, &[&[&*fleet, "--column", "timestamp=time"], &token[..]].concat());
    assert_run(&run, 0, &["sent       2 events", "accepted   2"]);
    let run = replay(server.address, &[&[&*lone, &*fleet], &token[..]].concat());
    assert_run(&run, 0, &["sent       5 events", "accepted   5"]);
    assert_eq!(totals(&server).0, 7);
    let lone = HttpClient::connect(server.address).request(&get("/analyze?device_id=lone")).json();
    assert_eq!(lone["cpu"]["max"], 15.0);
    let twice = replay(server.address, &[&[&*fleet, "/dev/null"], &token[..]].concat());
    assert_eq!((twice.code, twice.output.as_str()), (1, ""));
    assert!(twice.errors.contains("/dev/null: there is no row"), "{twice:?}");
}

/// A server of sensors, and their table with gaps.
#[test]
fn the_server_finds_its_own_fields_in_a_table_of_sensors() {
    let fields = ["--fields", "temperature?=-40..125~0.5,humidity?=0..100,battery?"];
    let names = ["--device-name", "deviceId,id", "--timestamp-name", "ts"];
    let folder = Folder::new("sensors");
    let table = "ts,ID,Temperature,humidity,note,battery\n\
        1700000000,a,21.5,40,ok,\n1700000001,a,,41,,3.9\n1700000002,b,,,gone,\n\
        1700000003,b,22,,,\n";
    let file = folder.file("sensors.csv", table);
    let server = Server::start(&[fields.as_slice(), &names].concat());
    let run = replay(server.address, &[&[&*file], &names[..]].concat());
    // A row without a value is no metric.
    let rejected = format!("{file}:4: ");
    assert_run(&run, 1, &["accepted   3", "rejected   1", &rejected]);
    let mut client = HttpClient::connect(server.address);
    let device = client.request(&get("/analyze?device_id=a")).json();
    let number = |of: &serde_json::Value| of.as_f64().unwrap();
    assert_eq!(number(&device["temperature"]["count"]), 1.0);
    assert_eq!(
        (number(&device["humidity"]["max"]), number(&device["battery"]["last"])),
        (41.0, 3.9)
    );
    let stored = client.request(&get("/metrics/b:1700000003")).json();
    assert_eq!((number(&stored["temperature"]), stored.get("humidity")), (22.0, None));
}

#[test]
fn rows_are_named_by_file_and_line() {
    let folder = Folder::new("rows");
    let table = b"device_id,cpu,rps,note\r\na,1,2,\r\nb,hot,2,\xff\r\n\r\nc,1\r\n\
        d,\"1\r\n\",2,x\r\ne,-1,2,\r\n";
    let file = folder.file("t.csv", table);
    let server = Server::start(&[]);
    let run = replay(server.address, &[&file, "--connections", "1"]);
    assert_run(&run, 1, &["sent       4 events in 1 requests", "accepted   1", "rejected   3"]);
    let named: Vec<_> = run.output.lines().filter_map(|line| line.strip_prefix(&file)).collect();
    assert_eq!(named.len(), 4, "{run:?}");
    for (row, begin) in
        named.iter().zip([":3: cpu: ", ":5: 2 cells, where", ":6: cpu: ", ":8: cpu: "])
    {
        assert!(row.starts_with(begin), "{row}");
    }
    // A body of which no row is right is no reason to stop.
    let run = replay(server.address, &[&file, "--connections", "1", "--batch", "1"]);
    assert_run(&run, 1, &["sent       4 events in 4 requests", "accepted   1", "rejected   3"]);
}

#[test]
fn what_would_be_the_same_again_ends_the_run_in_the_servers_words() {
    let folder = Folder::new("lasting");
    let (no_rps, good) =
        (folder.file("a.csv", "time,cpu\n1,2\n"), folder.file("b.csv", "cpu,rps\n1,2\n"));
    let server = Server::start(&["--ingest-token", "word", "--max-body", "1KiB"]);
    let long = folder.file("c.csv", "cpu,rps\n".to_owned() + &"1,2\n".repeat(1000));
    let word = "--ingest-token=word";
    for (arguments, named) in [
        (
            &[&*no_rps, word][..],
            "400 rps: missing in the header row; the header row has `time`, `cpu` (--column",
        ),
        (&[&good], "answers 401 "),
        (&[&good, "--ingest-token=other"], "(--ingest-token)"),
        (&[&long, word, "--batch", "1000"], "answers 413 "),
    ] {
        let run = replay(server.address, arguments);
        assert_eq!((run.code, run.output.as_str()), (1, ""), "{arguments:?}");
        assert!(run.errors.contains(named), "{named}: {}", run.errors);
    }
    for (url, named) in [
        ("http://127.0.0.1:1", "127.0.0.1:1: Connection refused"),
        ("http://nowhere.invalid", "nowhere.invalid: "),
        (&format!("http://{}/elsewhere", server.address), "answers 404 "),
    ] {
        let run = run_with(&["replay", "--to", url, &good]);
        assert_eq!((run.code, run.output.as_str()), (1, ""), "{url}");
        assert!(run.errors.contains(named), "{named}: {}", run.errors);
    }
    let run = run_with(&["replay", &good, "--to", "https://localhost"]);
    assert_eq!(run.code, 64);
    assert!(run.errors.contains("TLS"), "{}", run.errors);
}

/// Serves connections one after the other: to each request the next answer; where that is empty,
/// the connection ends. Sends the bodies.
fn serve(answers: &'static [&'static str]) -> (SocketAddr, Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, bodies) = mpsc::channel();
    thread::spawn(move || {
        let mut answers = answers.iter();
        loop {
            let mut reader = BufReader::new(listener.accept().unwrap().0);
            while let Some(length) = length_of_body(&mut reader) {
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                let _ = sender.send(body);
                match answers.next() {
                    None | Some(&"") => break,
                    Some(answer) => reader.get_mut().write_all(answer.as_bytes()).unwrap(),
                }
            }
        }
    });
    (address, bodies)
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

const BUSY: &str = "HTTP/1.1 503 Unavailable\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n";
const DONE: &str = "HTTP/1.1 202 Accepted\r\nContent-Length: 14\r\n\r\n{\"accepted\":1}";

#[test]
fn what_may_pass_is_waited_for() {
    let folder = Folder::new("passing");
    let file = folder.file("a.csv", "device_id,cpu,rps\nd,1,2\nd,3,4\n");
    let (address, bodies) = serve(&[BUSY, DONE, "", BUSY, DONE]);
    let run = replay(address, &[&file, "--batch", "1"]);
    let again = "sent again 1, as no answer came";
    assert_run(&run, 0, &["sent       2 events in 2 requests", "accepted   2", again]);
    assert!(run.errors.contains("answers 503; trying again for 30 s"), "{}", run.errors);
    let first = b"device_id,cpu,rps\nd,1,2\n".to_vec();
    let second = b"device_id,cpu,rps\nd,3,4\n".to_vec();
    let expected = [first.clone(), first, second.clone(), second.clone(), second];
    assert_eq!(bodies.try_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn an_answer_of_another_program_ends_the_run() {
    let folder = Folder::new("other");
    let file = folder.file("a.csv", "cpu,rps\n1,2\n");
    for (answers, named) in [
        (
            &["HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n<p>\u{1b}"][..],
            "200 <p>, which is no answer",
        ),
        (&["HTTP/1.1 202 OK\r\nContent-Length: 14\r\n\r\n{\"accepted\":9}"], "which is no answer"),
        (&["SSH-2.0-OpenSSH_9.9\r\n"], "the answer is not HTTP"),
        (&["HTTP/1.1 301 Moved\r\nContent-Length: 0\r\n\r\n"], "which leads elsewhere"),
    ] {
        let run = replay(serve(answers).0, &[&file]);
        assert_eq!((run.code, run.output.as_str()), (1, ""), "{run:?}");
        assert!(run.errors.contains(named), "{named}: {}", run.errors);
    }
}

/// Starts a run that will not end by itself soon.
fn start(address: SocketAddr, arguments: &[&str]) -> ChildProcess {
    let url = format!("http://{address}");
    let mut program = command(&[&["replay", "--to", &url], arguments].concat());
    ChildProcess(program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

/// Interrupts a run; returns what it prints.
fn interrupt(mut child: ChildProcess) -> String {
    send_signal(child.0.id(), "INT");
    let status = wait_until("the end of the program", || child.0.try_wait().unwrap());
    let mut output = String::new();
    child.0.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert_eq!(status.code(), Some(130), "{output}");
    assert!(output.ends_with("interrupted: the rest was not sent\n"), "{output}");
    output
}

#[test]
fn an_interrupted_run_ends_with_a_report() {
    let folder = Folder::new("interrupted");
    let file = folder.file("a.csv", "device_id,cpu,rps\n".to_owned() + &"d,1,2\n".repeat(1000));
    let server = Server::start(&[]);
    let child = start(server.address, &[&file, "--rate", "20"]);
    wait_until("the first event", || (totals(&server).0 > 0).then_some(()));
    let output = interrupt(child);
    let accepted = format!("accepted   {}\n", totals(&server).0);
    assert!(output.contains(&accepted), "{output}");
}

#[test]
fn an_interrupted_run_does_not_wait_for_a_server_that_hangs() {
    let folder = Folder::new("hanging");
    let file = folder.file("a.csv", "device_id,cpu,rps\n".to_owned() + &"d,1,2\n".repeat(1000));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let child = start(listener.local_addr().unwrap(), &[&file, "--connections", "1"]);
    let (mut stream, _) = listener.accept().unwrap();
    stream.read_exact(&mut [0; 100]).unwrap();
    let output = interrupt(child);
    assert!(output.starts_with("sent       0 events in 0 requests"), "{output}");
    assert!(output.contains("\nno answer  100: they may be there, or not\n"), "{output}");
}

#[test]
fn a_server_that_asks_for_too_much_patience_ends_the_run() {
    let folder = Folder::new("patience");
    let file = folder.file("a.csv", "cpu,rps\n1,2\n");
    let busy = "HTTP/1.1 503 -\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n";
    let run = replay(serve(Vec::leak(vec![busy])).0, &[&file]);
    assert_eq!((run.code, run.output.as_str()), (1, ""), "{run:?}");
    assert!(run.errors.contains("answers 503; it asks to wait for 3600 s"), "{}", run.errors);
    let empty = folder.file("b.csv", "cpu,rps\n");
    let run = replay(serve(&[]).0, &[&empty]);
    assert_eq!((run.code, run.output.as_str()), (1, ""), "{run:?}");
    assert!(run.errors.contains("there is no row to send"), "{}", run.errors);
}

/// Two days of a fleet: each device goes on in the second file.
#[test]
fn the_rows_of_a_device_keep_their_order_over_files_and_connections() {
    let folder = Folder::new("order");
    let day = |first: usize| {
        let rows = (first..first + 20)
            .flat_map(|row| ["a", "b", "c", "d", "e"].map(|device| format!("{device},{row},1\n")));
        "device_id,cpu,rps\n".to_owned() + &rows.collect::<String>()
    };
    let (monday, tuesday) = (folder.file("1.csv", day(0)), folder.file("2.csv", day(20)));
    let server = Server::start(&[]);
    let run = replay(server.address, &[&monday, &tuesday, "--batch", "3", "--connections", "8"]);
    assert_run(&run, 0, &["accepted   200"]);
    let mut client = HttpClient::connect(server.address);
    for device in ["a", "b", "c", "d", "e"] {
        let device = client.request(&get(&format!("/devices/{device}"))).json();
        let values: Vec<f64> = device["values"]["cpu"]["values"]
            .as_array()
            .unwrap()
            .iter()
            .map(|value| value.as_f64().unwrap())
            .collect();
        let expected: Vec<f64> = (0..40).map(f64::from).collect();
        assert_eq!(values, expected);
    }
}
