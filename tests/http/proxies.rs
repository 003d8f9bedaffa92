//! Peers behind proxies, who is believed about them, and how many connections each may have.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use testkit::http_client::{metric, post_with};
use testkit::tls::{Authority, TlsFolder, TlsStream};
use testkit::{Exposition, HttpClient, get, wait_until};

use crate::in_process::InProcessServer;

/// A header of the PROXY protocol, version 2, of a client of this address.
fn binary(client: [u8; 4]) -> Vec<u8> {
    let rest = [&client[..], &[198, 51, 100, 1, 0x9c, 0x40, 1, 0xbb]].concat();
    [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &rest].concat()
}

fn line(client: [u8; 4]) -> Vec<u8> {
    let [a, b, c, d] = client;
    format!("PROXY TCP4 {a}.{b}.{c}.{d} 198.51.100.1 40000 443\r\n").into_bytes()
}

/// A connection from another address of this machine.
fn from(source: [u8; 4], server: &InProcessServer) -> HttpClient {
    HttpClient::connect_from(SocketAddr::from((source, 0)), server.address)
}

/// Posts with a wrong token until the peer has to wait: returns true if it has to in the end.
fn guess(client: &mut HttpClient, fields: &str, numbers: std::ops::Range<u32>) -> bool {
    let statuses = numbers.map(|number| {
        let fields = format!("{fields}Authorization: Bearer guess-{number}\r\n");
        client.request(&post_with(&fields, metric("d1", 17).as_bytes())).status
    });
    statuses.last() == Some(429)
}

fn is_locked_out(client: &mut HttpClient, fields: &str) -> bool {
    let fields = format!("{fields}Authorization: Bearer pen\r\n");
    let status = client.request(&post_with(&fields, metric("d1", 17).as_bytes())).status;
    assert!(matches!(status, 202 | 429), "{status}");
    status == 429
}

#[test]
fn a_trusted_proxy_tells_who_guesses() {
    let flags = ["--ingest-token", "pen", "--trust-proxy", "127.0.0.1"];
    let running = InProcessServer::start(&flags);
    for field in ["X-Forwarded-For: 192.0.2.", "Forwarded: proto=https;for=192.0.2."] {
        let mut client = running.client();
        let [bad, good] = [format!("{field}1\r\n"), format!("{field}2\r\n")];
        // Each time so many: the address is known from the field before.
        assert!(guess(&mut client, &bad, 0..100), "{field}");
        assert!(is_locked_out(&mut client, &bad), "{field}");
        assert!(!is_locked_out(&mut client, &good), "{field}");
        assert!(!is_locked_out(&mut client, ""), "{field}");
        // Nor does it help to write something before what the proxy adds.
        let hidden =
            field.replace(": ", ": 9.9.9.9, ").replace("9, proto", "9, for=8.8.8.8, proto");
        assert!(is_locked_out(&mut client, &format!("{hidden}1\r\n")), "{hidden}");
    }
    // By the address that both versions of the PROXY protocol give.
    for header in [binary, line] {
        let mut client = running.client();
        client.send(&header([192, 0, 2, 1]));
        assert!(is_locked_out(&mut client, ""));
        let mut client = running.client();
        client.send(&header([192, 0, 2, 3]));
        assert!(!is_locked_out(&mut client, ""));
        // Who is no proxy is not believed what he writes, also behind one.
        assert!(!is_locked_out(&mut client, "X-Forwarded-For: 192.0.2.1\r\n"));
    }
}

#[test]
fn others_are_not_believed_who_they_are() {
    let flags = ["--ingest-token", "pen", "--trust-proxy", "127.0.0.1,10.0.0.0/8"];
    let running = InProcessServer::start(&flags);
    let mut stranger = from([127, 0, 0, 7], &running);
    for number in 0..100 {
        let fields = format!(
            "X-Forwarded-For: 10.0.0.{number}\r\nForwarded: for=10.0.0.{number}\r\n\
             X-Real-IP: 10.0.0.{number}\r\n"
        );
        guess(&mut stranger, &fields, number..number + 1);
    }
    assert!(is_locked_out(&mut stranger, "X-Forwarded-For: 10.1.1.1\r\n"));
    assert!(!is_locked_out(&mut running.client(), "X-Forwarded-For: 10.0.0.5\r\n"));
    // A header of the PROXY protocol is no request.
    let mut stranger = from([127, 0, 0, 7], &running);
    stranger.send(&[line([192, 0, 2, 1]), get("/health")].concat());
    assert_eq!(stranger.receive().status, 400);
    // And without the flag nobody is.
    let open = InProcessServer::start(&["--ingest-token", "pen"]);
    let mut client = open.client();
    guess(&mut client, "X-Forwarded-For: 192.0.2.1\r\n", 0..100);
    assert!(is_locked_out(&mut client, "X-Forwarded-For: 192.0.2.2\r\n"));
    let mut client = open.client();
    client.send(&[binary([192, 0, 2, 1]), get("/health")].concat());
    assert_eq!(client.receive().status, 400);
}

