//! A link to real servers and to some that reply as a test says.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Instant;

use testkit::redis_cluster::{FAILOVER_TIME_MAX, RedisCluster};
use testkit::redis_sentinel::RedisSentinel;
use testkit::{FakeRedis, FakeReply, FaultProxy, Redis, wait_until, wait_until_within};

use super::*;
use crate::limits::STORE_REPLY_BYTES_MAX;
use crate::store::redis::command::{Command, Reply};

/// The time of an exchange that has to succeed, on a shared machine.
const LONG: Duration = Duration::from_secs(10);

/// The time of an exchange that is not to succeed.
const SHORT: Duration = Duration::from_millis(400);

fn link(url: &str) -> KeysLink {
    let url = RedisUrl::parse(&url.into()).unwrap();
    KeysLink::new(url, Arc::new(Discovery::default()), Clock::start())
}

/// Returns a command of these words.
fn command(words: &str) -> Command {
    let mut words = words.split(' ');
    let command = Command::new(words.next().unwrap());
    words.fold(command, Command::arg)
}

fn commands(texts: &[&str]) -> Batch {
    texts.iter().map(|words| command(words)).collect()
}

fn ask(link: &mut KeysLink, texts: &[&str]) -> Exchanged {
    link.exchange(&commands(texts), LONG, STORE_REPLY_BYTES_MAX)
}

fn bytes(text: &str) -> Reply {
    Reply::Bytes(text.as_bytes().to_vec())
}

/// Returns the replies of an exchange in which each command had one.
fn all(exchanged: Exchanged) -> Vec<Reply> {
    exchanged.ends.into_iter().map(|end| end.into_result().expect("a reply")).collect()
}

/// Returns the kinds of errors, where there are any.
fn errors(exchanged: &Exchanged) -> Vec<Option<ErrorKind>> {
    exchanged.ends.iter().map(|end| end.error().map(|error| error.kind)).collect()
}

/// Asks until each command has a reply. Returns the last exchange, which broke if any did.
fn until_well(link: &mut KeysLink, texts: &[&str]) -> Exchanged {
    let mut broke = false;
    wait_until_within(FAILOVER_TIME_MAX, "all is well again", || {
        let exchanged = ask(link, texts);
        broke |= exchanged.broke;
        let is_well = exchanged.ends.iter().all(|end| end.error().is_none());
        is_well.then_some(Exchanged { broke, ..exchanged })
    })
}

/// Returns a key of each of the three primaries.
fn key_of_each(cluster: &mut RedisCluster) -> [String; 3] {
    [0, 1, 2].map(|primary| {
        let mut keys = (0..).map(|number| format!("o:{{key-{number}}}"));
        let is_its = |key: &String| {
            let slot = cluster.slot_of(key);
            cluster.owner_of(slot) == primary
        };
        keys.find(is_its).unwrap()
    })
}

/// The commands that an instance sends, of many devices at once.
fn batch(devices: usize, value: &str) -> Batch {
    let of_device = |number| {
        [
            format!("SET o:{{{number}}} claim EX 100 GET"),
            format!("SET w:{{{number}}}:a {number}-{value} PX 100000"),
            format!("MGET w:{{{number}}}:a w:{{{number}}}:b"),
            format!("RPUSH in:{{f}}:{number} {value}"),
            format!("EXPIRE in:{{f}}:{number} 10"),
            format!("GET o:{{{number}}}"),
            format!("HGETALL n:{{{number}}}"),
        ]
    };
    (0..devices).flat_map(of_device).map(|words| command(&words)).collect()
}

fn check_batch(replies: &[Reply], devices: usize, value: &str) {
    assert_eq!(replies.len(), 7 * devices);
    for (number, replies) in replies.chunks(7).enumerate() {
        let window = bytes(&format!("{number}-{value}"));
        let expected = [
            Reply::Nil,
            Reply::Okay,
            Reply::List(vec![window, Reply::Nil]),
            Reply::Integer(1),
            Reply::Integer(1),
            bytes("claim"),
            Reply::List(Vec::new()),
        ];
        assert_eq!(replies, expected, "{number}");
    }
}

