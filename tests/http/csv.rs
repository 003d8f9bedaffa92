//! CSV over real sockets: tables with a header row.

use std::io::Write;

use crate::in_process::InProcessServer;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use testkit::http_client::post_with;
use testkit::{HttpResponse, assert_problem, get};

const CSV: &str = "Content-Type: text/csv; charset=utf-8; header=present\r\n";

fn send(running: &InProcessServer, fields: &str, body: &[u8]) -> HttpResponse {
    running.client().request(&post_with(fields, body))
}

#[test]
fn each_row_is_an_event_or_an_error() {
    let running = InProcessServer::start(&[]);
    let body = "device_id,timestamp,zone,rps,cpu\r\n\
                d1,1700000000,\"roof, north\",1200,41.5\r\n\
                d2,,,2,1\r\n\
                d1,1700000001,,hot,1\r\n\
                d1,1700000002,,1\r\n";
    let answer = send(&running, CSV, body.as_bytes());
    assert_eq!(answer.status, 202, "{answer:?}");
    let errors = json!([
        {
            "index": 2,
            "detail": "rps: expected a finite number from 0 to 1000000000000, found a string at \
                       byte 15",
        },
        {"index": 3, "detail": "cpu: expected 5 cells as in the header row, found 4"},
    ]);
    let expected = json!({"accepted": 2, "anomalies": 0, "rejected": 2, "errors": errors});
    assert_eq!(answer.json(), expected);
    let stored = running.client().request(&get("/metrics/d1:1700000000")).json();
    let expected = json!({"timestamp": 1_700_000_000, "device_id": "d1", "cpu": 41.5, "rps": 1200});
    assert_eq!(stored, expected);
}

#[test]
fn a_table_of_which_nothing_can_be_taken_is_refused_whole() {
    let running = InProcessServer::start(&[]);
    for (body, detail) in [
        (
            "cpu;rps\n1;2\n",
            "header row: expected ',' between the cells, found ';'; save the table with commas",
        ),
        (
            "1,2\n3,4\n",
            "header row: expected names of columns such as device_id, timestamp, cpu, rps, found \
             none of them",
        ),
        ("cpu\n1\n", "rps: missing in the header row"),
        ("cpu,rps,cpu\n1,2,3\n", "cpu: given twice in the header row, again at byte 8 of the body"),
        ("cpu,rps\n", "expected an event, found an empty body"),
    ] {
        let answer = send(&running, CSV, body.as_bytes());
        assert_eq!(assert_problem(&answer, 400, body.as_bytes())["detail"], detail);
    }
    let bare = "Content-Type: text/csv; header=absent\r\n";
    let problem = assert_problem(&send(&running, bare, b"1,2\n"), 415, b"1,2");
    let detail = "Content-Type: expected text/csv with a header row, found header=absent";
    assert_eq!(problem["detail"], detail);
    let analysis = running.client().request(&get("/analyze")).json();
    assert_eq!(analysis["totals"]["accepted"], 0);
}

#[test]
fn a_single_row_is_answered_as_a_single_event() {
    let running = InProcessServer::start(&[]);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(b"\xef\xbb\xbfcpu,rps\n1,2").unwrap();
    let fields = format!("{CSV}Content-Encoding: gzip\r\n");
    let answer = send(&running, &fields, &gzip.finish().unwrap());
    assert_eq!(answer.status, 202, "{answer:?}");
    assert!(answer.json()["timestamp"].is_u64(), "{answer:?}");
    let answer = send(&running, CSV, b"cpu,rps\n1,\n");
    assert_eq!(assert_problem(&answer, 400, b"")["detail"], "rps: missing");
}
