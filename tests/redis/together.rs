//! The protections of a server all at once: TLS behind a proxy, a token, limits, and requests that
//! wait for Redis, one behind the other on one connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use corepulse::config::token_digest::TokenDigest;
use flate2::Compression;
use flate2::write::GzEncoder;
use testkit::metric_load::metric;
use testkit::tls::{Authority, TlsFolder, TlsStream};
use testkit::{Redis, Server};

/// A proxy's word for who its client is.
const PROXY: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n";

fn post(target: &str, token: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{fields}\
         Content-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn gzip(plain: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// A body in chunks of these sizes.
fn chunked(target: &str, token: &str, body: &[u8], sizes: usize) -> Vec<u8> {
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\
         Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let mut request = head.into_bytes();
    for chunk in body.chunks(sizes) {
        request.extend(format!("{:x}\r\n", chunk.len()).bytes());
        request.extend([chunk, b"\r\n"].concat());
    }
    request.extend(b"0\r\n\r\n");
    request
}

#[test]
fn behind_tls_a_proxy_and_limits_answers_come_in_their_order() {
    let (mut redis, authority) = (Redis::start(&[]), Authority::new());
    let files = TlsFolder::new(&authority.server(), None);
    let tokens = files.path("tokens");
    let line =
        |name: &str, rest: &str| format!("{name} {} {rest}\n", TokenDigest::of(name.as_bytes()));
    std::fs::write(&tokens, line("gate", "write dev- 5:3600") + &line("all", "write * -")).unwrap();
    let (url, tokens, tls) = (redis.url(), tokens.display().to_string(), files.flags());
    let mut flags: Vec<&str> = tls.iter().map(String::as_str).collect();
    flags.extend(["--redis-url", &url, "--tokens", &tokens, "--workers", "1"]);
    flags.extend(["--trust-proxy", "127.0.0.1", "--device-limit", "2:3600"]);
    let mut server = Server::start(&flags);
    let address: SocketAddr =
        server.first_line("listening on")["tls_address"].as_str().unwrap().parse().unwrap();
    let (stored, usual) = ("/metrics?ack=stored", "/metrics");
    let event = |device: &str, number| metric(device, number, "1.5").1;
    let requests = [
        (202, post(stored, "gate", "", event("dev-1", 1).as_bytes())),
        (202, post(usual, "gate", "", event("dev-1", 2).as_bytes())),
        // Over the limit of the device, and then of other devices' prefix.
        (429, post(stored, "gate", "", event("dev-1", 3).as_bytes())),
        (403, post(stored, "gate", "", event("other", 1).as_bytes())),
        (401, post(stored, "wrong", "", event("dev-2", 1).as_bytes())),
        (202, chunked(stored, "gate", &gzip(&event("dev-2", 1)), 7)),
        (204, post("/write?ack=stored", "gate", "", b"m,host=dev-3 cpu=1,rps=2 3")),
        (202, post(stored, "gate", "", [event("dev-4", 1), event("x", 1)].join("\n").as_bytes())),
        // The token has no more, and what it may not write takes none of another's.
        (429, post(stored, "gate", "", event("dev-5", 1).as_bytes())),
        (202, post(stored, "all", "", event("other", 2).as_bytes())),
        (202, post(stored, "all", "Connection: close\r\n", event("other", 3).as_bytes())),
    ];
    let mut tcp = TcpStream::connect(address).unwrap();
    tcp.write_all(PROXY).unwrap();
    let mut stream = TlsStream::new(tcp, authority.client_config(None));
    let (expected, sent): (Vec<u16>, Vec<_>) = requests.into_iter().unzip();
    stream.write_all(&sent.concat()).unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    let statuses: Vec<u16> = answers
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|answer| answer.split(' ').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(statuses, expected, "{answers}");
    assert_eq!(answers.matches("\"stored\":true").count(), 5, "{answers}");
    let keys = [("dev-1", 1), ("dev-2", 1), ("dev-4", 1), ("other", 2), ("other", 3)]
        .map(|(device, number)| metric(device, number, "1.5").0);
    assert!(redis.values(keys.iter().map(String::as_str)).iter().all(Option::is_some));
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    let told = server.log_entries("events rejected");
    assert!(told.iter().all(|line| line["peer"] == "192.0.2.7:40000"), "{told:?}");
    assert_eq!(told.iter().map(|line| line["count"].as_u64().unwrap()).sum::<u64>(), 4, "{told:?}");
}
