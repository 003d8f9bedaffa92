//! Bodies that are not one object of JSON in UTF-8, over real sockets: several objects without a
//! newline between them, arrays under another media type, other content codings, other encodings.
//! Each is accepted as a whole, or refused with an error that names the reason.

use std::io::Write;

use crate::in_process::InProcessServer;
use flate2::Compression;
use flate2::write::{DeflateEncoder, ZlibEncoder};
use percore::clock::Now;
use serde_json::{Value, json};
use testkit::http_client::{metric, post_with};
use testkit::{HttpResponse, assert_problem, get, post};

const JSON: &str = "Content-Type: application/json\r\n";
/// The media type that `curl -d` gives every body.
const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

fn send(running: &InProcessServer, fields: &str, body: &[u8]) -> HttpResponse {
    running.client().request(&post_with(fields, body))
}

/// Checks that a body is refused as a whole, and answers why.
fn refused(running: &InProcessServer, status: u16, fields: &str, body: &[u8]) -> String {
    let problem = assert_problem(&send(running, fields, body), status, body);
    problem["detail"].as_str().expect("a detail").to_owned()
}

/// Checks that all of a body is taken.
fn taken(running: &InProcessServer, fields: &str, body: &[u8], events: u64) {
    let answer = send(running, fields, body);
    assert_eq!(answer.status, 202, "{fields}: {answer:?}");
    let mut answer = answer.json();
    // Bodies are sent again in other forms.
    answer.as_object_mut().expect("an object").remove("duplicates");
    assert_eq!(answer, json!({"accepted": events, "anomalies": 0}), "{fields}");
}

fn lines(events: u64) -> Vec<String> {
    (0..events).map(|number| metric("d1", 1_700_000_000 + number)).collect()
}

#[test]
fn objects_without_newlines_are_taken_one_after_the_other() {
    let running = InProcessServer::start(&[]);
    // `curl -d @metrics.ndjson` takes the newlines out.
    taken(&running, FORM, lines(3).concat().as_bytes(), 3);
    taken(&running, JSON, lines(2).join(" ").as_bytes(), 2);
    for ndjson in ["x-ndjson", "ndjson", "jsonl"] {
        let fields = format!("Content-Type: application/{ndjson}\r\n");
        taken(&running, &fields, (lines(2).concat() + "\n" + &lines(1).concat()).as_bytes(), 3);
    }
    let odd = lines(2).concat().replace(",\"rps\"", ",\"rps\" ").replace('{', "{\n");
    taken(&running, "Content-Type: text/json\r\n", odd.as_bytes(), 2);

    // A bad one costs itself, or what is left of the line where nothing says that it ends.
    let body = lines(1).concat() + r#"{"cpu":"hot","rps":1}"# + &lines(1).concat();
    let answer = send(&running, FORM, body.as_bytes()).json();
    assert_eq!((&answer["accepted"], &answer["errors"][0]["index"]), (&json!(2), &json!(1)));
    let answer = send(&running, FORM, (lines(2).concat() + "{\"cpu\":").as_bytes()).json();
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(2), &json!(1)));
}

