//! `/anomalies?scope=fleet`: a poller sees each anomaly once, while replicas come and go.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::{Redis, assert_problem, wait_until};

use crate::fleet::{Fleet, Replica};

/// Lets a device have an anomaly that no other has: its value tells which.
struct Spikes {
    count: u32,
}

impl Spikes {
    /// Sends a new device's usual values to a replica and, when they have been judged, one that is
    /// not.
    fn send(&mut self, replica: &mut Replica) -> String {
        self.count += 1;
        let device = format!("s:{}", self.count);
        for turn in 0..16 {
            replica.post(&device, f64::from(turn % 3));
        }
        replica.wait_until_judged();
        assert!(replica.post(&device, 900.0));
        device
    }
}

/// A poller that asks the replicas in turn, and what it has seen.
#[derive(Default)]
struct Poller {
    /// The kind that it asks for, as the end of a query; both without it.
    kind: &'static str,
    cursor: Option<String>,
    seen: BTreeMap<String, u32>,
    polls: usize,
}

impl Poller {
    fn poll(&mut self, fleet: &Fleet, limit: usize) -> Value {
        let running: Vec<_> = fleet.replicas.iter().filter(|it| !it.is_frozen).collect();
        let replica = running[self.polls % running.len()];
        self.polls += 1;
        let since = self.cursor.as_ref().map(|cursor| format!("&since={cursor}"));
        let query = format!("limit={limit}{}{}", self.kind, since.unwrap_or_default());
        let page = replica.json(&format!("/anomalies?scope=fleet&{query}"));
        self.cursor = Some(page["next"].as_str().expect("a cursor").to_owned());
        let anomalies = page["anomalies"].as_array().unwrap();
        assert!(anomalies.len() <= limit, "{page}");
        for anomaly in anomalies {
            let device = anomaly["device_id"].as_str().unwrap();
            *self.seen.entry(device.to_owned()).or_default() += 1;
        }
        page
    }

    /// Polls until nothing new comes from anybody.
    fn catch_up(&mut self, fleet: &Fleet, limit: usize) {
        wait_until("nothing new", || {
            let page = self.poll(fleet, limit);
            let is_empty = page["anomalies"].as_array().unwrap().is_empty();
            (is_empty && page["complete"] == true).then_some(())
        });
    }

    /// Checks that it has seen just these, each once.
    fn check(&self, sent: &[String]) {
        let of_sent: BTreeMap<String, u32> = sent.iter().map(|it| (it.clone(), 1)).collect();
        let seen = self.seen.iter().filter(|(device, _)| device.starts_with("s:"));
        let seen: BTreeMap<String, u32> = seen.map(|(it, count)| (it.clone(), *count)).collect();
        assert_eq!(seen, of_sent);
    }
}

#[test]
fn a_poller_sees_each_anomaly_once() {
    let redis = Redis::start(&[]);
    let url = redis.url();
    let mut fleet = Fleet::start(&url, 2);
    let (mut spikes, mut sent, mut poller) = (Spikes { count: 0 }, Vec::new(), Poller::default());
    poller.catch_up(&fleet, 1000);
    for name in ["c", "d", "e"] {
        for round in 0..6 {
            for replica in &mut fleet.replicas {
                sent.push(spikes.send(replica));
            }
            if round % 2 == 0 {
                poller.poll(&fleet, 2);
            }
        }
        // Another one comes, and has anomalies before it is polled for the first time.
        let mut next = Replica::start(&url, name, &[]);
        sent.push(spikes.send(&mut next));
        fleet.replicas.push(next);
        fleet.wait_until_whole();
        poller.catch_up(&fleet, 3);
        poller.check(&sent);
        // One goes, of which all was seen.
        let mut stopped = fleet.replicas.remove(0);
        stopped.stop();
        fleet.of_gone += stopped.acknowledged;
        let page = poller.poll(&fleet, 3);
        assert_eq!(page["missed"], Value::Null, "{page}");
        let page = poller.poll(&fleet, 3);
        assert_eq!(page["missed"], 0, "{page}");
    }
    poller.catch_up(&fleet, 2);
    poller.check(&sent);
}

