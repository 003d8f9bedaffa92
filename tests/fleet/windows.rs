//! Windows that follow their devices: what the fleet tells of a device is what one instance tells
//! that received all of its events, to the last bit.

use serde_json::{Value, json};
use testkit::{HttpClient, Redis, Server, post, wait_until, wait_until_within};

use crate::fleet::{Fleet, NAME, Replica};

/// Events that fill a window and more.
const EVENTS: u32 = 60;

/// The figures of a device that have to be equal.
fn figures(answer: &Value) -> Value {
    let anomalies = &answer["anomalies"];
    json!({
        "n": answer["totals"]["accepted"], "window": answer["window"], "cpu": answer["cpu"],
        "rps": answer["rps"], "temperature": answer["temperature"],
        "points": anomalies["points"], "episodes": anomalies["episodes"],
        "recent": anomalies["recent"],
    })
}

/// A device whose events go to a replica each, and all of them to an instance without a fleet.
struct Device {
    name: &'static str,
    sent: u32,
    /// Milliseconds from one event to the next.
    step_ms: u64,
    /// True if it has a third field, which it seldom sends, and sends lines as often as JSON.
    is_mixed: bool,
    /// The level of what it sends.
    level: f64,
    alone: Server,
    /// The answers that said that the window was elsewhere.
    pending: u32,
}

impl Device {
    fn new(name: &'static str) -> Self {
        Self::judged_by(name, &[], 1)
    }

    /// Returns a device that sends an event after so many milliseconds each, where replicas have
    /// these options.
    fn judged_by(name: &'static str, options: &[&str], step_ms: u64) -> Self {
        let alone = Server::start(&[&["--workers", "1"], options].concat());
        Self { name, sent: 0, step_ms, is_mixed: false, level: 0.0, alone, pending: 0 }
    }

    /// Sends the next event, with something odd now and then, and waits until it was judged. Its
    /// verdict is that of the other instance, if the answer had it.
    fn send(&mut self, replica: &mut Replica) {
        self.sent += 1;
        let cpu = self.level
            + f64::from(self.sent * 37 % 11) * 1.7
            + if self.sent.is_multiple_of(23) { 90.0 } else { 0.1 };
        let (name, timestamp) =
            (self.name, 1_700_000_000_000_u64 + self.step_ms * u64::from(self.sent));
        let rps = cpu / 3.0;
        let temperature = (self.is_mixed && self.sent.is_multiple_of(3)).then_some(cpu / 7.0);
        if self.is_mixed && self.sent.is_multiple_of(2) {
            let third = temperature.map_or(String::new(), |it| format!(",temperature={it}"));
            let line = format!("m,device_id={name} cpu={cpu},rps={rps}{third} {timestamp}\n");
            for server in [&self.alone, &replica.server] {
                let answer = HttpClient::connect(server.address).request(&post_lines(&line));
                assert_eq!(answer.status, 204, "{answer:?}");
            }
            replica.acknowledged += 1;
            return self.wait_until_judged(replica);
        }
        let mut event = json!({
            "device_id": name, "timestamp": timestamp, "cpu": cpu, "rps": rps,
        });
        if let Some(temperature) = temperature {
            event["temperature"] = temperature.into();
        }
        let event = event.to_string();
        let answer = |server: &Server| {
            let answer = HttpClient::connect(server.address).request(&post(event.as_bytes()));
            assert_eq!(answer.status, 202, "{answer:?}");
            answer.json()
        };
        let (expected, mut found) = (answer(&self.alone), answer(&replica.server));
        replica.acknowledged += 1;
        let pending = found.as_object_mut().unwrap().remove("pending");
        if pending.is_none() {
            assert_eq!(found, expected, "event {}", self.sent);
        } else {
            assert_eq!(pending, Some(json!(1)));
            self.pending += 1;
            self.wait_until_judged(replica);
        }
    }

    fn told_by(&self, replica: &Replica) -> Option<Value> {
        let answer = replica.get(&format!("/analyze?device_id={}&scope=fleet", self.name));
        (answer.status == 200).then(|| figures(&answer.json()))
    }

