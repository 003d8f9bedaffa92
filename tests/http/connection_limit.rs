//! The limit of connections: the ones that are closed or rejected, and probes, which get through.

use crate::in_process::InProcessServer;
use std::thread;
use std::time::Duration;
use testkit::{Exposition, HttpClient, HttpResponse, Server, assert_problem, get, wait_until};

/// As in `limits.rs`: connections over the limit that are served one answer each.
const RESERVED: usize = 16;

fn limited(connections: &str, workers: &str) -> InProcessServer {
    InProcessServer::start(&["--max-connections", connections, "--workers", workers])
}

/// Connections in the middle of a request, none of which may be closed for a newcomer.
fn half_sent(running: &InProcessServer, count: usize) -> Vec<HttpClient> {
    let request = get("/health");
    let mut clients: Vec<HttpClient> = (0..count).map(|_| running.client()).collect();
    for client in &mut clients {
        // A whole one first: its answer tells that the connection was taken in.
        assert_eq!(client.request(&request).status, 200);
        client.send(&request[..10]);
    }
    clients
}

fn finish(clients: &mut [HttpClient]) {
    for client in clients {
        assert_eq!(client.request(&get("/health")[10..]).status, 200);
    }
}

#[test]
fn the_longest_idle_connection_makes_room_for_a_newcomer() {
    let running = limited("4", "1");
    let mut clients: Vec<HttpClient> = (0..4).map(|_| running.client()).collect();
    // The order of their last requests is not that of their arrival.
    for place in [2, 0, 3, 1] {
        assert_eq!(clients[place].request(&get("/health")).status, 200);
        thread::park_timeout(Duration::from_millis(5));
    }
    for gone in [2, 0, 3] {
        let mut newcomer = running.client();
        assert_eq!(newcomer.request(&get("/analyze")).status, 200);
        clients[gone].assert_end();
        // The newcomer takes the last place in the order, and the others are as they were.
        clients[gone] = newcomer;
        thread::park_timeout(Duration::from_millis(5));
    }
    assert_eq!(clients[1].request(&get("/health")).status, 200);
}

#[test]
fn where_none_is_idle_only_probes_are_answered() {
    let running = limited("4", "1");
    let mut busy = half_sent(&running, 4);
    for target in ["/health", "/ready"] {
        let mut probe = running.client();
        let answer = probe.request(&get(target));
        assert_eq!(answer.status, 200, "{target}: {answer:?}");
        assert!(answer.closes_connection(), "{target}: {answer:?}");
        probe.assert_end();
    }
    for target in ["/", "/analyze", "/metrics/prometheus", "/metrics/1", "/nothing"] {
        let mut newcomer = running.client();
        assert_turned_away(&newcomer.request(&get(target)));
        newcomer.assert_end();
    }
    let mut writer = running.client();
    let metric = br#"{"cpu":1,"rps":1}"#;
    assert_turned_away(&writer.request(&testkit::post(metric)));
    // Those that were there are not disturbed, and as soon as one is idle it makes room.
    finish(&mut busy);
    wait_until("a newcomer is served", || {
        let answer = running.client().request(&get("/analyze"));
        (answer.status == 200).then_some(())
    });
    let samples = Exposition::scrape(running.address);
    assert_eq!(samples.value("corepulse_events_accepted_total"), 0.0);
    assert_eq!(samples.value("corepulse_connections_max"), 4.0);
}

fn assert_turned_away(answer: &HttpResponse) {
    assert_problem(answer, 503, b"");
    assert!(answer.closes_connection(), "{answer:?}");
    let seconds: u32 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{answer:?}");
}

#[test]
fn a_flood_of_newcomers_gets_answers_or_a_clean_end() {
    let running = limited("4", "1");
    let mut busy = half_sent(&running, 4);
    let mut flood: Vec<HttpClient> = (0..4 * RESERVED).map(|_| running.client()).collect();
    let (mut served, mut turned_away) = (0, 0);
    for client in &mut flood {
        // Its one answer may have come before it asked; it may have been closed after that.
        let sent = client.try_send(&get("/health"));
        match client.try_receive(false) {
            Ok(Some(answer)) if answer.status == 200 => served += 1,
            Ok(Some(answer)) => {
                assert_turned_away(&answer);
                turned_away += 1;
            }
            Ok(None) => {}
            Err(error) => panic!("{error:?} after {sent:?}"),
        }
    }
    assert!(served >= RESERVED, "{served} of the reserved slots answered");
    assert!(turned_away > 0, "nobody was told why");
    drop(flood);
    finish(&mut busy);
}

/// Those that come and say nothing must not keep the reserved slots from the probes for long.
#[test]
fn probes_get_through_after_a_silent_flood() {
    let running = limited("4", "1");
    let mut busy = half_sent(&running, 4);
    let silent: Vec<HttpClient> = (0..2 * RESERVED).map(|_| running.client()).collect();
    wait_until("a probe gets through", || {
        let mut probe = running.client();
        let _ = probe.try_send(&get("/ready"));
        let answer = probe.try_receive(false).ok().flatten()?;
        (answer.status == 200).then_some(())
    });
    drop(silent);
    finish(&mut busy);
}

