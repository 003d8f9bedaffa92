//! Signals: which ends the server in order, which does nothing, and that none loses events.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use testkit::metric_load::metric;
use testkit::wait::TIMEOUT;
use testkit::{Redis, SentMetrics, Server, get, get_as_localhost, post};

/// The signals that end a process by default (man 7 signal), but are no request to end.
const MEANINGLESS: [&str; 7] = ["USR1", "USR2", "ALRM", "VTALRM", "PROF", "IO", "XFSZ"];

const EVENTS: u64 = 200;

/// Posts as many events as will have to be in Redis at the end.
fn post_all(server: &Server) -> SentMetrics {
    let mut sent = SentMetrics::default();
    let mut client = server.client();
    for number in 0..EVENTS {
        let (key, value) = metric("signalled", number, "1.5");
        assert_eq!(client.request(&post(value.as_bytes())).status, 202);
        sent.add(key, value);
    }
    sent
}

/// Half of a service's life in a terminal: it is closed while events wait for Redis.
fn end_while_events_wait(signals: &[&str]) {
    let mut redis = Redis::start(&[]);
    let arguments = ["--workers", "2", "--drain-delay", "100ms", "--redis-url", &redis.url()];
    let mut server = Server::start(&arguments);
    redis.freeze();
    let sent = post_all(&server);
    for signal in signals {
        server.signal(signal);
    }
    server.wait_for_log("draining");
    redis.thaw();
    let status = server.wait();
    assert_eq!(status.code(), Some(0), "{signals:?}: {status}");
    assert_eq!(sent.missing_from(&mut redis), Vec::<String>::new(), "{signals:?}");
    let last = server.last_line();
    assert_eq!(last["message"], "stopped", "{last}");
    assert_eq!((&last["stored"], &last["dropped"]), (&EVENTS.into(), &0.into()), "{last}");
}

#[test]
fn a_terminal_that_is_closed_loses_nothing() {
    end_while_events_wait(&["HUP"]);
}

/// A shell hands on the HUP that the kernel sends as well, and systemd may send one after TERM.
#[test]
fn a_second_hup_does_not_cut_the_stopping_short() {
    end_while_events_wait(&["HUP", "HUP"]);
    end_while_events_wait(&["TERM", "HUP"]);
}

/// Under systemd, which reloads by HUP and says when to stop, HUP ends nothing, even where there is
/// nothing to read again.
#[test]
fn systemd_is_told_of_the_start_and_of_the_stop() {
    let name = format!("corepulse-test-{}", std::process::id());
    let manager = SocketAddr::from_abstract_name(&name).and_then(|it| UnixDatagram::bind_addr(&it));
    let manager = manager.unwrap();
    manager.set_read_timeout(Some(TIMEOUT)).unwrap();
    let notice = || {
        let mut notice = [0; 64];
        let length = manager.recv(&mut notice).unwrap();
        String::from_utf8_lossy(&notice[..length]).into_owned()
    };
    let socket = format!("@{name}");
    let mut server = Server::start_with_environment(&[("NOTIFY_SOCKET", &socket)], &[]);
    assert_eq!(notice(), "READY=1");
    server.signal("HUP");
    server.wait_for_log("reading files again");
    assert_eq!(server.client().request(&get("/health")).status, 200);
    server.signal("TERM");
    assert_eq!(notice(), "STOPPING=1");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_server_under_nohup_outlives_the_terminal() {
    let mut redis = Redis::start(&[]);
    let arguments = ["--workers", "2", "--redis-url", &redis.url()];
    let mut server = Server::start_from_shell("trap '' HUP", &arguments);
    let sent = post_all(&server);
    server.signal("HUP");
    for _ in 0..20 {
        assert_eq!(server.client().request(&get("/ready")).status, 200);
    }
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(sent.missing_from(&mut redis), Vec::<String>::new());
}

#[test]
fn what_is_no_request_to_end_ends_nothing() {
    let mut redis = Redis::start(&[]);
    let mut server = Server::start(&["--workers", "2", "--redis-url", &redis.url()]);
    let profile = |server: &Server| {
        let answer = server.client().request(&get_as_localhost("/debug/pprof/profile?seconds=1"));
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    let send_all = |server: &Server| {
        for signal in MEANINGLESS {
            server.signal(signal);
            assert_eq!(server.client().request(&get("/ready")).status, 200, "{signal}");
        }
    };
    send_all(&server);
    let sent = post_all(&server);
    profile(&server);
    // The profiler has had SIGPROF for itself, and left it: a sample may come late.
    send_all(&server);
    profile(&server);
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(sent.missing_from(&mut redis), Vec::<String>::new());
}