/// The anomalies of a silent replica are seen when it speaks again.
#[test]
fn a_poller_sees_what_came_while_a_replica_was_silent() {
    let redis = Redis::start(&[]);
    let mut fleet = Fleet::start(&redis.url(), 3);
    let (mut spikes, mut sent, mut poller) = (Spikes { count: 0 }, Vec::new(), Poller::default());
    poller.catch_up(&fleet, 1000);
    for _ in 0..3 {
        sent.extend(fleet.replicas.iter_mut().map(|replica| spikes.send(replica)));
        fleet.replicas[1].server.signal("STOP");
        fleet.replicas[1].is_frozen = true;
        for _ in 0..2 {
            sent.push(spikes.send(&mut fleet.replicas[0]));
            let page = poller.poll(&fleet, 2);
            assert_eq!((&page["complete"], &page["missed"]), (&false.into(), &0.into()), "{page}");
        }
        fleet.replicas[1].server.signal("CONT");
        fleet.replicas[1].is_frozen = false;
        fleet.wait_until_whole();
        poller.catch_up(&fleet, 2);
        poller.check(&sent);
    }
}

/// Each kind has cursors and numbers of its own, whatever comes of the other one.
#[test]
fn a_poller_of_one_kind_sees_each_of_that_kind_once() {
    let redis = Redis::start(&[]);
    let url = redis.url();
    let flags = ["--stuck-after", "4"];
    let replicas = ["a", "b"].map(|name| Replica::start(&url, name, &flags)).into();
    let mut fleet = Fleet::of(replicas);
    fleet.wait_until_whole();
    let kinds = ["&kind=anomaly", "&kind=novelty"];
    let mut pollers = kinds.map(|kind| Poller { kind, ..Poller::default() });
    pollers.iter_mut().for_each(|poller| poller.catch_up(&fleet, 1000));
    let (mut spikes, mut sent) = (Spikes { count: 0 }, Vec::new());
    for round in 0..4 {
        for replica in &mut fleet.replicas {
            // One field of each has a spike, and the other one stands still.
            sent.push(spikes.send(replica));
        }
        for poller in &mut pollers {
            let page = poller.poll(&fleet, 1);
            let all = page["anomalies"].as_array().unwrap();
            assert!(all.iter().all(|it| poller.kind.ends_with(it["kind"].as_str().unwrap())));
            assert_eq!(page["missed"], 0, "{page}");
            if round % 2 == 1 {
                poller.catch_up(&fleet, 3);
                poller.check(&sent);
            }
        }
    }
    let [anomalies, novelties] = pollers;
    let cursor = novelties.cursor.unwrap();
    for kind in [anomalies.kind, ""] {
        let target = format!("/anomalies?scope=fleet&since={cursor}{kind}");
        let problem = assert_problem(&fleet.replicas[0].get(&target), 400, target.as_bytes());
        let expected = "since: expected `next` of an earlier answer with the same kind";
        assert_eq!(problem["detail"], expected, "{target}");
    }
    let totals = &fleet.replicas[0].complete_json("/stats?scope=fleet")["totals"];
    for (name, seen) in [("anomalies", anomalies.seen), ("novelties", novelties.seen)] {
        assert_eq!(totals[name], seen.values().sum::<u32>(), "{totals}");
    }
}

/// The newest of all, each with its instance, in the order in which they came.
#[test]
fn the_newest_anomalies_are_those_of_all() {
    let redis = Redis::start(&[]);
    let mut fleet = Fleet::start(&redis.url(), 3);
    let mut spikes = Spikes { count: 0 };
    let mut sent = Vec::new();
    for round in 0..9 {
        let replica = &mut fleet.replicas[round * 2 % 3];
        sent.push((spikes.send(replica), replica.name.clone()));
        // Their logs tell times to 17 ms: what is closer may stand in any order.
        let since = Instant::now();
        let is_later = || (since.elapsed() > Duration::from_millis(40)).then_some(());
        wait_until("the logs tell another time", is_later);
    }
    for replica in &fleet.replicas {
        let page = replica.complete_json("/anomalies?scope=fleet&limit=6");
        let found: Vec<(String, String)> = page["anomalies"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| {
                let text = |name: &str| it[name].as_str().unwrap().to_owned();
                (text("device_id"), text("instance"))
            })
            .collect();
        let expected: Vec<_> = sent.iter().rev().take(6).cloned().collect();
        assert_eq!(found, expected, "{page}");
        // A cursor of one instance is none of the fleet, nor the other way round.
        let own = replica.json("/anomalies?scope=instance")["next"].as_str().unwrap().to_owned();
        let of_fleet = page["next"].as_str().unwrap();
        for target in [
            format!("/anomalies?scope=fleet&since={own}"),
            format!("/anomalies?scope=instance&since={of_fleet}"),
        ] {
            assert_problem(&replica.get(&target), 400, target.as_bytes());
        }
    }
}