#[test]
fn an_array_is_taken_or_refused_whole_whatever_its_type() {
    let running = InProcessServer::start(&[]);
    let spread = format!("[\n{}\n]\n", lines(3).join(",\n"));
    for fields in [JSON, FORM, "Content-Type: application/x-ndjson\r\n"] {
        taken(&running, fields, spread.as_bytes(), 3);
        // The last line of the first would be an event, and the middle line of the others.
        let open = format!("[\n{}", lines(3).join(",\n"));
        for halved in [open, spread.replace(",\n", "\n"), spread.clone() + &lines(1).concat()] {
            refused(&running, 400, fields, halved.as_bytes());
        }
    }
    let ndjson = "Content-Type: application/x-ndjson\r\n";
    let event = &lines(1)[0];
    // Arrays of other values, whose other lines would be events.
    for broken in [
        format!("[1,\n{event}\n{event}\n]"),
        format!("[null,{event},\n{event}"),
        format!("[\"a\"\n{event}\n"),
        format!("[[1,\n2],\n{event}\n"),
    ] {
        refused(&running, 400, ndjson, broken.as_bytes());
    }
    // A line that is none costs itself.
    for bad in ["[INFO] a line of a log", "[2026-01-01] a line of a log", "[1]", "[[1],2]"] {
        let answer = send(&running, ndjson, format!("{bad}\n{event}\n").as_bytes());
        assert_eq!((answer.status, &answer.json()["accepted"]), (202, &json!(1)), "{bad}");
    }
    let total = running.client().request(&get("/analyze")).json()["totals"]["accepted"].clone();
    assert_eq!(total, 9 + 4, "nothing was taken of what was refused");
}

#[test]
fn other_encodings_are_named_and_the_mark_of_utf_8_is_passed_over() {
    let running = InProcessServer::start(&[]);
    let plain = lines(1).concat();
    taken(&running, JSON, format!("\u{feff}{plain}").as_bytes(), 1);
    taken(&running, JSON, format!("\u{feff}[{plain}]\r\n").as_bytes(), 1);
    let twice = format!("\u{feff}\u{feff}{plain}");
    let detail = refused(&running, 400, JSON, twice.as_bytes());
    assert!(detail.contains("a byte order mark (BOM) at byte 0"), "{detail}");
    for marked in [format!("\u{feff}{plain}"), plain] {
        for order in [u16::to_le_bytes, u16::to_be_bytes] {
            let wide: Vec<u8> = marked.encode_utf16().flat_map(order).collect();
            let detail = refused(&running, 400, JSON, &wide);
            let expected = "expected UTF-8, found UTF-16 or UTF-32 at byte 0 of the body";
            assert_eq!(detail, expected);
        }
    }
}

#[test]
fn a_form_is_told_to_send_json() {
    let running = InProcessServer::start(&[]);
    for form in ["cpu=1&rps=2", "%7B%22cpu%22%3A1%2C%22rps%22%3A2%7D", "device_id=d1&cpu=1&rps=2"] {
        let detail = refused(&running, 400, FORM, form.as_bytes());
        assert!(detail.contains("found a form") && detail.ends_with("send JSON"), "{detail}");
    }
    let detail =
        refused(&running, 415, "Content-Type: multipart/form-data; boundary=x\r\n", b"--x");
    assert!(detail.contains("expected application/json"), "{detail}");
}

