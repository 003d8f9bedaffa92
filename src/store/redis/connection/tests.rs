//! A connection to faulty peers.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use redis::IntoConnectionInfo;

use super::*;
use crate::limits::STORE_REPLY_BYTES_MAX;
use percore::clock::Clock;

/// The time that any of these tests may take, on a shared machine.
const LONG: Duration = Duration::from_secs(20);

/// The time-out of each connection.
const TIMEOUT: Duration = Duration::from_millis(200);

/// Starts a server that accepts one connection and calls `talk` with it.
fn peer(
    url: &str,
    talk: impl FnOnce(TcpStream) -> io::Result<()> + Send + 'static,
) -> (RedisResult<Connection>, JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = url.replace("HOST", &listener.local_addr().unwrap().to_string());
    let peer = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_write_timeout(Some(LONG)).unwrap();
        // It fails when the connection ends.
        let _ = talk(stream);
    });
    let mut deadline = Deadline::new(Clock::start(), LONG);
    let info = url.into_connection_info().unwrap();
    let mut connection = Connection::open(&info, &Resolver::default(), &mut deadline);
    if let Ok(connection) = &mut connection {
        connection.set_timeout(TIMEOUT);
    }
    (connection, peer)
}

/// Sends `first`, and then `again` without end.
fn endlessly(first: &'static str, again: &'static str) -> impl FnOnce(TcpStream) -> io::Result<()> {
    move |mut stream| {
        stream.write_all(first.as_bytes())?;
        let again = again.repeat(64 * 1024 / again.len());
        loop {
            stream.write_all(again.as_bytes())?;
        }
    }
}

/// Sends `first`, and then a byte from time to time.
fn drop_by_drop(first: &'static str) -> impl FnOnce(TcpStream) -> io::Result<()> {
    move |mut stream| {
        stream.write_all(first.as_bytes())?;
        loop {
            stream.write_all(b"1")?;
            thread::park_timeout(TIMEOUT / 20);
        }
    }
}

/// A time-out in which an unoptimised parser, too, has parsed the most that it accepts.
const ENDLESS: Duration = LONG.checked_div(4).unwrap();

fn error_of(
    url: &str,
    timeout: Duration,
    talk: impl FnOnce(TcpStream) -> io::Result<()> + Send + 'static,
) -> RedisError {
    let (connection, peer) = peer(url, talk);
    let mut connection = connection.unwrap();
    connection.set_timeout(timeout);
    let since = Instant::now();
    let error = connection.receive(STORE_REPLY_BYTES_MAX).unwrap_err();
    assert!(since.elapsed() < LONG / 2, "{error:?} after {:?}", since.elapsed());
    drop(connection);
    peer.join().unwrap();
    error
}

#[test]
fn a_reply_without_end_is_no_reply() {
    for (first, again) in [
        ("$100000000000\r\n", "x"),
        ("+", "x"),
        ("*1000000000\r\n", ":1\r\n"),
        ("*1\r\n", "*1\r\n"),
    ] {
        let error = error_of("redis://HOST", ENDLESS, endlessly(first, again));
        assert_eq!(error.kind, ErrorKind::Protocol, "{first:?}: {error:?}");
        assert!(error.server.starts_with("127.0.0.1:"), "{error:?}");
    }
}

#[test]
fn what_is_told_unasked_without_end_is_no_reply_either() {
    let error = error_of("redis://HOST", ENDLESS, endlessly("", ">2\r\n+invalidate\r\n_\r\n"));
    assert_eq!(error.kind, ErrorKind::Protocol, "{error:?}");
}

#[test]
fn a_reply_that_comes_drop_by_drop_has_a_deadline_as_a_whole() {
    for first in ["$1000\r\n", "+", "*2\r\n+OK\r\n:"] {
        let error = error_of("redis://HOST", TIMEOUT, drop_by_drop(first));
        assert_eq!(error.kind, ErrorKind::Timeout, "{first:?}: {error:?}");
    }
}

