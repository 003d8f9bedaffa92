//! A server whose log nobody reads any more still serves.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is all it can do")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

#[test]
fn a_closed_standard_error_ends_nothing() {
    let mut process = Command::new(env!("CARGO_BIN_EXE_corepulse"))
        .args(["--listen", "127.0.0.1:0", "--workers", "1"])
        .env_remove("REDIS_URL")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::with_capacity(1, process.stderr.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    drop(log);
    let (_, address) = line.split_once("listening on http://").unwrap();
    let mut client = TcpStream::connect(address.split(' ').next().unwrap()).unwrap();
    client.write_all(b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    // Its last line goes nowhere, and its exit code still tells that it ended in order.
    let id = process.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    assert!(process.wait().unwrap().success());
}
