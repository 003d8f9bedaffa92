//! TLS of the program: its files, their renewal under load, and clients of every kind.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use testkit::server::run_with;
use testkit::tls::{Authority, Ends, TlsFolder, TlsStream};
use testkit::{Exposition, HttpClient, Server, get, wait_until, wait_until_within};

/// A change of files is seen by two looks, five seconds apart.
const CHANGE_TIME_MAX: Duration = Duration::from_secs(30);

fn start(files: &TlsFolder) -> (Server, SocketAddr) {
    let flags = files.flags();
    let server = Server::start(&flags.iter().map(String::as_str).collect::<Vec<_>>());
    let line = server.first_line("listening on");
    let address = line["tls_address"].as_str().unwrap().parse().unwrap();
    (server, address)
}

/// Returns true if the server shows a certificate of this authority.
fn is_of(authority: &Authority, address: SocketAddr) -> bool {
    let stream = TcpStream::connect(address).unwrap();
    TlsStream::new(stream, authority.client_config(None)).handshake().is_ok()
}

fn reloads(server: &Server, outcome: &str) -> f64 {
    let series = format!("corepulse_reloads_total{{what=\"tls\",outcome=\"{outcome}\"}}");
    Exposition::scrape(server.address).value(&series)
}

#[test]
fn every_mistake_in_the_files_is_told_at_once() {
    let (one, other) = (Authority::new(), Authority::new());
    let files = TlsFolder::new(&one.server(), Some(&one));
    let path = |name: &str| files.path(name).display().to_string();
    let run = |certificate: &str, key: &str, clients: &str| {
        run_with(&[
            "--listen=127.0.0.1:0",
            "--tls-listen=127.0.0.1:0",
            &format!("--tls-cert={}", path(certificate)),
            &format!("--tls-key={}", path(key)),
            &format!("--tls-client-ca={}", path(clients)),
        ])
    };
    let run_of = run("missing", "cert.pem", "key.pem");
    assert_eq!(run_of.code, 64, "{run_of:?}");
    let lines = [
        format!("corepulse: --tls-cert: {}: No such file", path("missing")),
        format!("corepulse: --tls-key: {}: expected PEM with a private key", path("cert.pem")),
        format!("corepulse: --tls-client-ca: {}: expected PEM with a cert", path("key.pem")),
    ];
    for line in lines {
        assert!(run_of.errors.contains(&line), "{line}\n{}", run_of.errors);
    }
    std::fs::write(files.path("key.pem"), other.server().key).unwrap();
    let run_of = run("cert.pem", "key.pem", "clients.pem");
    assert!(run_of.errors.contains("not the key of the certificate"), "{run_of:?}");
    assert!(!run_of.errors.contains("BEGIN"), "{run_of:?}");
}