fn zlib(plain: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn bare(plain: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// Blocks of zstd (RFC 8878, section 3.1.1.2): `kind` 0 is the content, 1 repeats a byte.
fn zstd(kind: u32, blocks: &[(u32, &[u8])]) -> Vec<u8> {
    // A window of two megabytes.
    let mut frame = b"\x28\xb5\x2f\xfd\x00\x58".to_vec();
    for (number, (size, content)) in blocks.iter().enumerate() {
        let last = u32::from(number + 1 == blocks.len());
        frame.extend_from_slice(&(last | kind << 1 | size << 3).to_le_bytes()[..3]);
        frame.extend_from_slice(content);
    }
    frame
}

fn stored(plain: &[u8]) -> Vec<u8> {
    zstd(0, &[(u32::try_from(plain.len()).unwrap(), plain)])
}

const DEFLATE: &str = "Content-Encoding: deflate\r\n";
const ZSTD: &str = "Content-Encoding: zstd\r\n";

#[test]
fn deflate_and_zstd_are_decoded_up_to_the_cap() {
    let running = InProcessServer::start(&[]);
    let plain = lines(3).concat();
    let halves = plain.as_bytes().split_at(100);
    let frames = [stored(halves.0), b"\x50\x2a\x4d\x18\x01\0\0\0x".to_vec(), stored(halves.1)];
    for (fields, body) in [
        (DEFLATE, zlib(plain.as_bytes())),
        (DEFLATE, bare(plain.as_bytes())),
        (ZSTD, stored(plain.as_bytes())),
        (ZSTD, frames.concat()),
    ] {
        taken(&running, fields, &body, 3);
        for end in [0, 1, 5, body.len() / 2, body.len() - 1] {
            refused(&running, 400, fields, &body[..end]);
        }
        refused(&running, 400, fields, &[&body[..], b"{}"].concat());
        refused(&running, 400, fields, plain.as_bytes());
    }
    let detail = refused(&running, 415, "Content-Encoding: br\r\n", b"x");
    assert_eq!(detail, "Content-Encoding: expected one of gzip, deflate, zstd");
}

#[test]
fn bombs_are_cut_at_the_cap() {
    let running = InProcessServer::start(&["--max-body", "64KiB"]);
    let blanks = vec![b' '; 64 * 1024 * 1024];
    // Two gigabytes of a blank, in sixty kilobytes.
    let runs = zstd(1, &[(128 * 1024, &b" "[..]); 15_000]);
    for (fields, bomb) in [(DEFLATE, zlib(&blanks)), (DEFLATE, bare(&blanks)), (ZSTD, runs)] {
        let detail = refused(&running, 413, fields, &bomb[..bomb.len().min(60_000)]);
        assert_eq!(detail, "body: longer after inflation than the server takes (--max-body)");
        taken(&running, "", lines(1).concat().as_bytes(), 1);
    }
    for (many, count) in [(stored(b""), 17), (zstd(0, &[(0, &b""[..]); 100]), 11)] {
        let detail = refused(&running, 413, ZSTD, &many.repeat(count));
        assert!(detail.contains("at most 16 gzip members or zstd frames"), "{detail}");
    }
}

/// Each has tables of its own, says nothing, and takes a microsecond.
#[test]
fn blocks_of_deflate_are_few() {
    // A dynamic block (RFC 1951, section 3.2.7) that holds nothing but its end, in 91 bits.
    const BLOCK: u128 = 0x04d5_ff10_0000_0000_0081_c004;
    let running = InProcessServer::start(&[]);
    let event = bare(lines(1).concat().as_bytes());
    let bit = |at: usize| u8::from(BLOCK >> (at % 91) & 1 == 1);
    let byte = |at: usize| (0..8).fold(0, |byte, of| byte | bit(8 * at + of) << of);
    let unit: Vec<u8> = (0..91).map(byte).collect();
    taken(&running, DEFLATE, &[&unit.repeat(100)[..], &event].concat(), 1);
    let many = [&unit.repeat(11_000)[..], &event].concat();
    let gzip = [&b"\x1f\x8b\x08\0\0\0\0\0\0\xff"[..], &many].concat();
    for (fields, body) in [(DEFLATE, many), ("Content-Encoding: gzip\r\n", gzip)] {
        let detail = refused(&running, 413, fields, &body);
        assert!(detail.contains("24096 blocks of gzip or deflate"), "{detail}");
    }
}

#[test]
fn one_newline_ends_every_answer_in_json() {
    let running = InProcessServer::start(&[]);
    let mut client = running.client();
    let stored = metric("d1", 1_700_000_000);
    let bad = r#"{"cpu":"hot","rps":1}"#;
    let both = format!("[{stored},{bad}]");
    let mut requests = vec![
        post(stored.as_bytes()),
        post(both.as_bytes()),
        post(bad.as_bytes()),
        post(b""),
        post(b"[]"),
        post(b"[1,"),
        post_with("Content-Type: image/png\r\n", b"x"),
        post_with("Content-Encoding: br\r\n", b"x"),
        b"PUT /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".to_vec(),
    ];
    let paths = [
        "/",
        "/health",
        "/ready",
        "/openapi.json",
        "/analyze",
        "/analyze?device_id=d1",
        "/analyze?device_id=nobody",
        "/metrics/d1:1700000000",
        "/metrics/nobody:1700000000",
        "/debug/pprof/latency?route=nowhere",
        "/nowhere",
    ];
    requests.extend(paths.map(get));
    // A wrong head comes last: it ends the connection.
    requests.push(b"GET / HTTP/1.1\r\n\r\n".to_vec());
    for request in requests {
        let shown = String::from_utf8_lossy(&request).into_owned();
        let answer = client.request(&request);
        let _: Value = serde_json::from_slice(&answer.body).unwrap_or_else(|error| {
            panic!("{error} after {shown}");
        });
        assert!(answer.body.ends_with(b"}\n"), "{shown}: {answer:?}");
    }
}

/// In a fleet, a device may have its window in another replica: its events wait until the window
/// has come.
#[test]
fn events_that_wait_for_their_window_are_told() {
    let running = InProcessServer::start(&[]);
    let analytics = &running.state().analytics;
    analytics.share_windows(1, Box::new(|| {}));
    let mut client = running.client();
    let of = |device: &str, second: u64| metric(device, 1_700_000_000 + second);
    let body = format!("[{},{},{}]", of("d1", 0), of("d2", 0), of("d1", 1));
    let answer = client.request(&post(body.as_bytes()));
    assert_eq!(answer.json(), json!({"accepted": 3, "anomalies": 0, "pending": 3}));
    let mut wanted = Vec::new();
    analytics.take_wanted(&mut wanted);
    wanted.sort();
    assert_eq!(wanted, [Box::from(*b"d1"), Box::from(*b"d2")]);
    assert_eq!(analytics.adopt(b"d1", None, false, Some(1), Now::default()).judged, 2);
    let known = client.request(&post(of("d1", 2).as_bytes()));
    assert_eq!(known.json(), json!({"accepted": 1, "anomalies": 0}), "it waits no more");
    let bad = format!("{}\n{{}}", of("d2", 1));
    let bad = client.request(&post_with("", bad.as_bytes())).json();
    assert_eq!((&bad["pending"], &bad["rejected"]), (&json!(1), &json!(1)));
    let waits = client.request(&post(of("d2", 2).as_bytes()));
    assert_eq!(waits.json(), json!({"accepted": 1, "anomalies": 0, "pending": 1}));
    // All of them are stored, and clients of InfluxDB are told nothing.
    let lookup = format!("GET /metrics/d2:{} HTTP/1.1\r\nHost: a\r\n\r\n", 1_700_000_002);
    assert_eq!(client.request(lookup.as_bytes()).status, 200);
    let line = "a,device_id=d2 cpu=1,rps=1";
    let head = "POST /write HTTP/1.1\r\nHost: a\r\nContent-Length: ";
    let written = client.request(format!("{head}{}\r\n\r\n{line}", line.len()).as_bytes());
    assert_eq!((written.status, &*written.body), (204, &b""[..]));
    assert_eq!(analytics.windows().pending_total, 6);
}

#[test]
fn events_without_a_window_are_told() {
    let running = InProcessServer::start(&["--max-devices", "1"]);
    let mut client = running.client();
    let of = |device: &str| metric(device, 1_700_000_000);
    let body = format!("[{},{},{}]", of("d1"), of("d2"), of("d3"));
    let answer = client.request(&post(body.as_bytes()));
    assert_eq!(answer.json(), json!({"accepted": 3, "anomalies": 0, "unjudged": 2}));
    let bad = client.request(&post_with("", format!("{}\n{{}}", of("d2")).as_bytes())).json();
    assert_eq!((&bad["unjudged"], &bad["rejected"]), (&json!(1), &json!(1)));
    let known = client.request(&post(metric("d1", 1_700_000_001).as_bytes()));
    assert_eq!(known.json(), json!({"accepted": 1, "anomalies": 0}), "it is not said of nobody");
}
