//! The files of `--spill`, which a server that ends without Redis leaves and the next takes up.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use testkit::metric_load::metric;
use testkit::server::run_with;
use testkit::{Redis, Server, StoreCounters, wait_until};

/// Events of a request.
const EVENTS: u64 = 2_000;

/// A folder of a test, which is removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("spill-{test}-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn arguments<'a>(url: &'a str, spill: &'a str) -> Vec<&'a str> {
    vec!["--workers", "2", "--redis-url", url, "--spill", spill, "--drain-timeout", "2s"]
}

fn start(redis: &Redis, spill: &Path) -> Server {
    Server::start(&arguments(&redis.url(), spill.to_str().unwrap()))
}

/// Posts events of a device, and returns their keys and values.
fn send(server: &Server, device: &str, cpu: &str) -> Vec<(String, String)> {
    let metrics: Vec<_> = (0..EVENTS).map(|number| metric(device, number, cpu)).collect();
    let lines: Vec<&str> = metrics.iter().map(|(_, value)| value.as_str()).collect();
    let answer = server.client().post_without_type(lines.join("\n"));
    assert_eq!(answer.status, 202, "{answer:?}");
    metrics
}

/// Stops a server; returns its exit code and its last line.
fn stop(mut server: Server) -> (Option<i32>, Value) {
    server.signal("TERM");
    let code = server.wait_within(Duration::from_secs(10)).code();
    (code, server.last_line())
}