#[test]
fn one_server_replies_to_each_command_in_its_order() {
    let redis = Redis::start(&[]);
    let mut link = link(&redis.url());
    let value = "x".repeat(1000);
    let exchanged = link.exchange(&batch(300, &value), LONG, STORE_REPLY_BYTES_MAX);
    assert!(!exchanged.broke);
    check_batch(&all(exchanged), 300, &value);
    let refused = all(ask(&mut link, &["HSET o:{1} a b", "TIME", "GET o:{1}"]));
    let is_wrong = matches!(&refused[0], Reply::Error(error) if error.kind == ErrorKind::WrongType);
    assert!(is_wrong && matches!(&refused[1], Reply::List(_)), "{refused:?}");
    assert_eq!(refused[2], bytes("claim"), "an error of one command is its own");
    let none = ask(&mut link, &[]);
    assert!(none.ends.is_empty() && !none.broke);
}

#[test]
fn replies_of_three_primaries_are_in_the_order_of_the_commands() {
    let mut cluster = RedisCluster::start();
    let mut link = link(&cluster.url());
    let exchanged = link.exchange(&batch(300, "x"), LONG, STORE_REPLY_BYTES_MAX);
    assert!(!exchanged.broke);
    check_batch(&all(exchanged), 300, "x");
    let sizes = [0, 1, 2].map(|number| cluster.nodes[number].execute(&["DBSIZE"]).integer());
    assert!(sizes.iter().all(|size| *size > 0), "{sizes:?}");
    assert_eq!((0..3).map(|number| cluster.redirections(number)).sum::<u64>(), 0);
}

/// The server is to read a command only when the reply to the one before it is taken, and has room
/// for next to nothing: who sends all before it receives waits for ever.
#[test]
fn a_server_that_reads_nothing_before_its_replies_are_taken_is_no_dead_end() {
    let redis = FakeRedis::start_narrow(|_, words| {
        (words[0] == "GET").then(|| FakeReply::bulk(&words[1].repeat(2)))
    });
    let key = |number: usize| format!("{number}{}", "x".repeat(4_000));
    let commands: Batch = (0..2000).map(|n| Command::new("GET").arg(key(n))).collect();
    let exchanged = link(&redis.url()).exchange(&commands, LONG, STORE_REPLY_BYTES_MAX);
    for (number, reply) in all(exchanged).into_iter().enumerate() {
        assert_eq!(reply, bytes(&key(number).repeat(2)));
    }
}

#[test]
fn a_command_longer_than_what_may_be_in_flight_is_sent_by_itself() {
    let redis = Redis::start(&[]);
    let long = "x".repeat(300_000);
    let texts = ["RPUSH l a", &format!("RPUSH l {long}"), "RPUSH l b", "STRLEN nothing"];
    let replies = all(ask(&mut link(&redis.url()), &texts));
    assert_eq!(replies, [1, 2, 3, 0].map(Reply::Integer));
}

#[test]
fn a_slot_that_moves_is_followed_and_nothing_breaks() {
    let mut cluster = RedisCluster::start();
    let mut link = link(&cluster.url());
    let slot = cluster.slot_of("{tag}");
    let from = cluster.owner_of(slot);
    let to = (from + 1) % 3;
    let mut asked = |texts: &[&str]| {
        let exchanged = ask(&mut link, texts);
        assert!(!exchanged.broke);
        all(exchanged)
    };
    assert_eq!(asked(&["SET {tag}1 a", "RPUSH {tag}l a"]), [Reply::Okay, Reply::Integer(1)]);
    cluster.begin_move(slot, from, to);
    // The old node has the first key still, and says ASK for the second.
    let during = ["GET {tag}1", "SET {tag}2 b", "GET {tag}2", "RPUSH {tag}l b", "GET other"];
    let expected = || vec![bytes("a"), Reply::Okay, bytes("b"), Reply::Integer(2), Reply::Nil];
    assert_eq!(asked(&during), expected());
    assert!(cluster.redirections(from) >= 2);
    let split = asked(&["MGET {tag}1 {tag}2"]);
    let is_split = matches!(&split[0], Reply::Error(error) if error.kind == ErrorKind::TryAgain);
    assert!(is_split, "{split:?}");
    cluster.move_keys(slot, from, to);
    cluster.end_move(slot, from, to);
    let before = cluster.redirections(from);
    let after = ["GET {tag}1", "GET {tag}2", "RPUSH {tag}l c", "MGET {tag}1 {tag}2"];
    let both = Reply::List(vec![bytes("a"), bytes("b")]);
    assert_eq!(asked(&after), [bytes("a"), bytes("b"), Reply::Integer(3), both.clone()]);
    assert!(cluster.redirections(from) > before, "MOVED");
    // The slots are known by then, or at the next refresh.
    wait_until("the new node is asked at once", || {
        let before = cluster.redirections(from);
        assert_eq!(asked(&["MGET {tag}1 {tag}2"]), std::slice::from_ref(&both));
        (cluster.redirections(from) == before).then_some(())
    });
}