    /// Returns what the second judge of the other instance knows of a field.
    fn novelty_of(&self, field: &str) -> Value {
        let path = format!("/analyze?device_id={}", self.name);
        let answer = HttpClient::connect(self.alone.address).request(&testkit::get(&path));
        answer.json()[field]["novelty"].clone()
    }

    /// Waits until a replica tells what the other instance tells.
    fn wait_until_judged(&self, replica: &Replica) {
        let path = format!("/analyze?device_id={}", self.name);
        let expected =
            figures(&HttpClient::connect(self.alone.address).request(&testkit::get(&path)).json());
        let mut told = None;
        let is_judged = || {
            told = self.told_by(replica);
            told.as_ref().is_some_and(|told| told["n"] == expected["n"]).then_some(())
        };
        wait_until("all events have been judged", is_judged);
        assert_eq!(told, Some(expected));
    }

    /// Checks that every replica tells what the other instance tells.
    fn check(&self, fleet: &Fleet) {
        fleet.replicas.iter().for_each(|replica| self.wait_until_judged(replica));
    }
}

/// Returns a POST of lines with their times in milliseconds.
fn post_lines(lines: &str) -> Vec<u8> {
    let length = lines.len();
    let head = "POST /api/v2/write?precision=ms HTTP/1.1\r\nHost: test\r\nContent-Length: ";
    format!("{head}{length}\r\n\r\n{lines}").into_bytes()
}

/// Waits until a replica has nothing more to save.
fn wait_until_saved(replica: &Replica) {
    replica.wait_until_judged();
    wait_until("nothing is left to save", || {
        (replica.figure("corepulse_window_save_lag_seconds") == 0.0).then_some(())
    });
}

