//! The fleet under test: its replicas, and the events that were acknowledged.

use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::{
    ANSWER_TIME_MAX, Exposition, HttpClient, HttpResponse, Server, get, post, wait_until,
};

/// The name of every fleet.
pub(crate) const NAME: &str = "f";

/// The key of its directory.
pub(crate) const DIRECTORY: &str = "cp:{f}:members";

/// The member that holds how many events were accepted.
const ACCEPTED: &str = "/totals/accepted";

/// The limit for an answer of the fleet: a quarter of a second for its members, and what a machine
/// that others share may add.
const FLEET_TIME_MAX: Duration = Duration::from_millis(250).saturating_add(ANSWER_TIME_MAX);

/// A replica, and what its clients know of it.
pub(crate) struct Replica {
    pub(crate) server: Server,
    pub(crate) name: String,
    /// The events that it has acknowledged.
    pub(crate) acknowledged: u64,
    /// The most events that an answer of the fleet has had which it gave.
    shown: u64,
    /// True while its process stands still.
    pub(crate) is_frozen: bool,
}

impl Replica {
    /// Starts a replica of the fleet.
    pub(crate) fn start(url: &str, name: &str, more: &[&str]) -> Self {
        let fixed = ["--workers", "1", "--fleet", NAME, "--redis-url", url, "--instance", name];
        Self::of(Server::start(&[&fixed, more].concat()), name)
    }

    /// Takes a server that was started otherwise.
    pub(crate) fn of(server: Server, name: &str) -> Self {
        Self { server, name: name.to_owned(), acknowledged: 0, shown: 0, is_frozen: false }
    }

    /// Requests a page, which comes in time.
    pub(crate) fn get(&self, target: &str) -> HttpResponse {
        let since = Instant::now();
        let answer = HttpClient::connect(self.server.address).request(&get(target));
        let took = since.elapsed();
        assert!(took < FLEET_TIME_MAX, "{}{target}: {took:?}, {answer:?}", self.name);
        answer
    }

    /// Requests a page that there is.
    pub(crate) fn json(&self, target: &str) -> Value {
        let answer = self.get(target);
        assert_eq!(answer.status, 200, "{}{target}: {answer:?}", self.name);
        answer.json()
    }

    /// Requests a page of the fleet until it is complete: a machine that others share may be late
    /// now and then, and the window of a device is on its way for a moment.
    pub(crate) fn complete_json(&self, target: &str) -> Value {
        wait_until("a complete answer", || {
            let answer = self.get(target);
            if answer.status == 503 && answer.text().contains("its window is on its way") {
                return None;
            }
            assert_eq!(answer.status, 200, "{}{target}: {answer:?}", self.name);
            let answer = answer.json();
            (answer["complete"] == true).then_some(answer)
        })
    }

    /// Waits until no event that it has acknowledged waits for the window of its device.
    pub(crate) fn wait_until_judged(&self) {
        wait_until("all events have been judged", || {
            (self.figure("corepulse_windows_waiting") == 0.0).then_some(())
        });
    }

    /// Posts an event, which is acknowledged as ever. Returns whether it was anomalous, as far as
    /// it was judged at once: for that its device has to be here, and be known.
    pub(crate) fn post(&mut self, device: &str, cpu: f64) -> bool {
        let metric = format!(r#"{{"cpu":{cpu},"rps":1,"device_id":"{device}"}}"#);
        let since = Instant::now();
        let answer = HttpClient::connect(self.server.address).request(&post(metric.as_bytes()));
        assert!(since.elapsed() < ANSWER_TIME_MAX, "{}: {:?}", self.name, since.elapsed());
        assert_eq!(answer.status, 202, "{answer:?}");
        self.acknowledged += 1;
        answer.json()["anomalies"] == 1
    }

    /// Checks what it says of itself.
    pub(crate) fn check_own_answer(&self) {
        let own = self.json("/analyze?scope=instance");
        assert_eq!(own["scope"], "instance");
        assert_eq!(own.pointer(ACCEPTED), Some(&self.acknowledged.into()), "{own}");
    }

    /// Returns a figure of its exposition.
    pub(crate) fn figure(&self, series: &str) -> f64 {
        Exposition::scrape(self.server.address).value(series)
    }

    /// Returns true if it says that Redis confirms its place.
    pub(crate) fn is_up(&self) -> bool {
        self.figure("corepulse_fleet_up") > 0.0
    }

    /// Ends it in order.
    pub(crate) fn stop(&mut self) {
        self.server.signal("TERM");
        assert!(self.server.wait().success());
    }
}

/// An answer of the fleet.
pub(crate) struct FleetAnswer(pub(crate) Value);

impl FleetAnswer {
    pub(crate) fn is_complete(&self) -> bool {
        self.0["complete"].as_bool().expect("it says so")
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.0.pointer(ACCEPTED).and_then(Value::as_u64).expect("it says how many")
    }

    /// Returns the names of who is missing, in order.
    pub(crate) fn missing(&self) -> Vec<&str> {
        let missing = self.0["missing"].as_array().expect("a list");
        let mut names: Vec<&str> = missing.iter().map(|name| name.as_str().unwrap()).collect();
        names.sort_unstable();
        names
    }

    /// Returns the states of the members, by their names.
    pub(crate) fn members(&self) -> Vec<(&str, &str)> {
        let members = self.0["members"].as_array().expect("a list").iter();
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for member in members {
            pairs.push((member["instance"].as_str().unwrap(), member["state"].as_str().unwrap()));
        }
        pairs.sort_unstable();
        pairs
    }

