//! The warnings of events that many clients may cause: one line for all of them, which names one
//! client and the number of events since the last line.

use serde_json::Value;
use testkit::{Exposition, HttpClient, Server, get, post, wait_until};

const REJECTED: &str = "events rejected";
const IGNORED: &str = "members that are ignored";
const REFUSED: &str = "requests with metrics refused";
const DEVICES: &str = "more devices than --max-devices";
const LIMIT: &str = "connections past --max-connections";
const PEER_LIMIT: &str = "connections past --peer-connections";
const PROXY_HEADER: &str = "malformed header of the PROXY protocol";
const EXHAUSTED: &str = "out of file descriptors";

/// Stops the process, and returns the log lines whose message contains this text.
fn lines(mut server: Server, message: &str) -> Vec<Value> {
    server.signal("TERM");
    server.wait();
    server.log_entries(message)
}

fn counts(lines: &[Value]) -> Vec<u64> {
    lines.iter().map(|line| line["count"].as_u64().unwrap_or_else(|| panic!("{line}"))).collect()
}

fn peer(client: &HttpClient) -> String {
    client.stream().local_addr().unwrap().to_string()
}

#[test]
fn who_sends_bad_events_is_named_once_and_the_rest_counted() {
    let server = Server::start(&["--workers", "1"]);
    let (mut first, mut others) = (server.client(), server.client());
    let (name, other) = (peer(&first), peer(&others));
    let bad = br#"{"device_id":"pump-7","cpu":-1,"rps":1}"#;
    assert_eq!(first.request(&post(bad)).status, 400);
    for _ in 0..30 {
        // Two of three are bad, in another way and without a name.
        let body = b"{\"cpu\":1,\"rps\":1}\n{\"cpu\":1}\nnot json\n";
        assert_eq!(others.request(&post(body)).status, 202);
    }
    let lines = lines(server, REJECTED);
    assert_eq!(counts(&lines), [1, 60], "{lines:?}");
    let told = &lines[0];
    assert_eq!((&told["level"], &told["peer"]), (&"WARN".into(), &name.into()), "{told}");
    assert_eq!((&told["device_id"], &told["reason"]), (&"pump-7".into(), &"range".into()));
    let detail = told["detail"].as_str().unwrap();
    assert!(detail.starts_with("cpu: expected") && detail.contains("at byte"), "{told}");
    // Later events are reported with the first one since the last line.
    let rest = &lines[1];
    assert_eq!((&rest["peer"], &rest["reason"]), (&other.into(), &"missing".into()), "{rest}");
    assert!(rest["detail"].as_str().unwrap().starts_with("rps: missing"), "{rest}");
}

/// `deviceId` is no `device_id`: the event is taken as one without a device, which its sender did
/// not mean.
#[test]
fn members_that_are_ignored_are_named_where_a_name_or_a_time_is_missing() {
    let server = Server::start(&["--workers", "1"]);
    let mut client = server.client();
    let name = peer(&client);
    let bodies = [
        r#"{"cpu":1,"rps":1,"deviceId":"pump-7","ts":1700000000,"\u001b[2J":0}"#,
        r#"[{"cpu":1,"rps":1,"device-id":"a"},{"cpu":1,"rps":1,"host":"a"},{"cpu":1,"rps":1}]"#,
        r#"{"cpu":1,"rps":1,"device_id":"a","timestamp":1700000000,"host":"b"}"#,
        r#"{"cpu":1,"rps":1}"#,
    ];
    for body in bodies {
        assert_eq!(client.request(&post(body.as_bytes())).status, 202, "{body}");
    }
    let lines = lines(server, IGNORED);
    assert_eq!(counts(&lines), [1, 2], "{lines:?}");
    let told = &lines[0];
    assert_eq!((&told["level"], &told["peer"]), (&"WARN".into(), &name.into()), "{told}");
    assert_eq!(told["missing"], "device_id, timestamp", "{told}");
    assert_eq!(told["ignored"], "deviceId, ts, \\\\u001b[2J", "{told}");
}