/// Starts a node with all slots; `None` of `answers` is the usual reply.
fn node(
    answers: impl Fn(usize, &[String]) -> Option<FakeReply> + Send + Sync + 'static,
) -> (FakeRedis, String) {
    let (listener, address) = FakeRedis::listen();
    let node = FakeRedis::serve(listener, move |number, words| {
        if words[0] == "CLUSTER" {
            Some(FakeReply::all_slots_at(address))
        } else {
            answers(number, words)
        }
    });
    (node, format!("redis+cluster://{address}"))
}

/// The second of two commands of a key was run: the first one must not be run after it.
#[test]
fn no_command_of_a_key_is_sent_again_behind_a_later_one() {
    let other = FakeRedis::start(|_, _| None);
    let to = other.address;
    let (_owner, url) = node(move |_, words| {
        let goes = words[0] == "SET" && words[2] == "first";
        goes.then(|| FakeReply::text(format!("-ASK 1 {to}\r\n")))
    });
    let exchanged =
        ask(&mut link(&url), &["SET a first", "SET b first", "SET b first", "SET a second"]);
    assert_eq!(errors(&exchanged), [Some(ErrorKind::Ask), None, None, None]);
    let sets = other.commands().into_iter().filter(|(_, words)| words[0] == "SET");
    assert_eq!(sets.map(|(_, words)| words[1].clone()).collect::<Vec<_>>(), ["b", "b"]);
    assert_eq!(other.count("ASKING"), 2);
}

#[test]
fn nodes_that_lead_to_each_other_are_left_soon() {
    let ((first, one), (second, two)) = (FakeRedis::listen(), FakeRedis::listen());
    let moved_to = |to: SocketAddr| FakeReply::text(format!("-MOVED 1 {to}\r\n"));
    let first = FakeRedis::serve(first, move |_, words| match words[0].as_str() {
        "CLUSTER" => Some(FakeReply::all_slots_at(one)),
        "SET" => Some(moved_to(two)),
        _ => None,
    });
    let second =
        FakeRedis::serve(second, move |_, words| (words[0] == "SET").then(|| moved_to(one)));
    let exchanged = ask(&mut link(&format!("redis+cluster://{one}")), &["SET a b", "GET b"]);
    assert_eq!(errors(&exchanged), [Some(ErrorKind::Moved), None]);
    assert_eq!((first.count("SET"), second.count("SET")), (2, 1));
}

/// A node that is cut off from the others says that the slots are its own still.
#[test]
fn a_node_that_is_cut_off_is_left_for_one_that_knows_better() {
    let (listener, address) = FakeRedis::listen();
    let knows = FakeRedis::serve(listener, move |_, words| {
        (words[0] == "CLUSTER").then(|| FakeReply::all_slots_at(address))
    });
    let (stale, url) = node(|_, words| {
        (words[0] == "SET").then(|| FakeReply::text("-CLUSTERDOWN The cluster is down\r\n"))
    });
    let mut link = link(&format!("{url},{address}"));
    let refused = ask(&mut link, &["SET a b", "GET a"]);
    assert_eq!(errors(&refused), [Some(ErrorKind::ClusterDown), None]);
    assert!(!refused.broke, "no connection was lost");
    let well = until_well(&mut link, &["SET a b"]);
    assert!(well.broke, "what was written to the former node may be gone");
    assert_eq!(knows.count("SET"), 1);
    let asked = stale.commands();
    let by = asked.iter().filter(|(_, words)| words[0] == "SET").map(|(number, _)| *number);
    assert_eq!(by.collect::<HashSet<_>>().len(), 1, "over one connection: {asked:?}");
}