/// The same for a reply to the handshake, of which there is one for each server of a cluster.
#[test]
fn a_greeting_that_comes_drop_by_drop_has_a_deadline() {
    let (connection, peer) = peer("redis://:pw@HOST", drop_by_drop("+"));
    assert_eq!(connection.err().unwrap().kind, ErrorKind::Connect);
    peer.join().unwrap();
}

#[test]
fn who_reads_drop_by_drop_is_not_sent_to_for_ever() {
    let (connection, peer) = peer("redis://HOST", |mut stream| {
        let mut chunk = [0; 1024];
        while stream.read(&mut chunk)? > 0 {
            thread::park_timeout(TIMEOUT / 20);
        }
        Ok(())
    });
    let mut connection = connection.unwrap();
    let since = Instant::now();
    let error = connection.send(&vec![b'x'; 64 * 1024 * 1024]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Timeout, "{error:?}");
    assert!(since.elapsed() < LONG / 2);
    drop(connection);
    peer.join().unwrap();
}

#[test]
fn replies_that_come_together_are_told_apart_and_the_next_has_a_time_of_its_own() {
    let (connection, peer) = peer("redis://HOST", |mut stream| {
        stream.write_all(b"+OK\r\n-OOM command not allowed\r\n>1\r\n+x\r\n$3\r\nabc\r\n+O")?;
        thread::park_timeout(TIMEOUT / 4);
        stream.write_all(b"K\r\n")
    });
    let mut connection = connection.unwrap();
    let mut next = || connection.receive(STORE_REPLY_BYTES_MAX);
    assert_eq!(next(), Ok(Value::Okay));
    let Ok(Value::ServerError(error)) = next() else {
        panic!("no error");
    };
    let error = RedisError::from_reply(&error);
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Oom, "OOM command not allowed"));
    assert_eq!(next(), Ok(Value::BulkString(b"abc".to_vec())));
    assert_eq!(next(), Ok(Value::Okay));
    peer.join().unwrap();
    let end = next().unwrap_err();
    assert_eq!((end.kind, end.message.as_str()), (ErrorKind::Io, "it hung up"));
}

/// The length of a string is known even if it is too long to be read.
#[test]
fn what_is_told_unasked_between_replies_is_none() {
    let (connection, peer) = peer("redis://HOST", |mut stream| {
        let push = ">2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n";
        let replies = format!("+OK\r\n{push}+OK\r\n+OK\r\n{push}{push}-OOM no\r\n{push}+OK\r\n");
        stream.write_all(replies.as_bytes())?;
        stream.read_exact(&mut [0])
    });
    let mut connection = connection.unwrap();
    let mut found = Vec::new();
    while found.len() < 5 {
        match connection.receive_oks(8, STORE_REPLY_BYTES_MAX).unwrap() {
            Replies::Ok(count) => found.extend(vec!["ok"; count]),
            Replies::Other(Value::ServerError(_)) => found.push("error"),
            Replies::Other(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(found, ["ok", "ok", "ok", "error", "ok"]);
    drop(connection);
    peer.join().unwrap();
}

#[test]
fn a_long_string_has_said_so() {
    let (connection, peer) = peer("redis://HOST", endlessly("$70000\r\n", "x"));
    let mut connection = connection.unwrap();
    connection.set_timeout(ENDLESS);
    connection.receive(STORE_REPLY_BYTES_MAX).unwrap_err();
    assert_eq!(connection.announced_bytes(), Some(70_000));
    drop(connection);
    peer.join().unwrap();
}

#[test]
fn nobody_there_is_said_in_the_words_of_the_system() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let mut deadline = Deadline::new(Clock::start(), LONG);
    for (url, message) in [
        (format!("redis://{free}"), "Connection refused"),
        ("redis+unix:///nowhere/at/all".to_owned(), "No such file"),
        ("redis://a-name-without-address.invalid".to_owned(), ""),
    ] {
        let info = url.as_str().into_connection_info().unwrap();
        let opened = Connection::open(&info, &Resolver::default(), &mut deadline);
        let error = opened.err().unwrap();
        assert_eq!(error.kind, ErrorKind::Connect, "{error:?}");
        assert!(error.message.contains(message) && !error.server.is_empty(), "{error:?}");
    }
}