/// A flood of connections that goes on, each with the beginning of a request: the reserved places
/// go to the last ones, and the probe is among them.
#[test]
fn probes_get_through_a_flood_of_half_requests() {
    /// Some of the flood may still be on its way when the probe comes, and push it out.
    const TRIES: usize = 10;
    let running = limited("64", "2");
    let mut busy = half_sent(&running, 64);
    let status = |target: &str| {
        let mut client = running.client();
        let _ = client.try_send(&get(target));
        client.try_receive(false).ok().flatten().map(|answer| answer.status)
    };
    let mut flood = Vec::new();
    for round in 0..20 {
        for _ in 0..2 * RESERVED {
            let mut client = running.client();
            // It may have been closed before it could say anything.
            let _ = client.try_send(&get("/health")[..10]);
            flood.push(client);
        }
        for target in ["/health", "/ready"] {
            let answered = (0..TRIES).any(|_| status(target) == Some(200));
            assert!(answered, "{target} in round {round}");
        }
        assert_ne!(status("/analyze"), Some(200), "round {round}");
    }
    drop(flood);
    finish(&mut busy);
    wait_until("others are served again", || (status("/analyze") == Some(200)).then_some(()));
}

/// The limit is the server's, not a core's: an idle connection of any core makes room. The kernel
/// chooses the newcomer's core; of forty some will not be where the idle one is.
#[test]
fn an_idle_connection_of_another_core_makes_room_as_well() {
    let running = limited("1", "2");
    let mut idle = Vec::new();
    for number in 0..40 {
        let mut newcomer = running.client();
        let answer = newcomer.request(&get("/analyze"));
        assert_eq!(answer.status, 200, "newcomer {number}: {answer:?}");
        idle.push(newcomer);
    }
}

#[test]
fn the_counts_of_connections_add_up() {
    let running = limited("4", "2");
    let mut busy = half_sent(&running, 4);
    for _ in 0..3 {
        assert_eq!(running.client().request(&get("/health")).status, 200);
    }
    finish(&mut busy);
    drop(busy);
    for _ in 0..5 {
        let mut client = running.client();
        assert_eq!(client.request(b"GET /health HTTP/1.1\r\n\r\n").status, 400);
        client.assert_end();
    }
    // Those that have ended may still be counted.
    let scrape = get("/metrics/prometheus");
    let has_room = || (running.client().request(&scrape).status == 200).then_some(());
    wait_until("there is room for the scraper", has_room);
    wait_until("all but the scraper's own are closed", || {
        let samples = Exposition::scrape(running.address);
        let opened = samples.sum("corepulse_connections_opened_total");
        let closed = samples.sum("corepulse_connections_closed_total");
        let open = samples.sum("corepulse_connections");
        assert_eq!(opened, closed + open, "{samples:?}");
        let reason = |name: &str| {
            samples.value(&format!("corepulse_connections_closed_total{{reason=\"{name}\"}}"))
        };
        (open == 1.0 && reason("limit") >= 3.0 && reason("error") == 5.0).then_some(())
    });
}

#[test]
fn newcomers_at_once_do_not_push_each_other_out_unanswered() {
    let running = limited("64", "2");
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let address = running.address;
            // Four at once are far below the limit, but each new one finds old ones idle.
            thread::spawn(move || {
                for number in 0..200 {
                    let answer = HttpClient::connect(address).request(&get("/health"));
                    assert_eq!(answer.status, 200, "newcomer {number}");
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

/// Short of descriptors, those that are idle go for those that come.
#[test]
fn out_of_descriptors_idle_connections_make_room() {
    let server = Server::start(&["--workers", "1"]);
    let mut idle: Vec<HttpClient> = (0..8).map(|_| server.client()).collect();
    for client in &mut idle {
        assert_eq!(client.request(&get("/health")).status, 200);
    }
    server.limit_descriptors(server.descriptors());
    let newcomers: Vec<HttpClient> = (0..3)
        .map(|_| {
            let mut newcomer = server.client();
            assert_eq!(newcomer.request(&get("/health")).status, 200);
            newcomer
        })
        .collect();
    for gone in &mut idle[..3] {
        gone.assert_end();
    }
    // One more may have gone, so that the next newcomer finds a descriptor.
    for client in &mut idle[4..] {
        assert_eq!(client.request(&get("/health")).status, 200);
    }
    drop(newcomers);
}

/// Accepting has to wait when descriptors are short: it may neither spin nor end the server, and
/// goes on by itself.
#[test]
fn out_of_descriptors_it_waits_without_spinning() {
    let server = Server::start(&["--workers", "1"]);
    let request = get("/health");
    let mut busy: Vec<HttpClient> = (0..8).map(|_| server.client()).collect();
    for client in &mut busy {
        assert_eq!(client.request(&request).status, 200);
        client.send(&request[..10]);
    }
    server.limit_descriptors(server.descriptors());
    let before = server.cpu_ticks();
    // The kernel connects them; the server cannot take them.
    let mut newcomers: Vec<HttpClient> = (0..50).map(|_| server.client()).collect();
    for client in &mut newcomers {
        client.send(&request);
    }
    thread::park_timeout(Duration::from_secs(1));
    let used = server.cpu_ticks() - before;
    assert!(used < 20, "{used} ticks of 10 ms in a second");
    for client in &mut busy {
        assert_eq!(client.request(&request[10..]).status, 200);
    }
    server.limit_descriptors(1000);
    for client in &mut newcomers {
        assert_eq!(client.receive().status, 200);
    }
}
