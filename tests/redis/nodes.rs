//! Nodes of a cluster that contradict each other, which real nodes cannot be made to do on demand.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use testkit::fake_redis::ReceivedCommand;
use testkit::metric_load::metric;
use testkit::redis::ReservedPort;
use testkit::{FakeRedis, FakeReply, Server, StoreCounters, get, post, wait_until};

/// Returns true if a command is a look-up or a write of this device.
fn is_of(words: &[String], command: &str, device: &str) -> bool {
    words[0] == command && words[1].starts_with(&format!("metric:{device}:"))
}

fn start(seeds: &[&FakeRedis]) -> Server {
    let seeds: Vec<String> = seeds.iter().map(|node| node.address.to_string()).collect();
    let url = format!("redis+cluster://{}", seeds.join(","));
    Server::start(&["--workers", "1", "--redis-url", &url])
}

/// Posts one event each of these devices in one request.
fn send(server: &Server, devices: &[&str], number: u64) {
    let lines: Vec<String> = devices.iter().map(|id| metric(id, number, "1.5").1).collect();
    let answer = server.client().request(&post(lines.join("\n").as_bytes()));
    assert_eq!(answer.status, 202, "{answer:?}");
}

fn until_stored(server: &Server, events: u64) -> StoreCounters {
    wait_until("all of it is stored", || {
        let counters = StoreCounters::scrape(server.address);
        (counters.stored == events).then_some(counters)
    })
}

/// A node that is cut off from the others refuses every write, and still says that the slots are
/// its own: the others know better.
#[test]
fn a_node_that_is_cut_off_is_left_for_one_that_knows_better() {
    let (listener, address) = FakeRedis::listen();
    let knows = FakeRedis::serve(listener, move |_, words| {
        (words[0] == "CLUSTER").then(|| FakeReply::all_slots_at(address))
    });
    let (listener, address) = FakeRedis::listen();
    let stale = FakeRedis::serve(listener, move |_, words| match words[0].as_str() {
        "CLUSTER" => Some(FakeReply::all_slots_at(address)),
        "SET" => Some(FakeReply::text("-CLUSTERDOWN The cluster is down\r\n")),
        _ => None,
    });
    // The first of the URL is asked first.
    let server = start(&[&stale, &knows]);
    send(&server, &["a", "b"], 1);
    let counters = until_stored(&server, 2);
    assert!(counters.errors("clusterdown") > 0, "{counters:?}");
    assert_eq!(knows.count("SET"), 2);
    assert!((2..=4).contains(&stale.count("SET")), "{:?}", stale.commands());
}

/// Only the key whose slot is being moved is sent twice; those behind it are not, and do not wait.
#[test]
fn ask_costs_its_keys_alone() {
    let importing = FakeRedis::start(|_, _| None);
    let (to, (listener, address)) = (importing.address, FakeRedis::listen());
    let owner = FakeRedis::serve(listener, move |_, words| match words[0].as_str() {
        "CLUSTER" => Some(FakeReply::all_slots_at(address)),
        "SET" if is_of(words, "SET", "moved") => Some(FakeReply::text(format!("-ASK 1 {to}\r\n"))),
        _ => None,
    });
    let server = start(&[&owner]);
    let devices = ["moved", "a", "b", "c", "d", "e"];
    send(&server, &devices, 1);
    let counters = until_stored(&server, 6);
    assert_eq!((counters.errors("ask"), counters.reconnects), (0, 0), "{counters:?}");
    let sets = |node: &FakeRedis| -> Vec<String> {
        let sets = node.commands().into_iter().filter(|(_, words)| words[0] == "SET");
        sets.map(|(_, words)| words[1].split(':').nth(1).unwrap().to_owned()).collect()
    };
    assert_eq!(sets(&owner), devices);
    assert_eq!(sets(&importing), ["moved"]);
    // The next one of that key goes there at once, and in the same order as it came.
    send(&server, &["moved"], 1);
    until_stored(&server, 7);
    assert_eq!((sets(&owner).len(), sets(&importing).len()), (6, 2));
    assert_eq!(importing.count("ASKING"), 2);
}

/// A node that `ASK` names may have an old connection of ours as well, with commands to run: that
/// is ended before anything is sent to the node.
#[test]
fn a_node_met_by_ask_is_fenced_before_anything_is_sent() {
    // It does not reply to the first command, and so that connection is closed.
    let importing = FakeRedis::start(|number, words| {
        (number == 1 && words[0] == "SET").then_some(FakeReply::Nothing)
    });
    let (to, (listener, address)) = (importing.address, FakeRedis::listen());
    let owner = FakeRedis::serve(listener, move |_, words| match words[0].as_str() {
        "CLUSTER" => Some(FakeReply::all_slots_at(address)),
        "SET" => Some(FakeReply::text(format!("-ASK 1 {to}\r\n"))),
        _ => None,
    });
    let server = start(&[&owner]);
    send(&server, &["a"], 1);
    until_stored(&server, 1);
    let asked = importing.commands();
    let again: Vec<&ReceivedCommand> = asked.iter().filter(|(number, _)| *number > 1).collect();
    let at =
        |command: &str| again.iter().position(|(_, words)| words.join(" ").starts_with(command));
    let killed = at("CLIENT KILL ID 1 ADDR 127.0.0.1:1");
    assert!(killed.is_some() && killed < at("SET"), "{asked:?}");
}