/// With names of its own, the server misses those.
#[test]
fn what_is_missing_is_named_as_it_is_configured() {
    let names = ["--device-name", "deviceId,serial", "--timestamp-name", "ts"];
    let server = Server::start(&[&names[..], &["--workers", "1"]].concat());
    let mut client = server.client();
    let bodies = [
        r#"{"cpu":1,"rps":1,"device_id":"pump-7","timestamp":1700000000}"#,
        r#"{"cpu":1,"rps":1,"SERIAL":"pump-7","ts":1700000000,"device_id":"pump-7"}"#,
        r#"{"cpu":1,"rps":1,"deviceId":"pump-7","time":1700000000}"#,
    ];
    for body in bodies {
        assert_eq!(client.request(&post(body.as_bytes())).status, 202, "{body}");
    }
    let lines = lines(server, IGNORED);
    assert_eq!(counts(&lines), [1, 1], "{lines:?}");
    let told = |at: usize| (lines[at]["missing"].clone(), lines[at]["ignored"].clone());
    assert_eq!(told(0), ("deviceId, ts".into(), "device_id, timestamp".into()));
    assert_eq!(told(1), ("ts".into(), "time".into()));
}

#[test]
fn what_a_stranger_wrote_cannot_forge_a_line() {
    let server = Server::start(&["--workers", "1"]);
    let body = br#"{"cpu":1,"rps":1,"device_id":"\u001b[2J\nlevel=ERROR"}"#;
    assert_eq!(server.client().request(&post(body)).status, 400);
    let lines = lines(server, REJECTED);
    assert_eq!(lines[0]["device_id"], "\\u{1b}[2J\\nlevel=ERROR", "{lines:?}");
}

/// A device that is unreadable itself is passed over for one that can be looked for.
#[test]
fn an_event_with_a_device_is_named_before_one_without() {
    let server = Server::start(&["--workers", "1"]);
    let body = b"rubbish\n{\"device_id\":\"d-9\",\"cpu\":1}\n{\"device_id\":\"d-8\",\"cpu\":1}";
    assert_eq!(server.client().request(&post(body)).status, 400);
    let lines = lines(server, REJECTED);
    assert_eq!(counts(&lines), [3], "{lines:?}");
    assert_eq!((&lines[0]["device_id"], &lines[0]["reason"]), (&"d-9".into(), &"missing".into()));
}

