//! The address of a server: ports of both families, `localhost`, a Unix socket; and `corepulse
//! healthcheck`, which finds it there.

use crate::in_process::InProcessServer;
use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::PathBuf;
use testkit::http_client::metric;
use testkit::server::{FinishedProcess, command, run, run_with};
use testkit::{HttpClient, Server, get, get_as_localhost, post, wait_until};

const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// The loopback addresses that this machine has: no server listens on port 1.
fn loopback() -> Vec<IpAddr> {
    let has = |ip: &IpAddr| {
        let error = TcpStream::connect((*ip, 1)).expect_err("nobody listens there");
        error.kind() == ErrorKind::ConnectionRefused
    };
    LOOPBACK.into_iter().filter(has).collect()
}

fn is_healthy_at(address: SocketAddr) -> bool {
    HttpClient::connect(address).request(&get("/health")).status == 200
}

fn healthcheck(arguments: &[&str]) -> FinishedProcess {
    run_with(&[&["healthcheck"], arguments].concat())
}

/// A path of this test's own, where nothing stands.
fn path(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("corepulse-{}-{name}", std::process::id()));
    // An earlier process of that number may have left one.
    let _ = fs::remove_file(&path);
    path
}

#[test]
fn a_port_alone_is_both_families_and_localhost_is_loopback() {
    for listen in [":0", "localhost:0"] {
        let server = Server::start_at(listen, &[]);
        let port = server.address.port();
        for ip in loopback() {
            assert!(is_healthy_at((ip, port).into()), "{listen} {ip}");
            // And each of them is this machine.
            let mut client = HttpClient::connect((ip, port).into());
            assert_eq!(
                client.request(&get_as_localhost("/debug/pprof")).status,
                200,
                "{listen} {ip}"
            );
        }
        let elsewhere = TcpStream::connect((Ipv4Addr::new(127, 0, 0, 2), port));
        assert_eq!(elsewhere.is_ok(), listen == ":0", "{listen}");
    }
}

#[test]
fn a_health_check_takes_the_options_behind_it_and_finds_every_form() {
    for listen in ["127.0.0.1:0", ":0", "localhost:0", "[::]:0"] {
        if listen.starts_with('[') && loopback().len() < 2 {
            continue;
        }
        let server = Server::start_at(listen, &[]);
        let here = listen.replace(":0", &format!(":{}", server.address.port()));
        for arguments in [&["--listen", &here][..], &["--listen", &here, "--workers", "1"]] {
            let run = healthcheck(arguments);
            assert_eq!((run.code, run.errors.as_str()), (0, ""), "{arguments:?}");
        }
        // Before it, as it ever was, and as a variable.
        assert_eq!(run_with(&["--listen", &here, "healthcheck"]).code, 0, "{here}");
        let mut variable = command(&["healthcheck"]);
        variable.env("COREPULSE_LISTEN", &here);
        assert_eq!(run(variable).code, 0, "{here}");
        // The nearest word counts.
        let mut both = command(&["healthcheck", "--listen", &here]);
        both.env("COREPULSE_LISTEN", "127.0.0.1:1");
        assert_eq!(run(both).code, 0, "{here}");
    }
    let nobody = healthcheck(&["--listen", "127.0.0.1:1"]);
    assert!(nobody.code == 1 && nobody.errors.contains("127.0.0.1:1"), "{nobody:?}");
    let unknown = healthcheck(&["--listen", ":0"]);
    assert!(unknown.code == 1 && unknown.errors.contains("port 0"), "{unknown:?}");
    for wrong in [&["--listen", "here"][..], &["--lissen", ":80"], &["more"]] {
        assert_eq!(healthcheck(wrong).code, 64, "{wrong:?}");
    }
}