    /// Checks what holds of every answer: no event is nowhere, and one is missing or none.
    fn check(&self) {
        let store = |name: &str| self.0["store"][name].as_u64().expect("a count");
        let kept: u64 =
            ["stored", "coalesced", "dropped", "pending", "lost"].into_iter().map(store).sum();
        assert_eq!(self.accepted(), kept, "{}", self.0);
        assert!(!self.is_complete() || self.missing().is_empty(), "{}", self.0);
        let silent = self.0["members"].as_array().unwrap().iter();
        let silent = silent.filter(|it| it["state"] != "live");
        assert_eq!(silent.count(), self.missing().len(), "{}", self.0);
    }
}

/// A fleet of replicas that share a Redis.
pub(crate) struct Fleet {
    pub(crate) replicas: Vec<Replica>,
    /// The events of those who are gone, as far as they are in the totals.
    pub(crate) of_gone: u64,
    events: u64,
}

impl Fleet {
    /// Starts replicas `a`, `b` and so on, and waits until each answers for all.
    pub(crate) fn start(url: &str, count: usize) -> Self {
        Self::start_at(&vec![url; count])
    }

    /// Starts a replica for each of these URLs, by which it finds Redis.
    pub(crate) fn start_at(urls: &[&str]) -> Self {
        let replicas = urls.iter().zip(["a", "b", "c", "d", "e"]);
        let replicas = replicas.map(|(url, name)| Replica::start(url, name, &[])).collect();
        let mut fleet = Self::of(replicas);
        fleet.wait_until_whole();
        fleet
    }

    /// Takes replicas that were started otherwise.
    pub(crate) fn of(replicas: Vec<Replica>) -> Self {
        Self { replicas, of_gone: 0, events: 0 }
    }

    /// Returns how many events were acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        let living = self.replicas.iter().map(|replica| replica.acknowledged);
        living.sum::<u64>() + self.of_gone
    }

    /// Posts an event to each replica that runs.
    pub(crate) fn post_to_each(&mut self) {
        for replica in self.replicas.iter_mut().filter(|replica| !replica.is_frozen) {
            self.events += 1;
            let device = format!("{}-{}", replica.name, self.events % 10);
            replica.post(&device, 40.0 + (self.events % 7) as f64);
        }
    }

    /// Waits until every event of a replica that runs has been judged.
    pub(crate) fn wait_until_judged(&self) {
        let running = self.replicas.iter().filter(|replica| !replica.is_frozen);
        running.for_each(Replica::wait_until_judged);
    }

    /// Asks a replica for the fleet. What it says is true: complete answers have every event, no
    /// answer has an event too many, and none fewer than an earlier one of this replica.
    pub(crate) fn ask(&mut self, number: usize) -> FleetAnswer {
        let acknowledged = self.acknowledged();
        let replica = &mut self.replicas[number];
        let answer = FleetAnswer(replica.json("/analyze?scope=fleet"));
        answer.check();
        let accepted = answer.accepted();
        if answer.is_complete() {
            assert_eq!(accepted, acknowledged, "{}: {}", replica.name, answer.0);
        }
        assert!(accepted <= acknowledged, "{acknowledged}, {}: {}", replica.name, answer.0);
        let least = replica.shown.max(replica.acknowledged);
        assert!(accepted >= least, "{least}, {}: {}", replica.name, answer.0);
        replica.shown = accepted;
        answer
    }

    /// Asks a replica until its answer is complete.
    pub(crate) fn ask_for_all(&mut self, number: usize) -> FleetAnswer {
        wait_until("a complete answer", || {
            let answer = self.ask(number);
            answer.is_complete().then_some(answer)
        })
    }

    /// Posts to each replica that runs, and asks each: one look at the fleet.
    pub(crate) fn look(&mut self) -> Vec<FleetAnswer> {
        self.post_to_each();
        let running = (0..self.replicas.len()).filter(|number| !self.replicas[*number].is_frozen);
        let running: Vec<usize> = running.collect();
        let answers = running.iter().map(|number| self.ask(*number)).collect();
        running.iter().for_each(|number| self.replicas[*number].check_own_answer());
        answers
    }

    /// Looks at the fleet until this holds of the answers, and for a second more, in which it holds
    /// as well.
    pub(crate) fn observe(&mut self, what: &str, holds: impl Fn(&[FleetAnswer]) -> bool) {
        wait_until(what, || holds(&self.look()).then_some(()));
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(1) {
            let answers = self.look();
            let told: Vec<_> = answers.iter().map(|answer| &answer.0).collect();
            assert!(holds(&answers), "{what}: {told:?}");
        }
    }

    /// Waits until every replica answers for all, which takes six seconds at most on a machine of
    /// its own.
    pub(crate) fn wait_until_whole(&mut self) {
        let (since, members) = (Instant::now(), self.replicas.len());
        wait_until("the fleet is whole", || {
            let answers = self.look();
            let is_whole = |it: &FleetAnswer| it.is_complete() && it.members().len() == members;
            answers.iter().all(is_whole).then_some(())
        });
        println!("whole after {:.1?}", since.elapsed());
    }

    /// Waits until every replica says whether Redis confirms its place.
    pub(crate) fn wait_until_up_is(&mut self, is_up: bool) {
        wait_until("they notice", || {
            self.look();
            self.replicas.iter().all(|replica| replica.is_up() == is_up).then_some(())
        });
    }
}

/// Returns true if no answer is complete.
pub(crate) fn none_complete(answers: &[FleetAnswer]) -> bool {
    answers.iter().all(|answer| !answer.is_complete())
}