#[test]
fn requests_that_are_refused_as_a_whole_are_told_with_what_they_were_answered() {
    let server = Server::start(&["--workers", "1", "--ingest-token", "secret"]);
    let mut client = server.client();
    let name = peer(&client);
    let answer = client.request(&post(br#"{"cpu":1,"rps":1}"#));
    assert_eq!(answer.status, 401, "{answer:?}");
    for _ in 0..5 {
        assert_eq!(client.request(&post(b"[1,")).status, 401);
    }
    let lines = lines(server, REFUSED);
    assert_eq!(counts(&lines), [1, 5], "{lines:?}");
    assert_eq!((&lines[0]["peer"], &lines[0]["status"]), (&name.into(), &401.into()));
    assert_eq!(lines[0]["detail"], answer.json()["detail"]);
}

#[test]
fn each_request_is_told_of_where_that_is_wanted() {
    let server = Server::start(&["--workers", "1", "--log-level", "debug"]);
    for number in 0..4 {
        let body = format!(r#"{{"device_id":"d{number}","cpu":1}}"#);
        assert_eq!(server.client().request(&post(body.as_bytes())).status, 400);
    }
    let lines = lines(server, REJECTED);
    let devices: Vec<_> = lines.iter().filter_map(|line| line["device_id"].as_str()).collect();
    // The last one is the warning of the three, with the first of them.
    assert_eq!(devices, ["d0", "d1", "d2", "d3", "d1"], "{lines:?}");
    assert_eq!((&lines[0]["level"], &lines[1]["level"]), (&"WARN".into(), &"DEBUG".into()));
}

#[test]
fn devices_past_the_limit_are_told_once() {
    let server = Server::start(&["--workers", "1", "--max-devices", "1"]);
    let mut client = server.client();
    let name = peer(&client);
    for device in ["first", "second", "third"] {
        let body = format!(r#"{{"device_id":"{device}","cpu":1,"rps":1}}"#).repeat(5);
        assert_eq!(client.request(&post(body.as_bytes())).status, 202);
    }
    let lines = lines(server, DEVICES);
    assert_eq!(counts(&lines), [5, 5], "{lines:?}");
    let told = &lines[0];
    assert_eq!((&told["peer"], &told["devices_max"]), (&name.into(), &1.into()), "{told}");
    assert_eq!(told["level"], "WARN");
}

/// Connections that have begun a request, so that none of them may be closed for a newcomer.
fn busy(server: &Server, count: usize) -> Vec<HttpClient> {
    let request = get("/health");
    let mut clients: Vec<HttpClient> = (0..count).map(|_| server.client()).collect();
    for client in &mut clients {
        assert_eq!(client.request(&request).status, 200);
        client.send(&request[..10]);
    }
    clients
}

#[test]
fn connections_past_the_limit_are_told_once() {
    let server = Server::start(&["--workers", "1", "--max-connections", "4"]);
    let busy = busy(&server, 4);
    let mut newcomer = server.client();
    let name = peer(&newcomer);
    assert_eq!(newcomer.request(&get("/analyze")).status, 503);
    for _ in 0..9 {
        assert_eq!(server.client().request(&get("/health")).status, 200);
    }
    drop(busy);
    let lines = lines(server, LIMIT);
    assert_eq!(counts(&lines), [1, 9], "{lines:?}");
    let told = &lines[0];
    assert_eq!((&told["newcomer"], &told["connections_max"]), (&name.into(), &4.into()), "{told}");
    assert_eq!(told["level"], "WARN");
}

/// Evicting is no less a loss to the device that it happens to.
#[test]
fn idle_connections_that_go_for_newcomers_are_told_too() {
    let server = Server::start(&["--workers", "2", "--max-connections", "4"]);
    let mut clients: Vec<HttpClient> = (0..12).map(|_| server.client()).collect();
    let served = clients.iter_mut().filter_map(|client| {
        client.try_send(&get("/health")).ok()?;
        client.try_receive(false).ok()?
    });
    assert!(served.count() >= 4);
    drop(clients);
    let lines = lines(server, LIMIT);
    assert_eq!(counts(&lines).iter().sum::<u64>(), 8, "{lines:?}");
}

#[test]
fn descriptors_that_run_out_are_told_once() {
    let server = Server::start(&["--workers", "1"]);
    let mut busy = busy(&server, 4);
    server.limit_descriptors(server.descriptors());
    let mut waiting: Vec<HttpClient> = (0..8).map(|_| server.client()).collect();
    for client in &mut waiting {
        client.send(&get("/health"));
    }
    let told = server.wait_for_log(EXHAUSTED);
    assert_eq!((&told["level"], &told["count"]), (&"WARN".into(), &1.into()), "{told}");
    assert!(told["error"].as_str().unwrap().contains("Too many open files"), "{told}");
    for client in &mut busy {
        assert_eq!(client.request(&get("/health")[10..]).status, 200);
    }
    server.limit_descriptors(1000);
    for client in &mut waiting {
        assert_eq!(client.receive().status, 200);
    }
}

#[test]
fn a_flood_that_has_ended_is_told_before_the_end_of_the_log() {
    let server = Server::start(&["--workers", "1"]);
    let mut client = server.client();
    let mut count = 0;
    wait_until("a thousand rejected events", || {
        client.send(&post(br#"{"cpu":true,"rps":1}"#).repeat(16));
        (0..16).for_each(|_| assert_eq!(client.receive().status, 400));
        count += 16;
        (count > 1_000).then_some(())
    });
    let lines = lines(server, REJECTED);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(counts(&lines).iter().sum::<u64>(), count, "{lines:?}");
}

#[test]
fn who_has_too_many_connections_is_named_whoever_tells_its_address() {
    let flags = ["--workers", "1", "--peer-connections", "1", "--trust-proxy", "127.0.0.1"];
    let server = Server::start(&flags);
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut client = server.client();
        client.send(b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n");
        client.send(&get("/health"));
        held.push((client.try_receive(false).ok().flatten().map(|it| it.status), client));
    }
    let statuses: Vec<_> = held.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [Some(200), None, None, None]);
    let lines = lines(server, PEER_LIMIT);
    assert_eq!(counts(&lines), [1, 2], "{lines:?}");
    assert_eq!(lines[0]["peer"], "192.0.2.7:40000", "{lines:?}");
}

#[test]
fn a_proxy_that_is_not_understood_is_named() {
    let server = Server::start(&["--workers", "1", "--trust-proxy", "127.0.0.1"]);
    for header in [&b"PROXY TCP4 a b c d\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"] {
        let mut proxy = server.client();
        proxy.send(header);
        assert!(!matches!(proxy.try_receive(false), Ok(Some(_))));
    }
    let closed = "corepulse_connections_closed_total{reason=\"proxy_header\"}";
    assert_eq!(Exposition::scrape(server.address).value(closed), 2.0);
    assert_eq!(counts(&lines(server, PROXY_HEADER)), [1, 1]);
}