#[test]
fn a_unix_socket_is_served_by_all_cores_and_its_peers_are_this_machine() {
    let path = path("served.sock");
    let listen = format!("unix:{}", path.display());
    let running = InProcessServer::start(&["--listen", &listen, "--workers", "2"]);
    let file = fs::metadata(&path).unwrap();
    assert!(file.file_type().is_socket());
    // The umask is the operator's; nothing is added to what it leaves.
    assert_eq!(file.permissions().mode() & 0o111, 0o111 & !umask(), "{file:?}");
    let mut clients: Vec<_> = (0..6).map(|_| HttpClient::connect_unix(&path)).collect();
    for (second, client) in (0..).zip(&mut clients) {
        let body = metric("d1", 1_700_000_000 + second);
        assert_eq!(client.request(&post(body.as_bytes())).status, 202);
        assert_eq!(
            client.request(&get(&format!("/metrics/d1:{}", 1_700_000_000 + second))).status,
            200
        );
        assert_eq!(client.request(&get_as_localhost("/debug/pprof/threads")).status, 200);
        // The name counts here as well: a page in a browser may reach a proxy in front.
        assert_eq!(client.request(&get("/debug/pprof/threads")).status, 403);
    }
    assert_eq!(running.state().counters.totals().open_connections, [3, 3]);
    // More than the kernel holds of it: what does not fit waits at the core, and arrives.
    let client = &mut clients[0];
    for _ in 0..64 {
        client.send(&get("/openapi.json"));
    }
    for _ in 0..64 {
        assert_eq!(client.receive().status, 200);
    }
    let report = running.stop();
    assert_eq!((report.store.accepted, report.threads_failed), (6, 0), "{report:?}");
    assert!(!path.exists(), "the file outlives the server");
    clients.iter_mut().for_each(HttpClient::assert_end);
}

fn umask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:")).unwrap();
    u32::from_str_radix(mask.trim(), 8).unwrap()
}

#[test]
fn the_socket_of_a_server_that_runs_is_not_taken_and_that_of_a_killed_one_is() {
    let path = path("taken.sock");
    let listen = format!("unix:{}", path.display());
    let mut first = Server::start_at(&listen, &[]);
    assert_eq!(healthcheck(&["--listen", &listen]).code, 0);
    let second = run_with(&["--listen", &listen]);
    assert_eq!(second.code, 69, "{second:?}");
    assert!(second.errors.contains(&listen), "{second:?}");
    assert_eq!(HttpClient::connect_unix(&path).request(&get("/health")).status, 200);
    first.signal("KILL");
    first.wait();
    assert!(path.exists(), "nobody was left to remove it");
    assert_eq!(healthcheck(&["--listen", &listen]).code, 1);
    let mut third = Server::start_at(&listen, &[]);
    assert_eq!(HttpClient::connect_unix(&path).request(&get("/health")).status, 200);
    third.signal("TERM");
    assert!(third.wait().success());
    wait_until("the file is gone", || (!path.exists()).then_some(()));
    // A file that is no socket belongs to another program.
    fs::write(&path, "precious").unwrap();
    let fourth = run_with(&["--listen", &listen]);
    assert!(fourth.code == 69 && fourth.errors.contains("no socket"), "{fourth:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    fs::remove_file(&path).unwrap();
}

#[test]
fn the_second_engine_says_that_it_takes_no_unix_socket() {
    let path = path("second.sock");
    let run =
        run_with(&["--engine", "may-minihttp", "--listen", &format!("unix:{}", path.display())]);
    assert_eq!(run.code, 64, "{run:?}");
    assert!(run.errors.contains("--listen: the engine may-minihttp"), "{run:?}");
    assert!(!path.exists());
}

#[test]
fn a_port_in_use_is_said_and_69() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    assert_unavailable(&run_with(&["--listen", &address]), &address);
    assert_unavailable(&run_with(&["--listen", "192.0.2.1:80"]), "192.0.2.1:80");
}

/// Ports are shared between the cores of one server, never between two servers: half the devices
/// of each would talk to the other.
#[test]
fn a_second_server_on_the_port_of_a_first_is_refused() {
    let first = Server::start(&[]);
    let address = first.address.to_string();
    assert_unavailable(&run_with(&["--listen", &address]), &address);
    assert_eq!(first.client().request(&get("/health")).status, 200);
}

fn assert_unavailable(run: &FinishedProcess, address: &str) {
    assert_eq!(run.code, 69, "{run:?}");
    assert!(run.errors.contains(address) && run.errors.contains("listen"), "{run:?}");
}

#[test]
fn a_restart_may_take_the_port_of_the_run_before() {
    let mut first = Server::start(&[]);
    let mut client = first.client();
    assert_eq!(client.request(&get("/health")).status, 200);
    let address = first.address.to_string();
    first.signal("TERM");
    first.wait();
    // The old connection has not gone from the kernel: it is in TIME_WAIT.
    drop(client);
    let second = Server::start_at(&address, &[]);
    assert_eq!(second.client().request(&get("/health")).status, 200);
}