#[test]
fn a_device_that_each_replica_hears_in_turn_has_one_window() {
    let redis = Redis::start(&[]);
    let mut fleet = Fleet::start(&redis.url(), 3);
    let mut device = Device::new("restless");
    for number in 0..2 * EVENTS {
        device.send(&mut fleet.replicas[number as usize % 3]);
    }
    device.check(&fleet);
    // But for the first, whose device is new everywhere, each was elsewhere.
    assert!(device.pending >= 2 * EVENTS - 1, "{}", device.pending);
    let taken =
        |replica: &Replica| replica.figure(r#"corepulse_windows_taken_total{from="live"}"#) as u32;
    let all: u32 = fleet.replicas.iter().map(taken).sum();
    assert_eq!(all, 2 * EVENTS - 1);
    let given = fleet.replicas.iter().map(|it| it.figure("corepulse_windows_given_total") as u32);
    assert_eq!(given.sum::<u32>(), all);
    let in_doubt = |it: &Replica| it.figure("corepulse_judged_in_doubt_total");
    assert!(fleet.replicas.iter().all(|replica| in_doubt(replica) == 0.0));
}

#[test]
fn a_replica_that_stops_leaves_its_windows_to_the_others() {
    let redis = Redis::start(&[]);
    // It saves nothing before it ends.
    let start = |name| Replica::start(&redis.url(), name, &["--window-save", "1h"]);
    let mut fleet = Fleet::of(["a", "b", "c"].map(start).into());
    fleet.wait_until_whole();
    let mut device = Device::new("orphan");
    for _ in 0..2 {
        (0..EVENTS).for_each(|_| device.send(&mut fleet.replicas[0]));
        let mut stopped = fleet.replicas.remove(0);
        stopped.stop();
        fleet.of_gone += stopped.acknowledged;
        let pending = device.pending;
        device.send(&mut fleet.replicas[0]);
        assert_eq!(device.pending, pending + 1);
        let taken = fleet.replicas[0].figure(r#"corepulse_windows_taken_total{from="left"}"#);
        assert_eq!(taken, 1.0);
    }
    device.check(&fleet);
}

#[test]
fn a_killed_replica_takes_along_what_it_had_not_saved() {
    let redis = Redis::start(&[]);
    let start = |name| Replica::start(&redis.url(), name, &["--window-save", "1s"]);
    let mut fleet = Fleet::of(["a", "b"].map(start).into());
    fleet.wait_until_whole();
    let mut device = Device::new("bereft");
    (0..EVENTS).for_each(|_| device.send(&mut fleet.replicas[0]));
    wait_until_saved(&fleet.replicas[0]);
    let mut killed = fleet.replicas.remove(0);
    killed.server.signal("KILL");
    killed.server.wait();
    fleet.of_gone += killed.acknowledged;
    (0..EVENTS).for_each(|_| device.send(&mut fleet.replicas[0]));
    device.check(&fleet);
    assert_eq!(fleet.replicas[0].figure(r#"corepulse_windows_taken_total{from="lapsed"}"#), 1.0);
}

/// Windows stay where they are. Those of devices that come meanwhile are joined with the old ones.
#[test]
fn redis_is_away() {
    let mut redis = Redis::start(&[]);
    let mut fleet = Fleet::start(&redis.url(), 2);
    let (mut still, mut restless) = (Device::new("still"), Device::new("restless"));
    for _ in 0..EVENTS {
        still.send(&mut fleet.replicas[0]);
        restless.send(&mut fleet.replicas[0]);
    }
    redis.kill();
    fleet.wait_until_up_is(false);
    (0..EVENTS).for_each(|_| still.send(&mut fleet.replicas[0]));
    let stranger = &mut fleet.replicas[1];
    let in_doubt = stranger.figure("corepulse_judged_in_doubt_total");
    for _ in 0..10 {
        let answer = HttpClient::connect(stranger.server.address)
            .request(&post(br#"{"device_id":"restless","cpu":5,"rps":1}"#));
        assert_eq!(answer.json()["accepted"], 1);
        stranger.acknowledged += 1;
    }
    wait_until("it is judged by what is there", || {
        let now = stranger.figure("corepulse_judged_in_doubt_total");
        (now == in_doubt + 10.0).then_some(())
    });
    // Redis comes back without its memory.
    redis.run();
    fleet.wait_until_up_is(true);
    (0..EVENTS).for_each(|_| still.send(&mut fleet.replicas[0]));
    still.send(&mut fleet.replicas[1]);
    still.check(&fleet);
    // One more event each, and the two windows are one.
    let one = br#"{"device_id":"restless","cpu":5,"rps":1}"#;
    for replica in &mut fleet.replicas {
        HttpClient::connect(replica.server.address).request(&post(one));
        replica.acknowledged += 1;
    }
    let n = json!(EVENTS + 12);
    wait_until("each event counts once", || {
        let told = fleet.replicas.iter().map(|replica| restless.told_by(replica));
        told.flatten().filter(|told| told["n"] == n).nth(1)
    });
}

/// A replica that ends without having saved all says so, as the others do not find it.
#[test]
fn redis_is_away_at_the_end_of_a_replica() {
    let mut redis = Redis::start(&[]);
    let replica = Replica::start(&redis.url(), "a", &["--drain-timeout", "2s"]);
    let mut fleet = Fleet::of(vec![replica]);
    fleet.wait_until_whole();
    fleet.replicas[0].post("unsaved", 5.0);
    wait_until_saved(&fleet.replicas[0]);
    redis.kill();
    fleet.wait_until_up_is(false);
    fleet.replicas[0].post("unsaved", 5.0);
    // What was saved before Redis may have lost.
    let devices = fleet.replicas[0].figure("corepulse_devices");
    let server = &mut fleet.replicas[0].server;
    server.signal("TERM");
    server.wait();
    let lines = server.log_entries("not all windows of devices could be handed over in time");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!((&lines[0]["level"], lines[0]["unsaved"].as_f64()), (&"WARN".into(), Some(devices)));
}

/// Redis forgets all and breaks no connection. Who starts in that moment finds nobody, and begins
/// the window anew; once the loss was noticed, that and the old one are joined.
#[test]
fn a_replica_starts_as_redis_is_flushed() {
    let mut redis = Redis::start(&[]);
    let url = redis.url();
    let start = |name| Replica::start(&url, name, &["--window-save", "1s"]);
    let mut fleet = Fleet::of(["a", "b"].map(start).into());
    fleet.wait_until_whole();
    let device = Device::new("forgotten");
    let send = |replica: &mut Replica, events: u32| {
        for _ in 0..events {
            let event = post(br#"{"device_id":"forgotten","cpu":5,"rps":1}"#);
            let answer = HttpClient::connect(replica.server.address).request(&event);
            assert_eq!(answer.json()["accepted"], 1);
            replica.acknowledged += 1;
        }
    };
    send(&mut fleet.replicas[0], EVENTS / 2);
    wait_until_saved(&fleet.replicas[0]);
    redis.execute(&["FLUSHALL"]).assert_ok();
    let mut newcomer = start("c");
    send(&mut newcomer, 5);
    send(&mut fleet.replicas[0], 5);
    fleet.replicas.push(newcomer);
    let n = json!(EVENTS / 2 + 10);
    wait_until_within(2 * testkit::TIMEOUT, "each event is there once, wherever one asks", || {
        let told = fleet.replicas.iter().map(|replica| device.told_by(replica));
        told.flatten().filter(|told| told["n"] == n && told["window"]["count"] == n).nth(2)
    });
}

/// The bands of three series go where their device goes, whichever form its events have and
/// whichever core hears them, and are there after all replicas were restarted.
#[test]
fn what_is_new_is_known_wherever_a_device_goes() {
    const JUDGES: &[&str] =
        &["--novelty", "on", "--stuck-after", "3", "--fields", "cpu,rps,temperature?"];
    let redis = Redis::start(&[]);
    let url = redis.url();
    let start = |name| {
        let fixed = ["--workers", "2", "--fleet", NAME, "--redis-url", &url, "--instance", name];
        Replica::of(Server::start(&[&fixed, JUDGES].concat()), name)
    };
    let mut fleet = Fleet::of(["a", "b"].map(start).into());
    fleet.wait_until_whole();
    let mut device = Device::judged_by("homely", JUDGES, 600_000);
    device.is_mixed = true;
    for number in 0..2 * EVENTS {
        device.send(&mut fleet.replicas[number as usize % 2]);
    }
    device.check(&fleet);
    for mut stopped in fleet.replicas.drain(..) {
        stopped.stop();
        fleet.of_gone += stopped.acknowledged;
    }
    fleet.replicas = vec![start("c")];
    fleet.wait_until_whole();
    let before = device.novelty_of("cpu");
    for number in 0..EVENTS {
        device.level = if number < EVENTS / 2 { 0.0 } else { 1000.0 };
        device.send(&mut fleet.replicas[0]);
    }
    device.check(&fleet);
    // What was told before the restart counts, and so does what was told after it.
    assert!(before["alerts"].as_u64() > Some(0), "{before}");
    for field in ["cpu", "rps", "temperature"] {
        let novelty = device.novelty_of(field);
        assert!(novelty["alerts"].is_u64(), "{field}: {novelty}");
        assert_eq!(novelty["quantities"].as_array().unwrap().len(), 4, "{field}: {novelty}");
    }
    assert!(device.novelty_of("cpu")["alerts"].as_u64() > before["alerts"].as_u64());
}

/// The newer window takes the newest events; other fields begin anew.
#[test]
fn replicas_have_other_settings() {
    let redis = Redis::start(&[]);
    let start = |name, more: &[&str]| Replica::start(&redis.url(), name, more);
    let more: [(&str, &[&str]); 3] =
        [("a", &[]), ("b", &["--window", "20"]), ("c", &["--fields", "cpu,rps,load?"])];
    let mut fleet = Fleet::of(more.map(|(name, more)| start(name, more)).into());
    fleet.wait_until_whole();
    let mut device = Device::new("moved");
    (0..EVENTS).for_each(|_| device.send(&mut fleet.replicas[0]));
    let event = br#"{"device_id":"moved","cpu":1,"rps":1}"#;
    let mut count_at = |number: usize, n: u32, count: u32| {
        let replica = &mut fleet.replicas[number];
        HttpClient::connect(replica.server.address).request(&post(event));
        replica.acknowledged += 1;
        wait_until_within(2 * testkit::TIMEOUT, "it has the device", || {
            let answer = replica.get("/analyze?device_id=moved&scope=instance");
            let told = (answer.status == 200).then(|| answer.json())?;
            let is_it = told["totals"]["accepted"] == n && told["window"]["count"] == count;
            is_it.then_some(())
        });
    };
    count_at(1, EVENTS + 1, 20);
    count_at(2, 1, 1);
}
