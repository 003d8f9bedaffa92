//! The recorded series as devices with cpu and rps: each number that comes out equals the
//! reference.

use super::event::Event;
use super::forms::Form;
use super::json::Json;
use super::recorded::{Recorded, Run, check_at_rest, check_order, replay, send, senders, stream};
use super::server::{body_of, connect_to_each_core, start};
use super::shape::Shape;

const CPU_SERIES: [&str; 4] = [
    "ec2_cpu_utilization_24ae8d",
    "ec2_cpu_utilization_5f5533",
    "ec2_cpu_utilization_825cc2",
    "rds_cpu_utilization_cc0c53",
];
const ROWS: usize = 4032;

fn column(name: &str) -> Vec<(String, String)> {
    let path = format!("{}/tests/data/nab/{name}.csv", env!("CARGO_MANIFEST_DIR"));
    let mut reader = csv::Reader::from_path(path).unwrap();
    let rows = reader.records().map(Result::unwrap);
    rows.map(|row| (row[0].to_owned(), row[1].to_owned())).collect()
}

/// The four series beside the requests, their first rows.
fn recorded(rows: usize) -> Vec<Recorded> {
    let requests = column("elb_request_count_8c0756");
    let device = |name: &&str| {
        let own = column(name);
        assert_eq!((own.len(), requests.len()), (ROWS, ROWS));
        let events = own.into_iter().zip(&requests).take(rows).map(|((time, cpu), (_, rps))| {
            let time = time.replace(' ', "T");
            let event = Event {
                timestamp: format!("\"{time}Z\""),
                shown: format!("{time}.000Z"),
                ..Event::default()
            };
            event.with([cpu, rps.clone()])
        });
        let recorded = Recorded::of(name, Shape::standard(), events);
        assert!(recorded.device.points.len() > 50 && recorded.device.episodes() > 10);
        recorded
    };
    CPU_SERIES.iter().map(device).collect()
}

fn replay_everywhere(form: Form, is_gzip: bool, batch: usize, rows: usize) {
    let recorded = recorded(rows);
    for workers in [1, 2] {
        for connections in [1, 16] {
            // Sixteen clients that each wait for the others' large batches may wait for too long.
            let batch = if connections > 1 { batch.div_ceil(4) } else { batch };
            replay(&recorded, Run { workers, connections, form, is_gzip, batch });
        }
    }
}

#[test]
fn singles_equal_the_reference() {
    replay_everywhere(Form::Single, false, 1, ROWS);
}

#[test]
fn arrays_equal_the_reference() {
    // No divisor of anything, and more than `anomalous` can list.
    replay_everywhere(Form::Array, false, 1709, ROWS);
}

#[test]
fn ndjson_equals_the_reference() {
    replay_everywhere(Form::Ndjson, false, 997, ROWS);
}

#[test]
fn gzip_equals_the_reference() {
    replay_everywhere(Form::Ndjson, true, 997, ROWS);
}

#[test]
fn lines_equal_the_reference() {
    replay_everywhere(Form::Lines, false, 997, 1500);
}

#[test]
fn tables_equal_the_reference() {
    replay_everywhere(Form::Table, false, 997, 1500);
}

#[test]
fn a_device_that_changes_cores_with_each_event_equals_the_reference() {
    let recorded = recorded(1500);
    let senders = senders(&recorded, 4);
    let server = start(2, &[]);
    let mut clients = connect_to_each_core(&server);
    let form = Form::Single;
    let run = Run { workers: 2, connections: 2, form, is_gzip: false, batch: 1 };
    let mut anomalies = 0;
    for (turn, event) in stream(&senders).into_iter().enumerate() {
        // Five events each: a device comes by both cores, as four devices take turns.
        anomalies += send(&mut clients[turn / 5 % 2], run, &[event]);
    }
    let text = body_of(&mut clients[0], "/analyze");
    assert_eq!(Json(&text).whole("anomalies.points"), anomalies);
    check_at_rest(&mut clients[1], Shape::standard(), &senders);
    check_order(&mut clients[0], Shape::standard(), &senders);
}