fn files(spill: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(spill).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

/// The value of a metric without labels.
fn figure(server: &Server, name: &str) -> u64 {
    let text = server.client().get("/metrics/prometheus").text().to_owned();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// Waits until a server has written everything, and has removed the files that it took up.
fn wait_until_stored(server: &Server, spill: &Folder) -> StoreCounters {
    wait_until("the files are removed", || files(&spill.0).is_empty().then_some(()));
    wait_until("all is stored", || {
        let counters = StoreCounters::scrape(server.address);
        (figure(server, "corepulse_store_up") == 1 && counters.pending == 0).then_some(counters)
    })
}

#[test]
fn what_redis_did_not_take_is_taken_up_by_the_next_start_and_the_one_after() {
    let (mut redis, parent) = (Redis::start(&[]), Folder::new("next"));
    let folder = Folder(parent.0.join("made/by/the/server"));
    let spill = folder.0.clone();
    let server = start(&redis, &spill);
    assert_eq!(fs::metadata(&spill).unwrap().permissions().mode() & 0o777, 0o700);
    redis.freeze();
    let first = send(&server, "a", "1.5");
    let (code, last) = stop(server);
    assert_eq!((code, &last["spilled"], &last["shutdown"]), (Some(0), &EVENTS.into(), &0.into()));
    assert_eq!(last["message"], "stopped");
    let [file] = &files(&spill)[..] else { panic!("{:?}", files(&spill)) };
    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    // Redis is still away, and there is more.
    let server = start(&redis, &spill);
    let second = send(&server, "b", "2.5");
    let replaced = send(&server, "a", "3.25");
    let (code, last) = stop(server);
    assert_eq!((code, &last["pending"]), (Some(0), &0.into()));
    assert_eq!(files(&spill).len(), 1);
    redis.thaw();
    let server = start(&redis, &spill);
    let counters = wait_until_stored(&server, &folder);
    let recovered = figure(&server, "corepulse_store_recovered_total");
    // An older event of a key may be in the block of the newer one, and coalesced before.
    assert!((2 * EVENTS..=3 * EVENTS).contains(&recovered), "{recovered}");
    assert_eq!((counters.accepted, counters.dropped), (recovered, 0), "{counters:?}");
    let kept = second.iter().chain(&replaced);
    let found = redis.values(kept.clone().map(|(key, _)| key.as_str()));
    for ((key, value), found) in kept.zip(found) {
        let cpu = value.split("\"cpu\":").nth(1).unwrap().split(',').next().unwrap();
        assert!(found.unwrap_or_default().contains(&format!("\"cpu\":{cpu},")), "{key}");
    }
    let now_ms = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
    let lives = redis.expiries(first.iter().map(|(key, _)| key.as_str()));
    let are_right = lives.iter().all(|at_ms| (100_000..300_000).contains(&(at_ms - now_ms)));
    assert!(are_right, "{:?} at {now_ms}", lives.iter().min());
    server.first_line("all that was left in --spill has been taken up");
    let (code, last) = stop(server);
    assert_eq!((code, &last["spilled"]), (Some(0), &0.into()));
    assert_eq!(files(&spill), Vec::<PathBuf>::new());
}

#[test]
fn a_torn_file_loses_what_is_torn_and_tells() {
    let (mut redis, folder) = (Redis::start(&[]), Folder::new("torn"));
    let server = start(&redis, &folder.0);
    redis.freeze();
    let sent = send(&server, "torn", "1.5");
    assert_eq!(stop(server).0, Some(0));
    let file = files(&folder.0).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    // One record in the middle, and the last.
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    bytes.truncate(bytes.len() - 3);
    fs::write(&file, bytes).unwrap();
    redis.thaw();
    let server = start(&redis, &folder.0);
    wait_until_stored(&server, &folder);
    let found = redis.values(sent.iter().map(|(key, _)| key.as_str()));
    assert_eq!(found.iter().filter(|value| value.is_none()).count(), 2);
    let warned =
        server.first_line("not all that an earlier process had left in --spill could be read");
    assert!((100..500).contains(&warned["bytes"].as_u64().unwrap()), "{warned}");
}

/// A disk without room, as the limit of a file's size makes one.
#[test]
fn a_full_disk_loses_what_does_not_fit_and_tells() {
    let (mut redis, folder) = (Redis::start(&[]), Folder::new("full"));
    let (url, spill) = (redis.url(), folder.0.to_str().unwrap());
    let mut server = Server::start_from_shell("ulimit -f 128", &arguments(&url, spill));
    redis.freeze();
    let sent = send(&server, "full", "1.5");
    server.signal("TERM");
    let code = server.wait_within(Duration::from_secs(10)).code();
    let log: Vec<Value> =
        server.full_log().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let line = |message: &str| log.iter().find(|line| line["message"] == message).unwrap();
    let last = line("stopped");
    let [spilled, lost] = ["spilled", "shutdown"].map(|name| last[name].as_u64().unwrap());
    assert_eq!((code, spilled + lost), (Some(75), EVENTS), "{last}");
    assert!(spilled > 100 && lost > 100, "{last}");
    let told = line("not all events could be left in --spill");
    assert_eq!(told["events"], lost, "{told}");
    redis.thaw();
    let server = start(&redis, &folder.0);
    let counters = wait_until_stored(&server, &folder);
    assert_eq!((counters.stored, counters.dropped), (spilled, 0), "{counters:?}");
    let found = redis.values(sent.iter().map(|(key, _)| key.as_str()));
    assert_eq!(found.iter().flatten().count() as u64, spilled);
}

#[test]
fn two_servers_share_a_directory_and_each_file_is_taken_up_once() {
    let (redis, folder) = (Redis::start(&[]), Folder::new("two"));
    let servers = ["a", "b"].map(|device| (device, start(&redis, &folder.0)));
    redis.freeze();
    for (device, server) in servers {
        send(&server, device, "1.5");
        assert_eq!(stop(server).0, Some(0));
    }
    assert_eq!(files(&folder.0).len(), 2);
    // The first that starts takes both, and the second leaves them alone while it has them.
    let first = start(&redis, &folder.0);
    let second = start(&redis, &folder.0);
    assert_eq!(
        first.first_line("an earlier process has left events, which are taken up")["files"],
        2
    );
    assert_eq!(stop(second).1["accepted"], 0);
    redis.thaw();
    let counters = wait_until_stored(&first, &folder);
    assert_eq!((counters.accepted, counters.stored), (2 * EVENTS, 2 * EVENTS), "{counters:?}");
}

#[test]
fn what_has_waited_too_long_is_counted_as_expired() {
    let (redis, folder) = (Redis::start(&[]), Folder::new("old"));
    let (url, spill) = (redis.url(), folder.0.to_str().unwrap());
    let all = [&arguments(&url, spill)[..], &["--store-ttl", "1s"]].concat();
    let server = Server::start(&all);
    redis.freeze();
    send(&server, "old", "1.5");
    // The stop itself takes longer than they live.
    assert_eq!(stop(server).1["pending"], 0);
    redis.thaw();
    let server = Server::start(&all);
    let counters = wait_until_stored(&server, &folder);
    assert_eq!(counters.stored, 0, "{counters:?}");
    assert_eq!(counters.accepted, counters.dropped_by("expired"), "{counters:?}");
}

/// A clock that is set back between a stop and a start, or a `--store-ttl` that is less: what is
/// taken up lives no longer than anything else.
#[test]
fn what_is_taken_up_lives_no_longer_than_the_server_says() {
    let (mut redis, folder) = (Redis::start(&[]), Folder::new("life"));
    let (url, spill) = (redis.url(), folder.0.to_str().unwrap());
    let with = |ttl| Server::start(&[&arguments(&url, spill)[..], &["--store-ttl", ttl]].concat());
    let server = with("8760h");
    redis.freeze();
    let sent = send(&server, "life", "1.5");
    assert_eq!(stop(server).0, Some(0));
    redis.thaw();
    let server = with("10m");
    let counters = wait_until_stored(&server, &folder);
    assert_eq!(counters.stored, EVENTS, "{counters:?}");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let latest = i64::try_from(now.as_millis()).unwrap() + 601_000;
    for expires in redis.expiries(sent.iter().map(|(key, _)| key.as_str())) {
        assert!((1..latest).contains(&expires), "{expires}, {latest}");
    }
}

#[test]
fn who_waits_is_told_at_a_stop_and_its_events_are_left() {
    let (mut redis, folder) = (Redis::start(&[]), Folder::new("waits"));
    let server = start(&redis, &folder.0);
    redis.freeze();
    let (key, value) = metric("waits", 7, "1.5");
    let mut client = server.client();
    let length = value.len();
    let head = "POST /metrics?ack=stored HTTP/1.1\r\nHost: a\r\nContent-Length:";
    client.send(format!("{head} {length}\r\n\r\n{value}").as_bytes());
    wait_until("it waits", || (figure(&server, "corepulse_ack_waiting") == 1).then_some(()));
    assert_eq!(stop(server).0, Some(0));
    let answer = client.receive();
    assert_eq!((answer.status, &answer.json()["unknown"]), (503, &1.into()), "{answer:?}");
    redis.thaw();
    let counters = wait_until_stored(&start(&redis, &folder.0), &folder);
    assert_eq!((counters.accepted, counters.stored), (1, 1), "{counters:?}");
    assert!(redis.value(&key).is_some());
}

/// Whoever cleans up removes empty directories as well.
#[test]
fn a_directory_that_was_removed_meanwhile_is_made_again() {
    let (redis, folder) = (Redis::start(&[]), Folder::new("removed"));
    let server = start(&redis, &folder.0);
    redis.freeze();
    send(&server, "kept", "1.5");
    fs::remove_dir_all(&folder.0).unwrap();
    let (code, last) = stop(server);
    assert_eq!((code, &last["spilled"]), (Some(0), &EVENTS.into()), "{last}");
    assert_eq!(files(&folder.0).len(), 1);
}

#[test]
fn a_directory_that_cannot_be_used_is_told_at_the_start() {
    let folder = Folder::new("wrong");
    let file = folder.0.join("file");
    fs::write(&file, "").unwrap();
    let spill = file.to_str().unwrap();
    let ended =
        run_with(&["--redis-url", "redis://127.0.0.1:1", "--spill", spill, "--listen", ":0"]);
    assert_eq!(ended.code, 73, "{ended:?}");
    assert!(
        ended.errors.contains("--spill: ") && ended.errors.contains("cannot be used"),
        "{ended:?}"
    );
    // One of a later version is left alone.
    let (redis, kept) = (Redis::start(&[]), folder.0.join("1.spill"));
    fs::write(&kept, "corepulse spill 9\nwhatever follows").unwrap();
    // And so is what is no file: a pipe would be waited for.
    fs::create_dir(folder.0.join("2.spill")).unwrap();
    let pipe = folder.0.join("3.spill");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let server = start(&redis, &folder.0);
    server.first_line("another version has left events, in a form that is not known");
    assert_eq!(stop(server).0, Some(0));
    assert!(kept.exists() && pipe.exists());
}