#[test]
fn a_header_is_read_wherever_it_is_split() {
    let running = InProcessServer::start(&["--trust-proxy", "127.0.0.1"]);
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec();
    for header in
        [binary([192, 0, 2, 1]), line([192, 0, 2, 1]), b"PROXY UNKNOWN\r\n".to_vec(), local]
    {
        let all = [&header[..], &get("/health"), &get("/ready")].concat();
        for split in 1..all.len() {
            let (first, second) = all.split_at(split);
            let mut client = running.client();
            client.send(first);
            client.send(second);
            let statuses = [client.receive().status, client.receive().status];
            assert_eq!(statuses, [200, 200], "at {split} of {header:?}");
        }
    }
    let mut client = running.client();
    for byte in [binary([192, 0, 2, 1]), get("/health")].concat() {
        client.send(&[byte]);
    }
    assert_eq!(client.receive().status, 200);
    // A proxy that says nothing is none just then, and its bytes are all of its client's.
    let mut client = running.client();
    assert_eq!(client.request(&[&b"\r\n"[..], &get("/health")].concat()).status, 200);
    for bad in [&b"PROXY TCP4 a b c d\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\0"] {
        let mut client = running.client();
        client.send(&[bad, &get("/health")].concat());
        assert_eq!(client.try_receive(false).ok().flatten().map(|it| it.status), None, "{bad:?}");
    }
    // A header that is never complete holds no more than an idle connection does.
    let mut half = running.client();
    half.send(b"PROXY TCP4 192.0.2.1 ");
    assert_eq!(running.client().get("/health").status, 200);
}

#[test]
fn tls_begins_behind_the_header() {
    let authority = Authority::new();
    let files = TlsFolder::new(&authority.server(), None);
    let tls = files.flags();
    let mut flags: Vec<&str> = tls.iter().map(String::as_str).collect();
    flags.extend(["--trust-proxy", "127.0.0.1", "--ingest-token", "pen"]);
    let running = InProcessServer::start(&flags);
    let address = running.tls_address.unwrap();
    for (header, expected) in
        [(binary([192, 0, 2, 1]), "200 OK"), (line([192, 0, 2, 1]), "200 OK"), (vec![], "200 OK")]
    {
        let mut tcp = TcpStream::connect(address).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        tcp.write_all(&header).unwrap();
        let mut tls = TlsStream::new(tcp, authority.client_config(None));
        tls.write_all(&get("/health")).unwrap();
        let mut answer = [0; 512];
        let bytes = tls.read(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer[..bytes]).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{answer}");
    }
}

/// HAProxy ends its probes with a reset, and may send a header of its own before.
#[test]
fn a_probe_that_ends_with_a_reset_is_no_failure() {
    let authority = Authority::new();
    let files = TlsFolder::new(&authority.server(), None);
    let tls = files.flags();
    let mut flags: Vec<&str> = tls.iter().map(String::as_str).collect();
    flags.extend(["--trust-proxy", "127.0.0.1"]);
    let running = InProcessServer::start(&flags);
    let count = |outcome: &str| {
        let series =
            format!("corepulse_tls_handshakes_total{{outcome=\"{outcome}\",version=\"none\"}}");
        Exposition::scrape(running.address).value(&series)
    };
    let own = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    for (number, header) in [(1.0, &b""[..]), (2.0, own)] {
        let probe = TcpStream::connect(running.tls_address.unwrap()).unwrap();
        (&probe).write_all(header).unwrap();
        socket2::SockRef::from(&probe).set_linger(Some(Duration::ZERO)).unwrap();
        drop(probe);
        wait_until("it is counted", || {
            (count("unused") + count("aborted") >= number).then_some(())
        });
    }
    assert_eq!((count("unused"), count("aborted")), (2.0, 0.0));
}

#[test]
fn an_address_has_so_many_connections_and_no_more() {
    let flags = ["--peer-connections", "3", "--trust-proxy", "127.0.0.9"];
    let running = InProcessServer::start(&flags);
    let is_served = |mut client: HttpClient| {
        let sent = client.try_send(&get("/health"));
        let served = sent.is_ok() && matches!(client.try_receive(false), Ok(Some(_)));
        served.then_some(client)
    };
    let mut held: Vec<_> =
        (0..3).map(|_| is_served(from([127, 0, 0, 2], &running)).unwrap()).collect();
    assert!(is_served(from([127, 0, 0, 2], &running)).is_none());
    // Those that are there go on, and other addresses have their own.
    assert_eq!(held[0].get("/health").status, 200);
    assert!(is_served(from([127, 0, 0, 3], &running)).is_some());
    held.pop();
    wait_until("a place is free again", || is_served(from([127, 0, 0, 2], &running)));
    // A proxy has as many as its clients have.
    let proxied = |client: u8| {
        let mut proxy = from([127, 0, 0, 9], &running);
        proxy.send(&binary([192, 0, 2, client]));
        is_served(proxy)
    };
    let clients: Vec<_> = (0..8).map(|client| proxied(client).unwrap()).collect();
    let more: Vec<_> = (0..2).map(|_| proxied(1).unwrap()).collect();
    assert!(proxied(1).is_none());
    drop((clients, more));
    let exposition = running.client().get("/metrics/prometheus");
    let closed = exposition.text().lines().find_map(|line| {
        line.strip_prefix("corepulse_connections_closed_total{reason=\"peer_limit\"} ")
    });
    assert!(closed.unwrap().parse::<u64>().unwrap() >= 2, "{closed:?}");
}
