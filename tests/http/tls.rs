//! TLS on the wire: who is let in and how, who is not, and what each is told.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::in_process::InProcessServer;
use testkit::http_client::{metric, post_with};
use testkit::tls::{Authority, ClientConfig, Ends, Identity, TLS12, TLS13, TlsFolder, TlsStream};
use testkit::{Exposition, HttpClient, assert_problem, get, post, wait_until};

/// A server that speaks TLS, and who signs for it.
struct TlsServer {
    running: InProcessServer,
    authority: Authority,
    _files: TlsFolder,
}

impl TlsServer {
    fn start(flags: &[&str]) -> Self {
        Self::with_clients(None, flags)
    }

    fn with_clients(clients: Option<&Authority>, flags: &[&str]) -> Self {
        let authority = Authority::new();
        let files = TlsFolder::new(&authority.server(), clients);
        let tls = files.flags();
        let all: Vec<_> = tls.iter().map(String::as_str).chain(flags.iter().copied()).collect();
        Self { running: InProcessServer::start(&all), authority, _files: files }
    }

    fn address(&self) -> SocketAddr {
        self.running.tls_address.unwrap()
    }

    fn config(&self) -> ClientConfig {
        self.authority.client_config(None)
    }

    fn client(&self) -> HttpClient {
        self.running.tls_client(self.config())
    }

    /// Connects in clear to where TLS is spoken.
    fn raw(&self) -> HttpClient {
        HttpClient::connect(self.address())
    }

    fn value(&self, series: &str) -> f64 {
        Exposition::scrape(self.running.address).value(series)
    }

    fn handshakes(&self, outcome: &str, version: &str) -> f64 {
        self.value(&format!(
            "corepulse_tls_handshakes_total{{outcome=\"{outcome}\",version=\"{version}\"}}"
        ))
    }

    fn until_failed(&self, outcome: &str, count: f64) {
        wait_until(outcome, || (self.handshakes(outcome, "none") >= count).then_some(()));
        assert_eq!(self.handshakes(outcome, "none"), count);
    }
}

/// Returns a handshake's error at the client, which may come only with its first answer.
fn refusal(address: SocketAddr, config: ClientConfig) -> String {
    let mut stream = TlsStream::new(TcpStream::connect(address).unwrap(), config);
    stream.tcp().set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let failed = stream.handshake().and_then(|()| {
        stream.write_all(&get("/health"))?;
        stream.read(&mut [0; 1024])
    });
    failed.expect_err("it is refused").to_string()
}

#[test]
fn both_versions_serve_and_resume() {
    let server = TlsServer::start(&[]);
    for (version, name) in [(&TLS12, "1.2"), (&TLS13, "1.3")] {
        let config = server.authority.client_config_of(None, &[version]);
        for outcome in ["full", "resumed"] {
            let mut client = server.running.tls_client(config.clone());
            let answer = client.request(&post(metric("d1", 1_700_000_000).as_bytes()));
            assert_eq!(answer.status, 202, "{answer:?}");
            assert_eq!(client.get("/health").status, 200);
            assert_eq!(server.handshakes(outcome, name), 1.0, "{outcome} {name}");
        }
    }
    assert_eq!(server.value("corepulse_events_accepted_total"), 4.0);
    wait_until("all are closed", || {
        (server.value("corepulse_tls_connections") == 0.0).then_some(())
    });
}

#[test]
fn a_request_in_clear_is_told_so_in_clear() {
    let server = TlsServer::start(&[]);
    for request in [get("/health"), post(metric("d1", 1).as_bytes())] {
        let mut client = server.raw();
        let answer = client.request(&request);
        assert_problem(&answer, 400, &request);
        assert!(answer.text().contains("https://") && answer.closes_connection(), "{answer:?}");
        client.assert_end();
    }
    server.until_failed("clear", 2.0);
}

#[test]
fn tls_where_none_is_spoken_gets_an_alert() {
    let server = TlsServer::start(&[]);
    let said = refusal(server.running.address, server.config());
    assert!(said.contains("HandshakeFailure"), "{said}");
    // Bytes that only begin like it are refused in the same way.
    let mut client = server.running.client();
    client.send(&[22, 3, 1]);
    assert_eq!(client.read_to_end(), [21, 3, 1, 0, 2, 2, 40]);
}