/// A look-up follows redirections, and fetches the slots again only after `MOVED`.
#[test]
fn a_look_up_follows_moved_and_ask() {
    let (_, value) = metric("here", 1, "1.5");
    let new = FakeRedis::start(move |_, words| {
        is_of(words, "GET", "here").then(|| FakeReply::bulk(&value))
    });
    let (to, (listener, address)) = (new.address, FakeRedis::listen());
    let old = FakeRedis::serve(listener, move |_, words| match words[0].as_str() {
        "CLUSTER" => Some(FakeReply::all_slots_at(address)),
        "GET" if is_of(words, "GET", "here") => Some(FakeReply::text(format!("-MOVED 1 {to}\r\n"))),
        "GET" => Some(FakeReply::text(format!("-ASK 1 {to}\r\n"))),
        _ => None,
    });
    let server = start(&[&old]);
    let mut client = server.client();
    let key = metric("here", 1, "1.5").0.replace("metric:", "/metrics/");
    for _ in 0..3 {
        let answer = client.request(&get(&key));
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(client.request(&get("/metrics/nobody:2")).status, 404);
    }
    assert_eq!(new.count("ASKING"), 3);
    let connections = |node: &FakeRedis, command: &str| {
        let asked = node.commands();
        let numbers = asked.iter().filter(|(_, words)| words[0] == command).map(|asked| asked.0);
        numbers.collect::<BTreeSet<_>>().len()
    };
    assert_eq!((connections(&new, "GET"), connections(&old, "GET")), (1, 1), "they are kept");
}

/// Connections at once to nodes without slots, and some more for other clients.
const STRANGERS_MAX: u64 = 16 + 6;

/// A node at all addresses of this machine, at one port.
fn everywhere() -> FakeRedis {
    FakeRedis::serve(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap(), |_, _| None)
}

/// Where a device is according to a node that names another address for each: `d7` at 127.1.0.7.
fn made_up(words: &[String], port: u16) -> String {
    let number = words[1].split(':').nth(1).unwrap().trim_start_matches('d');
    format!("1 127.1.0.{number}:{port}")
}

#[test]
fn look_ups_keep_few_connections_however_many_nodes_are_named() {
    let (others, (listener, address)) = (everywhere(), FakeRedis::listen());
    let port = others.address.port();
    let owner = FakeRedis::serve(listener, move |_, words| match words[0].as_str() {
        "CLUSTER" => Some(FakeReply::all_slots_at(address)),
        "GET" => Some(FakeReply::text(format!("-MOVED {}\r\n", made_up(words, port)))),
        _ => None,
    });
    for server in
        [start(&[&owner]), Server::start(&["--workers", "1", "--redis-url", &owner.url()])]
    {
        let mut client = server.client();
        let look_up = |number: u32| get(&format!("/metrics/d{number}:1"));
        assert_eq!(client.request(&look_up(1)).status, 404);
        let before = server.descriptors();
        for number in 2..=100 {
            assert_eq!(client.request(&look_up(number)).status, 404);
        }
        let after = server.descriptors();
        assert!(after <= before + STRANGERS_MAX, "{before} descriptors became {after}");
    }
}

#[test]
fn the_writer_keeps_few_connections_however_many_nodes_are_named() {
    let (others, (listener, address)) = (everywhere(), FakeRedis::listen());
    let port = others.address.port();
    let owner = FakeRedis::serve(listener, move |_, words| match words[0].as_str() {
        "CLUSTER" => Some(FakeReply::all_slots_at(address)),
        "SET" => Some(FakeReply::text(format!("-ASK {}\r\n", made_up(words, port)))),
        _ => None,
    });
    let server = start(&[&owner]);
    let devices: Vec<String> = (1..=60).map(|number| format!("d{number}")).collect();
    send(&server, &devices.iter().map(String::as_str).collect::<Vec<_>>(), 1);
    let before = server.descriptors();
    until_stored(&server, 60);
    let after = server.descriptors();
    assert!(after <= before + STRANGERS_MAX, "{before} descriptors became {after}");
}

/// A move that does not end is reported like any error, with the node that cannot be reached.
#[test]
fn a_slot_whose_move_does_not_end_is_told() {
    let nobody = ReservedPort::reserve();
    let nowhere = format!("127.0.0.1:{}", nobody.number);
    for (refusal, is_cluster, said) in [
        (format!("-ASK 1 {nowhere}\r\n"), true, "Connection refused"),
        (format!("-ASK 1 {nowhere}\r\n"), false, nowhere.as_str()),
        (
            "-TRYAGAIN Multiple keys request during rehashing of slot\r\n".to_owned(),
            true,
            "TRYAGAIN",
        ),
        (
            "-TRYAGAIN Multiple keys request during rehashing of slot\r\n".to_owned(),
            false,
            "TRYAGAIN",
        ),
    ] {
        let (listener, address) = FakeRedis::listen();
        let to_key = refusal.clone();
        let owner = FakeRedis::serve(listener, move |_, words| match words[0].as_str() {
            "CLUSTER" => Some(FakeReply::all_slots_at(address)),
            "SET" if is_of(words, "SET", "moved") => Some(FakeReply::text(to_key.clone())),
            _ => None,
        });
        let server = if is_cluster {
            start(&[&owner])
        } else {
            Server::start(&["--workers", "1", "--redis-url", &owner.url()])
        };
        // Those behind it are answered, and change nothing.
        let others: Vec<String> = (0..200).map(|number| format!("d{number}")).collect();
        let devices = ["moved"].into_iter().chain(others.iter().map(String::as_str));
        send(&server, &devices.collect::<Vec<_>>(), 1);
        let line = server.wait_for_log("redis is down");
        let is_ask = refusal.starts_with("-ASK");
        assert_eq!(line["why"], if is_ask { "ask" } else { "tryagain" }, "{line}");
        assert!(line["said"].as_str().unwrap().contains(said), "{line}");
        let reached =
            if is_ask && is_cluster { nowhere.clone() } else { owner.address.to_string() };
        assert_eq!(line["at"], reached, "{line}");
        assert!(!StoreCounters::scrape(server.address).is_up);
    }
}