#[test]
fn addresses_that_a_faulty_node_names_are_not_kept_without_end() {
    let other = FakeRedis::start(|_, _| None);
    let port = other.address.port();
    let (_owner, url) = node(move |_, words| {
        (words[0] == "GET")
            .then(|| FakeReply::text(format!("-ASK 1 127.0.0.{}:{port}\r\n", words[1])))
    });
    let mut link = link(&url);
    for number in 1..=2 * STORE_NODES_WITHOUT_SLOTS_MAX {
        ask(&mut link, &[&format!("GET {number}")]);
        assert!(link.servers.len() <= 1 + STORE_NODES_WITHOUT_SLOTS_MAX);
    }
}

#[test]
fn a_killed_primary_takes_its_own_commands_with_it_until_another_takes_over() {
    let mut cluster = RedisCluster::start();
    let mut link = link(&cluster.url());
    let keys = key_of_each(&mut cluster);
    let texts = keys.each_ref().map(|key| format!("RPUSH {key} x"));
    let texts = texts.each_ref().map(String::as_str);
    assert_eq!(all(ask(&mut link, &texts)), [1, 1, 1].map(Reply::Integer));
    // The others are calm, and take their time to notice.
    cluster.nodes[1].kill();
    let broken = ask(&mut link, &texts);
    assert!(broken.broke);
    assert!(matches!(errors(&broken)[..], [None, Some(_), None]), "{broken:?}");
    let again = ask(&mut link, &texts);
    assert!(matches!(errors(&again)[..], [None, Some(_), None]), "{again:?}");
    assert!(!again.broke, "nothing else was lost, and nothing is new");
    cluster.set_silence("1000");
    let well = until_well(&mut link, &texts);
    assert!(well.broke, "the replica may lack what was written last");
    assert_eq!(cluster.primaries(), [0, 2, 4]);
    assert!(!ask(&mut link, &texts).broke);
}

/// The connection to the former primary is whole: it says MOVED.
#[test]
fn a_replica_that_takes_over_breaks_the_link_although_no_connection_is_lost() {
    let mut cluster = RedisCluster::start();
    let mut link = link(&cluster.url());
    let keys = key_of_each(&mut cluster);
    let texts = keys.each_ref().map(|key| format!("RPUSH {key} x"));
    let texts = texts.each_ref().map(String::as_str);
    assert_eq!(all(ask(&mut link, &texts)), [1, 1, 1].map(Reply::Integer));
    cluster.nodes[3].execute(&["CLUSTER", "FAILOVER"]).assert_ok();
    wait_until_within(FAILOVER_TIME_MAX, "the failover", || cluster.is_primary(3).then_some(()));
    let exchanged = ask(&mut link, &texts);
    assert!(exchanged.broke);
    assert_eq!(all(exchanged), [2, 2, 2].map(Reply::Integer));
    assert!(!ask(&mut link, &texts).broke);
}

#[test]
fn a_frozen_primary_delays_the_others_no_longer_than_the_wait() {
    let mut cluster = RedisCluster::start();
    let mut link = link(&cluster.url());
    let keys = key_of_each(&mut cluster);
    let set = |key: &String| Command::new("SET").arg(key).arg([b'x'; 1000]);
    let many: Batch = (0..1500).map(|number| set(&keys[number % 3])).collect();
    assert!(all(link.exchange(&many, LONG, 100)).iter().all(|reply| *reply == Reply::Okay));
    cluster.nodes[0].freeze();
    for _ in 0..2 {
        let since = Instant::now();
        let exchanged = link.exchange(&many, LONG / 4, 100);
        assert!(since.elapsed() < LONG, "{:?}", since.elapsed());
        for (number, error) in errors(&exchanged).into_iter().enumerate() {
            assert_eq!(error.is_some(), number % 3 == 0, "{number}: {error:?}");
        }
    }
    cluster.nodes[0].thaw();
    assert!(until_well(&mut link, &[&format!("GET {}", keys[0])]).broke);
}