#[test]
fn the_address_in_clear_and_tls_are_one_server() {
    let server = TlsServer::start(&[]);
    let mut secure = server.client();
    assert_eq!(secure.request(&post(metric("d1", 1_700_000_000).as_bytes())).status, 202);
    let answer = server.running.client().get("/metrics/d1:1700000000");
    assert_eq!(answer.status, 200, "{answer:?}");
    // A target with its scheme is none that was sent to the wrong server.
    let absolute = b"GET https://localhost/health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(secure.request(absolute).status, 200);
    assert_eq!(secure.request(absolute).status, 200);
    assert_eq!(server.running.client().request(absolute).status, 421);
}

#[test]
fn large_bodies_and_answers_pass_through_many_records() {
    let server = TlsServer::start(&["--max-body", "8MiB"]);
    let events: Vec<_> = (0..10_000).map(|n| metric(&format!("d{n}"), 1_700_000_000)).collect();
    let body = format!("[{}]", events.join(","));
    let mut client = server.client();
    for round in 1..=3_u32 {
        let fields = "Content-Type: application/json\r\n";
        let answer = client.request(&post_with(fields, body.as_bytes()));
        assert_eq!(answer.status, 202, "{answer:?}");
        let accepted = server.value("corepulse_events_accepted_total");
        assert_eq!(accepted, 10_000.0 * f64::from(round));
    }
    let page = client.get("/devices?limit=1000");
    assert!(page.status == 200 && page.body.len() > 3 * 16 * 1024, "{}", page.body.len());
}

#[test]
fn an_end_that_is_not_announced_is_counted() {
    let server = TlsServer::start(&[]);
    let mut polite = server.client();
    assert_eq!(polite.get("/health").status, 200);
    polite.shutdown_write();
    // The answer to an announced end is one.
    polite.assert_end();
    let closed = || server.value("corepulse_tls_connections") == 0.0;
    wait_until("it is closed", || closed().then_some(()));
    assert_eq!(server.value("corepulse_tls_truncated_total"), 0.0);
    let mut rude = server.client();
    assert_eq!(rude.get("/health").status, 200);
    rude.stream().shutdown(Shutdown::Write).unwrap();
    rude.assert_end();
    wait_until("it is counted", || {
        (server.value("corepulse_tls_truncated_total") == 1.0).then_some(())
    });
}

