//! Tests of the parts of the kit for tests with a Redis: the Redis itself, its TLS, the fault
//! proxy.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use testkit::{
    CloseMode, Direction, FaultProxy, ProxyMode, Redis, RedisReply, TIMEOUT, wait_until,
};

fn connect(proxy: &FaultProxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream
}

/// Sends it and reads an answer as long as the expected one.
fn talk(stream: &mut TcpStream, sent: &str, expected: &str) {
    stream.write_all(sent.as_bytes()).unwrap();
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(String::from_utf8_lossy(&answer), expected);
}

#[test]
fn it_is_killed_and_runs_again_where_it_was() {
    let mut redis = Redis::start(&["--appendonly", "yes", "--appendfsync", "no"]);
    redis.execute(&["SET", "a", "1", "EX", "300"]).assert_ok();
    let address = redis.address();
    redis.kill();
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    redis.run();
    // Acknowledged commands were written: the kernel keeps the writes of a killed process.
    assert_eq!(redis.values(["a", "b"]), [Some("1".to_owned()), None]);
    let expiries = redis.expiries(["a", "b"]);
    assert!(expiries[0] > 0 && expiries[1] < 0, "{expiries:?}");
    assert!(TcpStream::connect(address).is_ok());
}

#[test]
fn it_is_frozen_and_thawed() {
    let mut redis = Redis::start(&["--requirepass", "secret"]);
    let mut other = redis.connect().unwrap();
    redis.freeze();
    other.send(&["INCR", "a"]).unwrap();
    redis.begin(&["INCR", "a"]);
    redis.thaw();
    redis.receive_reply().integer();
    other.receive().unwrap().integer();
    assert_eq!(redis.value("a").as_deref(), Some("2"));
}

#[test]
fn it_keeps_one_busy_while_the_test_goes_on() {
    let mut redis = Redis::start(&[]);
    redis.begin(&["DEBUG", "SLEEP", "0.3"]);
    let since = Instant::now();
    redis.receive_reply().assert_ok();
    assert!(since.elapsed() > Duration::from_millis(200), "{:?}", since.elapsed());
    let many = "x".repeat(100_000);
    redis.execute(&["SET", "long", &many]).assert_ok();
    assert_eq!(redis.values(["long"; 500]).len(), 500);
    assert!(matches!(redis.execute(&["NONSENSE"]), RedisReply::Error(_)));
    assert_eq!(
        redis.execute(&["KEYS", "*"]),
        RedisReply::List(vec![RedisReply::Text(Some("long".into()))])
    );
}

#[test]
fn it_speaks_tls_with_a_certificate_of_its_authority() {
    let redis = Redis::start_with_tls(&[]);
    let mut client = Command::new("openssl")
        .args(["s_client", "-quiet", "-verify_return_error", "-verify_ip", "127.0.0.1"])
        .args(["-connect", &redis.address().to_string(), "-CAfile"])
        .arg(redis.authority())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    client.stdin.as_mut().unwrap().write_all(b"PING\r\nQUIT\r\n").unwrap();
    let output = client.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "+PONG\r\n+OK\r\n");
}

#[test]
fn the_proxy_forwards_and_delays() {
    let redis = Redis::start(&[]);
    let proxy = FaultProxy::start(redis.address());
    let mut stream = connect(&proxy);
    talk(&mut stream, "PING\r\n", "+PONG\r\n");
    proxy.set(ProxyMode::Delay(Duration::from_millis(100)));
    let since = Instant::now();
    talk(&mut stream, "PING\r\n", "+PONG\r\n");
    assert!(since.elapsed() > Duration::from_millis(190), "{:?}", since.elapsed());
    assert_eq!((proxy.connections(), proxy.cuts()), (1, 0));
}

#[test]
fn the_proxy_cuts_behind_a_byte() {
    let mut redis = Redis::start(&[]);
    let proxy = FaultProxy::start(redis.address());
    for ending in [CloseMode::Reset, CloseMode::End] {
        let mut stream = connect(&proxy);
        talk(&mut stream, "PING\r\n", "+PONG\r\n");
        proxy.cut_after(Direction::ToServer, 10, ending);
        talk(&mut stream, "PING\r\n", "+PONG\r\n");
        stream.write_all(b"PING\r\n").unwrap();
        let mut rest = Vec::new();
        let end = stream.read_to_end(&mut rest).map_err(|error| error.kind());
        match ending {
            CloseMode::Reset => assert_eq!(end, Err(ErrorKind::ConnectionReset)),
            CloseMode::End => assert_eq!((end, &rest[..]), (Ok(3), &b"+PO"[..])),
        }
    }
    // Commands that are cut on their way to Redis do not run, and those before them do. That holds
    // for an orderly end: a reset may overtake bytes that Redis has not read.
    let mut stream = connect(&proxy);
    proxy.cut_after(Direction::ToRedis, 15, CloseMode::End);
    stream.write_all(b"SET a 1\r\nSET b 2\r\n").unwrap();
    wait_until("the cut", || (proxy.cuts() == 3).then_some(()));
    wait_until("the first command", || (redis.value("a").as_deref() == Some("1")).then_some(()));
    assert_eq!(redis.value("b"), None);
    talk(&mut connect(&proxy), "PING\r\n", "+PONG\r\n");
}

#[test]
fn the_proxy_swallows_and_refuses() {
    let mut redis = Redis::start(&[]);
    let proxy = FaultProxy::start(redis.address());
    let mut old = connect(&proxy);
    talk(&mut old, "PING\r\n", "+PONG\r\n");
    proxy.set(ProxyMode::BlackHole);
    let mut new = connect(&proxy);
    for stream in [&mut old, &mut new] {
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        stream.write_all(b"SET a 1\r\n").unwrap();
        let silence = stream.read(&mut [0]).unwrap_err();
        assert!(matches!(silence.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    }
    proxy.set(ProxyMode::Forward);
    for mut stream in [old, new] {
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    assert_eq!(redis.value("a"), None);
    proxy.set(ProxyMode::Refuse);
    wait_until("connections are refused", || TcpStream::connect(proxy.address).err());
    proxy.set(ProxyMode::Forward);
    wait_until("and taken again", || TcpStream::connect(proxy.address).ok());
}

#[test]
fn the_proxy_delivers_what_it_held_back_after_its_sender_has_gone() {
    let mut redis = Redis::start(&[]);
    let proxy = FaultProxy::start(redis.address());
    let mut early = connect(&proxy);
    talk(&mut early, "PING\r\n", "+PONG\r\n");
    proxy.hold_back();
    early.write_all(b"SET a early\r\n").unwrap();
    drop(early);
    talk(&mut connect(&proxy), "SET a late\r\n", "+OK\r\n");
    assert_eq!(redis.value("a").as_deref(), Some("late"));
    proxy.release();
    wait_until("the early command", || {
        (redis.value("a").as_deref() == Some("early")).then_some(())
    });
}