/// Commands that the network held back arrive when newer ones were run already: by then their
/// connection must have been ended.
#[test]
fn what_an_abandoned_connection_had_sent_is_not_run_after_what_follows() {
    let mut redis = Redis::start(&[]);
    let proxy = FaultProxy::start(redis.address());
    let mut link = link(&proxy.url());
    for round in 1..=3 {
        assert_eq!(all(ask(&mut link, &["SET key first"])), [Reply::Okay]);
        proxy.hold_back();
        let lost = link.exchange(&commands(&["SET key late"]), SHORT, STORE_REPLY_BYTES_MAX);
        assert_eq!((errors(&lost), lost.broke), (vec![Some(ErrorKind::Timeout)], true), "{round}");
        let next = ask(&mut link, &["SET key last"]);
        assert!(next.broke, "a new connection in place of a lost one");
        assert_eq!(all(next), [Reply::Okay]);
        proxy.release();
        // Far longer than it takes Redis to run what has come late, if it does.
        let since = Instant::now();
        while since.elapsed() < Duration::from_millis(300) {
            assert_eq!(redis.value("key").as_deref(), Some("last"));
        }
    }
}

/// A frozen server runs what is in its sockets when it thaws.
#[test]
fn what_a_frozen_server_had_got_is_not_run_after_what_follows() {
    let mut redis = Redis::start(&[]);
    let mut link = link(&redis.url());
    ask(&mut link, &["RPUSH list 0"]);
    for round in 1..=3 {
        redis.freeze();
        let late = link.exchange(&commands(&["SET key late"]), SHORT, STORE_REPLY_BYTES_MAX);
        assert_eq!(errors(&late), [Some(ErrorKind::Timeout)], "{round}");
        let refused = link.exchange(&commands(&["SET key x"]), SHORT, STORE_REPLY_BYTES_MAX);
        assert!(refused.ends[0].error().is_some(), "{refused:?}");
        redis.thaw();
        until_well(&mut link, &["SET key last"]);
        let since = Instant::now();
        while since.elapsed() < Duration::from_millis(100) {
            assert_eq!(redis.value("key").as_deref(), Some("last"));
        }
    }
}

#[test]
fn a_huge_reply_is_refused_and_the_link_goes_on_without_it() {
    let redis = Redis::start(&[]);
    let mut link = link(&redis.url());
    let long = format!("SET long {}", "x".repeat(200_000));
    ask(&mut link, &["SET short a", &long]);
    let exchanged = link.exchange(&commands(&["GET short", "GET long", "GET short"]), LONG, 4096);
    let protocol = Some(ErrorKind::Protocol);
    assert_eq!((errors(&exchanged), exchanged.broke), (vec![None, protocol, protocol], true));
    assert_eq!(all(ask(&mut link, &["GET short"])), [bytes("a")]);
    let whole = link.exchange(&commands(&["GET long"]), LONG, 300_000);
    assert_eq!(all(whole), [bytes(&"x".repeat(200_000))]);
    let endless = FakeRedis::start(|_, words| {
        (words[0] == "GET").then_some(FakeReply::Endlessly("$100000000000\r\n", "x"))
    });
    let exchanged = ask(&mut self::link(&endless.url()), &["GET a"]);
    assert_eq!(errors(&exchanged), [Some(ErrorKind::Protocol)]);
}

#[test]
fn a_wrong_password_and_a_missing_right_are_told() {
    let mut redis = Redis::start(&["--requirepass", "right"]);
    let url = |password: &str| format!("redis://:{password}@{}", redis.address());
    let wrong = ask(&mut link(&url("wrong")), &["GET a", "GET b"]);
    for end in wrong.ends {
        let error = end.into_result().unwrap_err();
        assert_eq!(error.kind, ErrorKind::WrongPass);
        assert_eq!(error.server, redis.address().to_string());
        assert!(!error.message.contains("wrong "), "{error:?}");
    }
    let none = ask(&mut link(&format!("redis://{}", redis.address())), &["GET a"]);
    assert_eq!(errors(&none), [Some(ErrorKind::NoAuth)]);
    assert_eq!(all(ask(&mut link(&url("right")), &["GET a"])), [Reply::Nil]);
    let rights = ["ACL", "SETUSER", "cp", "on", ">pw", "~cp:*", "+get", "+client|info"];
    redis.execute(&rights).assert_ok();
    let mut limited = link(&format!("redis://cp:pw@{}", redis.address()));
    let replies = all(ask(&mut limited, &["GET cp:a", "SET cp:a b", "GET a", "GET cp:b"]));
    let denied = |reply: &Reply| matches!(reply, Reply::Error(e) if e.kind == ErrorKind::NoPerm);
    assert_eq!(replies.iter().map(denied).collect::<Vec<_>>(), [false, true, true, false]);
}