#[test]
fn a_last_answer_is_followed_by_an_announced_end() {
    let server = TlsServer::start(&["--idle-timeout", "1s"]);
    let mut client = server.client();
    let answer = client.request(b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(answer.closes_connection());
    // The client's TLS takes an end that is not announced for an error.
    client.assert_end();
    let mut idle = server.client();
    assert_eq!(idle.get("/health").status, 200);
    idle.assert_end();
}

#[test]
fn nothing_weak_is_taken() {
    let server = TlsServer::start(&[]);
    let offers: [&[&str]; 6] = [
        &["-tls1", "-cipher", "ALL:@SECLEVEL=0"],
        &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
        // Without forward secrecy, with CBC, without encryption.
        &["-tls1_2", "-cipher", "AES128-GCM-SHA256:AES128-SHA"],
        &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA384"],
        &["-tls1_2", "-cipher", "NULL:aNULL:@SECLEVEL=0"],
        &["-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_SHA256"],
    ];
    for offer in offers {
        let said = s_client(server.address(), offer, b"");
        assert!(said.contains("alert handshake failure"), "{offer:?}: {said}");
        assert!(said.contains("Cipher is (NONE)"), "{offer:?}: {said}");
    }
    server.until_failed("refused", offers.len() as f64);
    let said = s_client(server.address(), &["-alpn", "h2"], b"");
    assert!(said.contains("alert no application protocol"), "{said}");
    let said = s_client(server.address(), &["-alpn", "h2,http/1.1"], b"");
    assert!(said.contains("ALPN protocol: http/1.1"), "{said}");
    // An R has this client begin a new handshake inside of the old one.
    let said = s_client(server.address(), &["-tls1_2"], b"R\n");
    assert!(said.contains("no renegotiation"), "{said}");
    assert_eq!(server.client().get("/health").status, 200);
}

/// Runs OpenSSL's client with some input, and returns all that it says.
fn s_client(address: SocketAddr, offer: &[&str], input: &[u8]) -> String {
    let mut child = std::process::Command::new("openssl")
        .args(["s_client", "-connect", &address.to_string()])
        .args(offer)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("ci/setup installs openssl");
    let mut stdin = child.stdin.take().unwrap();
    // It may have ended already. The end of its input ends it.
    let _ = stdin.write_all(input);
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    [output.stdout, output.stderr].concat().escape_ascii().to_string()
}

#[test]
fn half_a_handshake_ends_in_its_time() {
    let server = TlsServer::start(&["--request-timeout", "1s"]);
    let mut silent = server.raw();
    let mut half = server.raw();
    half.send(&hello(&server.config())[..100]);
    let mut trickle = server.raw();
    let since = Instant::now();
    for byte in hello(&server.config()) {
        if trickle.try_send(&[byte]).is_err() {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    for client in [&mut silent, &mut half, &mut trickle] {
        assert!(client.is_ended());
    }
    assert!(since.elapsed() > Duration::from_millis(900), "{:?}", since.elapsed());
    server.until_failed("timeout", 3.0);
    assert_eq!(server.client().get("/health").status, 200);
}

/// Returns the first bytes of a client.
fn hello(config: &ClientConfig) -> Vec<u8> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut stream = TlsStream::new(stream, config.clone());
    let mut bytes = Vec::new();
    stream.connection().write_tls(&mut bytes).unwrap();
    bytes
}

#[test]
fn what_is_no_tls_gets_an_alert_and_an_end() {
    let server = TlsServer::start(&[]);
    let oversize = [&[22, 3, 1, 0xff, 0xff][..], &[0; 1000]].concat();
    let mut bad_hello = hello(&server.config());
    bad_hello[6] = 0xff;
    let garbage: [&[u8]; 5] =
        [&[0; 64], &[0x80, 0x2e, 1, 0, 2], &oversize, &bad_hello, b"\x16\x03\x01\x00\x00"];
    for bytes in garbage {
        let mut client = server.raw();
        client.send(bytes);
        client.shutdown_write();
        let said = client.read_to_end();
        assert!(said.is_empty() || said[0] == 21, "{bytes:?}: {said:?}");
    }
    assert_eq!(server.client().get("/health").status, 200);
    // After the handshake as well.
    let mut client = server.client();
    assert_eq!(client.get("/health").status, 200);
    client.stream().write_all(&[23, 3, 3, 0xff, 0xff]).unwrap();
    let mut rest = Vec::new();
    client.stream().read_to_end(&mut rest).unwrap();
    assert_eq!(rest[0], 23, "an encrypted alert: {rest:?}");
    assert_eq!(server.client().get("/health").status, 200);
}

/// Behind the reading of HTTP, what a server knows of a client by its certificate.
#[test]
fn a_client_is_asked_for_its_certificate() {
    let (clients, foreign) = (Authority::new(), Authority::new());
    let server = TlsServer::with_clients(Some(&clients), &[]);
    let config = |identity: Option<&Identity>| server.authority.client_config(identity);
    for name in [clients.client("gw-7"), clients.sign("", &["gw-8.example"], Ends::Late)] {
        let mut client = server.running.tls_client(config(Some(&name)));
        assert_eq!(client.get("/health").status, 200);
    }
    let refused = [
        (None, "CertificateRequired"),
        (Some(foreign.client("gw-7")), "UnknownCA"),
        (Some(clients.sign("gw-7", &[], Ends::Past)), "CertificateExpired"),
        (Some(clients.client("gw 7")), "AccessDenied"),
        (Some(clients.client(&"g".repeat(200))), "AccessDenied"),
        (Some(clients.sign("", &[], Ends::Late)), "AccessDenied"),
    ];
    let count = refused.len() as f64;
    for (identity, alert) in refused {
        let said = refusal(server.address(), config(identity.as_ref()));
        assert!(said.contains(alert), "{alert}: {said}");
    }
    server.until_failed("certificate", count);
    assert_eq!(server.handshakes("full", "1.3"), 2.0);
}

#[test]
fn a_certificate_binds_the_device() {
    let clients = Authority::new();
    let server = TlsServer::with_clients(Some(&clients), &["--workers", "1"]);
    let of = |name: &str| {
        let config = server.authority.client_config(Some(&clients.client(name)));
        server.running.tls_client(config)
    };
    let [mut seven, mut eight] = ["gw-7", "gw-8"].map(of);
    // In clear anybody may write; the same head then comes from others.
    let mut anybody = server.running.client();
    let usual = |device: &str, timestamp: u64| post(metric(device, timestamp).as_bytes());
    for timestamp in 1..4 {
        assert_eq!(anybody.request(&usual("gw-9", 1_700_000_000 + timestamp)).status, 202);
        assert_eq!(seven.request(&usual("gw-7", 1_700_000_000 + timestamp)).status, 202);
        let answer = eight.request(&usual("gw-7", 1_700_000_100 + timestamp));
        assert_problem(&answer, 403, b"");
        assert!(answer.text().contains("gw-8"), "{answer:?}");
    }
    // It may be left out.
    let answer = eight.request(&post(br#"{"timestamp":1700000200,"cpu":1,"rps":2}"#));
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(server.running.client().get("/metrics/gw-8:1700000200").status, 200);
    let mixed = format!(
        "[{},{},{}]",
        metric("gw-7", 1_700_000_300),
        metric("gw-8", 1_700_000_300),
        r#"{"timestamp":1700000301,"cpu":1,"rps":2}"#
    );
    let answer = eight.request(&post(mixed.as_bytes()));
    assert_eq!(answer.status, 202, "{answer:?}");
    assert!(answer.text().contains(r#""accepted":2"#), "{answer:?}");
    assert!(answer.text().contains(r#"the client certificate is of \"gw-8\""#), "{answer:?}");
    let line = b"POST /write?precision=s HTTP/1.1\r\nHost: a\r\nContent-Length: 43\r\n\r\n\
        m,device_id=gw-7 cpu=1,rps=2 1700000400     ";
    let answer = eight.request(line);
    assert_eq!(answer.status, 403, "{answer:?}");
    let forbidden = server.value("corepulse_events_rejected_total{reason=\"forbidden\"}");
    assert_eq!(forbidden, 5.0);
}

#[test]
fn a_port_that_is_only_opened_is_no_failure() {
    let server = TlsServer::start(&[]);
    drop(server.raw());
    server.until_failed("unused", 1.0);
    let mut client = server.raw();
    client.send(&hello(&server.config())[..10]);
    drop(client);
    server.until_failed("aborted", 1.0);
}

/// Whatever pieces the bytes of a client come in, in the handshake and after it.
#[test]
fn records_may_be_split_at_every_byte() {
    let server = TlsServer::start(&[]);
    for version in [&TLS12, &TLS13] {
        let config = server.authority.client_config_of(None, &[version]);
        let stream = TcpStream::connect(server.address()).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut tls = TlsStream::new(stream.try_clone().unwrap(), config);
        let connection = tls.connection();
        let mut to = &stream;
        for request in ["/health", "/ready"] {
            connection.writer().write_all(&get(request)).unwrap();
            let mut plain = Vec::new();
            while !plain.ends_with(b"}\n") {
                let mut bytes = Vec::new();
                while connection.wants_write() {
                    connection.write_tls(&mut bytes).unwrap();
                }
                for byte in bytes {
                    to.write_all(&[byte]).unwrap();
                }
                if connection.wants_read() {
                    connection.read_tls(&mut to).unwrap();
                    connection.process_new_packets().unwrap();
                }
                match connection.reader().read_to_end(&mut plain) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    outcome => _ = outcome.unwrap(),
                }
            }
            assert!(plain.starts_with(b"HTTP/1.1 200"), "{}", plain.escape_ascii());
        }
    }
}