#[test]
fn certificates_are_renewed_under_load_and_broken_ones_change_nothing() {
    let (old, new) = (Authority::new(), Authority::new());
    let files = TlsFolder::new(&old.server(), None);
    let (mut server, address) = start(&files);
    let mut kept = HttpClient::connect_tls(address, old.client_config(None));
    assert_eq!(kept.get("/health").status, 200);
    let (is_over, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        // Clients that trust both, and connect anew for each request.
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let authority = if is_of(&old, address) { &old } else { &new };
                let mut client = HttpClient::connect_tls(address, authority.client_config(None));
                // The certificate may have been renewed between the two.
                let sent = client.try_send(&get("/health"));
                if sent.is_ok() && matches!(client.try_receive(false), Ok(Some(_))) {
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        scope.spawn(|| {
            let mut steady = HttpClient::connect_tls(address, old.client_config(None));
            while !is_over.load(Ordering::Relaxed) {
                assert_eq!(steady.get("/health").status, 200);
            }
        });
        std::fs::write(files.path("cert.pem"), "-----BEGIN CERTIFICATE-----\nAAAA").unwrap();
        server.signal("HUP");
        wait_until("it was tried", || (reloads(&server, "failed") == 1.0).then_some(()));
        assert!(is_of(&old, address));
        files.write(&new.server());
        server.signal("HUP");
        wait_until("it is read", || (reloads(&server, "ok") == 1.0).then_some(()));
        assert!(is_of(&new, address) && !is_of(&old, address));
        // Without a signal as well.
        files.write(&old.server());
        wait_until_within(CHANGE_TIME_MAX, "it is seen", || is_of(&old, address).then_some(()));
        let before = answered.load(Ordering::Relaxed);
        wait_until("clients are served", || {
            (answered.load(Ordering::Relaxed) > before + 10).then_some(())
        });
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(kept.get("/health").status, 200);
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    let log = server.full_log();
    assert!(log.contains("nothing is changed") && log.contains("read again: the certificate of"));
}

#[test]
fn an_expired_certificate_takes_the_place_of_none_that_is_valid() {
    let authority = Authority::new();
    let files = TlsFolder::new(&authority.server(), None);
    let (server, address) = start(&files);
    files.write(&authority.sign("localhost", &["localhost"], Ends::Past));
    server.signal("HUP");
    wait_until("it was tried", || (reloads(&server, "failed") == 1.0).then_some(()));
    assert!(is_of(&authority, address));
    let told = server.first_line("--tls-cert: ");
    assert!(told["message"].as_str().unwrap().contains("expired"), "{told}");
    // One that soon does is taken, and warned of as at the start.
    files.write(&authority.sign("localhost", &["localhost"], Ends::Soon));
    server.signal("HUP");
    wait_until("it is read", || (reloads(&server, "ok") == 1.0).then_some(()));
    let told = server.first_line("the certificate of TLS soon has to be renewed");
    assert_eq!(told["level"], "WARN", "{told}");
}

#[test]
fn an_address_in_clear_beside_tls_is_warned_of_where_others_reach_it() {
    let files = TlsFolder::new(&Authority::new().server(), None);
    let tls = files.flags();
    let said = |listen: &str, with_tls: bool| {
        let tls = tls.iter().map(String::as_str).filter(|_| with_tls);
        let flags: Vec<_> = tls.chain(["--ingest-token", "pen"]).collect();
        let mut server = Server::start_at(listen, &flags);
        server.signal("TERM");
        server.wait();
        let lines = server.log_entries("this address is in clear, beside --tls-listen");
        lines.iter().map(|line| line["address"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let everywhere = said("0.0.0.0:0", true);
    assert_eq!(everywhere.len(), 1, "{everywhere:?}");
    assert!(everywhere[0].starts_with("0.0.0.0:"), "{everywhere:?}");
    assert!(said("127.0.0.1:0", true).is_empty() && said("0.0.0.0:0", false).is_empty());
}

#[test]
fn common_clients_are_served() {
    let authority = Authority::new();
    let files = TlsFolder::new(&authority.server(), None);
    let ca = files.path("ca.pem");
    std::fs::write(&ca, &authority.certificate).unwrap();
    let (_server, address) = start(&files);
    let url = format!("https://localhost:{}/metrics", address.port());
    let ca = ca.display().to_string();
    let python = "import ssl,sys,urllib.request as r\n\
        c=ssl.create_default_context(cafile=sys.argv[1])\n\
        q=r.Request(sys.argv[2],data=b'{\"cpu\":1,\"rps\":2}')\n\
        print(r.urlopen(q,context=c).read().decode())";
    let node = "fetch(process.argv[1],{method:'POST',body:'{\"cpu\":1,\"rps\":2}'})\
        .then(a=>a.text()).then(console.log)";
    let clients: [(&str, Vec<&str>); 5] = [
        ("curl", vec!["-sS", "--cacert", &ca, "-d", r#"{"cpu":1,"rps":2}"#, &url]),
        (
            "curl",
            vec!["-sS", "--tls-max", "1.2", "--cacert", &ca, "-d", r#"{"cpu":1,"rps":2}"#, &url],
        ),
        ("curl", vec!["-sS", "--http2", "--cacert", &ca, "-d", r#"{"cpu":1,"rps":2}"#, &url]),
        ("python3", vec!["-c", python, &ca, &url]),
        ("node", vec!["-e", node, &url]),
    ];
    for (program, arguments) in clients {
        let mut command = Command::new(program);
        let output = command.args(&arguments).env("NODE_EXTRA_CA_CERTS", &ca).output();
        let output = output.expect("ci/setup installs the clients");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.starts_with(r#"{"accepted":1"#), "{program} {arguments:?}: {output:?}");
    }
    // A client that does not know the authority.
    let stranger = Command::new("curl").args(["-sS", &url]).output().unwrap();
    assert_eq!(stranger.status.code(), Some(60), "{stranger:?}");
}

/// As an auditor would look at it.
#[test]
fn a_scan_finds_nothing_weak() {
    let authority = Authority::new();
    let files = TlsFolder::new(&authority.server(), None);
    let (_server, address) = start(&files);
    let scan = Command::new("sslscan").args(["--no-colour", &address.to_string()]).output();
    let text = String::from_utf8(scan.expect("ci/setup installs sslscan").stdout).unwrap();
    for version in ["SSLv2 ", "SSLv3 ", "TLSv1.0 ", "TLSv1.1 "] {
        let line = text.lines().find(|line| line.starts_with(version));
        assert!(line.is_some_and(|line| line.ends_with("disabled")), "{version}: {text}");
    }
    for version in ["TLSv1.2 ", "TLSv1.3 "] {
        let line = text.lines().find(|line| line.starts_with(version));
        assert!(line.is_some_and(|line| line.ends_with("enabled")), "{version}: {text}");
    }
    let ciphers: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("Preferred ") || line.starts_with("Accepted "))
        .collect();
    assert_eq!(ciphers.len(), 6, "{text}");
    for cipher in ciphers {
        assert!(cipher.contains("_GCM") || cipher.contains("-GCM") || cipher.contains("CHACHA20"));
        assert!(cipher.contains("TLSv1.3") || cipher.contains("ECDHE-"), "{cipher}");
    }
    assert!(text.contains("Session renegotiation not supported"), "{text}");
}