#[test]
fn a_server_that_takes_no_commands_at_the_moment_is_connected_anew() {
    for (reply, kind) in [
        ("-LOADING Redis is loading the dataset in memory\r\n", ErrorKind::Loading),
        ("-READONLY You can't write against a read only replica.\r\n", ErrorKind::ReadOnly),
    ] {
        let redis = FakeRedis::start(move |number, words| {
            (number == 1 && words[0] == "SET").then(|| FakeReply::text(reply))
        });
        let mut link = link(&redis.url());
        let refused = ask(&mut link, &["SET a b", "GET a"]);
        assert_eq!((errors(&refused), refused.broke), (vec![Some(kind), None], true));
        let at_once = ask(&mut link, &["SET a b"]);
        assert_eq!(errors(&at_once), [Some(kind)], "a moment later it is the same");
        let well = until_well(&mut link, &["SET a b"]);
        assert!(well.broke);
        assert_eq!(redis.count("SET"), 2);
        // Nothing was in flight: there is nothing to fence.
        assert_eq!(redis.commands().iter().filter(|(_, words)| words[1..] == ["KILL"]).count(), 0);
    }
}

#[test]
fn the_primary_that_sentinels_name_is_followed() {
    let mut all_of_it = RedisSentinel::start_with_passwords();
    let mut link = link(&all_of_it.url());
    assert_eq!(all(ask(&mut link, &["RPUSH a x"])), [Reply::Integer(1)]);
    wait_until("the replica has it", || {
        (all_of_it.replica().execute(&["LLEN", "a"]).integer() == 1).then_some(())
    });
    all_of_it.kill_primary();
    let broken = ask(&mut link, &["RPUSH a x"]);
    assert!(broken.broke && errors(&broken)[0].is_some(), "{broken:?}");
    let well = until_well(&mut link, &["RPUSH a x", "LLEN a"]);
    assert!(well.broke);
    assert_eq!(all(well), [2, 2].map(Reply::Integer));
    assert!(all_of_it.has_failed_over());
}

/// Sentinels that have not heard of a failover name a server that is a replica by now, and has old
/// values for who reads.
#[test]
fn a_replica_that_a_sentinel_names_is_not_read_from() {
    let replica = FakeRedis::start(|_, words| {
        (words[0] == "ROLE").then(|| FakeReply::text("*2\r\n$5\r\nslave\r\n$1\r\na\r\n"))
    });
    let port = replica.address.port().to_string();
    let named = format!("*2\r\n$9\r\n127.0.0.1\r\n${}\r\n{port}\r\n", port.len());
    let sentinel = FakeRedis::start(move |_, words| {
        (words[0] == "SENTINEL").then(|| FakeReply::text(named.clone()))
    });
    let url = format!("redis+sentinel://{}/mymaster", sentinel.address);
    assert_eq!(errors(&ask(&mut link(&url), &["GET a"])), [Some(ErrorKind::ReadOnly)]);
    assert_eq!(replica.count("GET"), 0);
}

#[test]
fn nobody_there_is_told_of_each_command() {
    let (listener, address) = FakeRedis::listen();
    drop(listener);
    for url in ["redis", "redis+cluster"].map(|scheme| format!("{scheme}://{address}")) {
        let exchanged = ask(&mut link(&url), &["GET a", "GET b"]);
        assert_eq!(errors(&exchanged), [Some(ErrorKind::Connect); 2]);
        assert!(!exchanged.broke, "there was nothing to lose");
    }
}
