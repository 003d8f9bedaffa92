//! A Redis Cluster of three primaries and their replicas.
//!
//! A machine that other tests share stalls now and then, and a stalled node looks like a dead one.
//! The nodes are hasty (a second of silence is death) while the cluster is set up and from the
//! moment at which the test has one fail; otherwise they are calm.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::metric_load::MetricStore;
use crate::redis::Redis;
use crate::redis::ReservedPort;
use crate::redis_client::RedisReply;
use crate::wait::{wait_until, wait_until_within};

const PRIMARIES: usize = 3;
const NODES: usize = 2 * PRIMARIES;
const SLOTS: usize = 16_384;

/// Silence after which a node takes another for dead, in milliseconds.
const HASTY_MS: &str = "1000";
const CALM_MS: &str = "15000";

/// A failover takes three seconds. This is for some that get nowhere before it: a replica asks for
/// votes again after four times [`HASTY_MS`].
pub const FAILOVER_TIME_MAX: Duration = Duration::from_secs(25);

/// The nodes; those that start as primaries come first, and their replicas in the same order.
#[derive(Debug)]
pub struct RedisCluster {
    /// Primaries first.
    pub nodes: Vec<Redis>,
    /// The ports by which they talk to each other.
    buses: Vec<ReservedPort>,
    frozen: Option<usize>,
}

impl RedisCluster {
    /// Starts all nodes, has them meet, and waits until each knows of all and they are in sync.
    pub fn start() -> Self {
        let (nodes, buses): (Vec<Redis>, Vec<ReservedPort>) =
            (0..NODES).map(|_| start_node()).unzip();
        let mut cluster = Self { nodes, buses, frozen: None };
        cluster.meet();
        cluster.replicate();
        cluster.wait_until_whole();
        cluster
    }

    /// Gives each a part of the slots and introduces them, as `redis-cli --cluster create` does.
    fn meet(&mut self) {
        for (number, node) in self.nodes.iter_mut().enumerate() {
            let epoch = (number + 1).to_string();
            node.execute(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).assert_ok();
            if number < PRIMARIES {
                let [first, behind] = [number, number + 1].map(|n| n * SLOTS / PRIMARIES);
                let (first, last) = (first.to_string(), (behind - 1).to_string());
                node.execute(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]).assert_ok();
            }
        }
        (1..NODES).for_each(|number| self.introduce(number));
        self.wait_until_met();
    }

    fn introduce(&mut self, number: usize) {
        let port = self.nodes[number].address().port().to_string();
        let bus = self.buses[number].number.to_string();
        self.nodes[0].execute(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).assert_ok();
    }

    fn wait_until_met(&mut self) {
        let count = self.nodes.len();
        wait_until_within(FAILOVER_TIME_MAX, "the nodes know each other", || {
            let know_all = self.nodes.iter_mut().all(|node| {
                let known = known_nodes(node);
                known.len() == count && !known.iter().any(|line| line.contains("handshake"))
            });
            know_all.then_some(())
        });
    }

    /// Starts another primary, which has no slot yet.
    pub fn add_node(&mut self) -> usize {
        let (node, bus) = start_node();
        self.nodes.push(node);
        self.buses.push(bus);
        let number = self.nodes.len() - 1;
        self.introduce(number);
        self.wait_until_met();
        self.set_silence(CALM_MS);
        number
    }

    fn replicate(&mut self) {
        let (primaries, replicas) = self.nodes.split_at_mut(PRIMARIES);
        for (primary, replica) in primaries.iter_mut().zip(replicas) {
            let id = primary.execute(&["CLUSTER", "MYID"]).text().expect("it has an id");
            replica.execute(&["CLUSTER", "REPLICATE", &id]).assert_ok();
        }
    }

    /// Waits until all is well, and makes the nodes calm.
    pub fn wait_until_whole(&mut self) {
        wait_until_within(FAILOVER_TIME_MAX, "the cluster is whole", || {
            self.is_whole().then_some(())
        });
        self.set_silence(CALM_MS);
    }

    /// Returns true if every node knows of three primaries and three replicas, takes none of them
    /// for dead, and is in sync.
    pub fn is_whole(&mut self) -> bool {
        self.nodes.iter_mut().all(|node| {
            let known = known_nodes(node);
            let count = |flag: &str| known.iter().filter(|line| line.contains(flag)).count();
            let has_roles = (count("master -"), count("slave ")) == (PRIMARIES, PRIMARIES);
            has_roles && count("fail") == 0 && is_ok(node) && is_in_sync(node)
        })
    }

    /// Returns the nodes that answer.
    fn running(&mut self) -> impl Iterator<Item = &mut Redis> {
        let frozen = self.frozen;
        let nodes = self.nodes.iter_mut().enumerate();
        nodes.filter(move |(n, node)| node.is_running() && frozen != Some(*n)).map(|(_, node)| node)
    }

    fn answers(&self, number: usize) -> bool {
        self.nodes[number].is_running() && self.frozen != Some(number)
    }

    /// Sets the silence after which a node takes another for dead.
    pub fn set_silence(&mut self, milliseconds: &str) {
        self.running().for_each(|node| node.configure("cluster-node-timeout", milliseconds));
    }

    /// Returns the URL by which a server finds it: two primaries and a replica of the third.
    pub fn url(&self) -> String {
        self.url_of(&[0, 1, NODES - 1])
    }

    /// Returns a URL that names these nodes only.
    pub fn url_of(&self, seeds: &[usize]) -> String {
        let address = |number: &usize| self.nodes[*number].address().to_string();
        let seeds: Vec<String> = seeds.iter().map(address).collect();
        format!("redis+cluster://{}", seeds.join(","))
    }

    /// Kills a node (`kill -9`): the others notice, and its replica asks for their votes.
    pub fn kill(&mut self, number: usize) {
        self.set_silence(HASTY_MS);
        self.nodes[number].kill();
    }

    /// Stops a node's process: to the others it is dead as well.
    pub fn freeze(&mut self, number: usize) {
        self.set_silence(HASTY_MS);
        self.nodes[number].freeze();
        self.frozen = Some(number);
    }

    /// Lets the frozen node go on.
    pub fn thaw(&mut self) {
        let number = self.frozen.take().expect("one is frozen");
        self.nodes[number].thaw();
    }

    /// Kills all nodes.
    pub fn kill_all(&mut self) {
        self.nodes.iter_mut().for_each(Redis::kill);
    }

    /// Starts all nodes again.
    pub fn run_all(&mut self) {
        self.nodes.iter_mut().for_each(Redis::run);
    }

    /// Returns true if all nodes that run agree that this one is a primary with slots, and that
    /// each slot has an owner.
    pub fn is_primary(&mut self, number: usize) -> bool {
        let port = i64::from(self.nodes[number].address().port());
        self.running()
            .all(|node| is_ok(node) && slot_ranges(node).iter().any(|range| range.port == port))
    }

    /// Returns the nodes that have slots, as the first that runs sees it.
    pub fn primaries(&mut self) -> Vec<usize> {
        let node = self.running().next().expect("one runs");
        let ports: Vec<i64> = slot_ranges(node).iter().map(|range| range.port).collect();
        let is_primary =
            |&number: &usize| ports.contains(&i64::from(self.nodes[number].address().port()));
        (0..self.nodes.len()).filter(is_primary).collect()
    }

    /// Returns the slot of a key.
    pub fn slot_of(&mut self, key: &str) -> i64 {
        self.running().next().expect("one runs").execute(&["CLUSTER", "KEYSLOT", key]).integer()
    }

    /// Returns the node that has a slot, as the first that runs sees it.
    pub fn owner_of(&mut self, slot: i64) -> usize {
        let node = self.running().next().expect("one runs");
        let ranges = slot_ranges(node);
        let range = ranges.iter().find(|range| (range.first..=range.last).contains(&slot));
        let port = range.expect("it has an owner").port;
        self.number_of(port)
    }

    fn number_of(&self, port: i64) -> usize {
        let found = self.nodes.iter().position(|node| i64::from(node.address().port()) == port);
        found.expect("a port of the cluster's")
    }

    /// Begins to move a slot: the new owner imports it, the old one says ASK for what it has not.
    pub fn begin_move(&mut self, slot: i64, from: usize, to: usize) {
        let slot = slot.to_string();
        let [from_id, to_id] = [from, to].map(|number| self.id_of(number));
        let import = ["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id];
        self.nodes[to].execute(&import).assert_ok();
        let migrate = ["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id];
        self.nodes[from].execute(&migrate).assert_ok();
    }

    /// Moves what is in the slot, one key after the other, until nothing is left of it.
    pub fn move_keys(&mut self, slot: i64, from: usize, to: usize) {
        let (slot, port) = (slot.to_string(), self.nodes[to].address().port().to_string());
        wait_until("the slot is empty", || {
            let keys = self.nodes[from].execute(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]).list();
            for key in &keys {
                let RedisReply::Text(Some(key)) = key else {
                    panic!("no key: {key:?}");
                };
                let migrate = ["MIGRATE", "127.0.0.1", &port, key, "0", "1000", "REPLACE"];
                self.nodes[from].execute(&migrate);
            }
            keys.is_empty().then_some(())
        });
    }

    /// Ends the move: the new owner is told first, or no node would have the slot for a moment.
    pub fn end_move(&mut self, slot: i64, from: usize, to: usize) {
        let (text, id) = (slot.to_string(), self.id_of(to));
        for number in [to, from] {
            self.nodes[number].execute(&["CLUSTER", "SETSLOT", &text, "NODE", &id]).assert_ok();
        }
    }

    fn id_of(&mut self, number: usize) -> String {
        self.nodes[number].execute(&["CLUSTER", "MYID"]).text().expect("it has an id")
    }

    /// Returns how often a node has redirected a command since it started.
    pub fn redirections(&mut self, number: usize) -> u64 {
        let statistics = self.nodes[number].execute(&["INFO", "errorstats"]).text().unwrap();
        let count = |line: &str| {
            let count = ["errorstat_ASK:count=", "errorstat_MOVED:count="]
                .iter()
                .find_map(|start| line.strip_prefix(start));
            count.map_or(0, |count| count.trim_end().parse::<u64>().expect("a count"))
        };
        statistics.lines().map(count).sum()
    }

    /// Asks for each key at the node that has its slot, and has Redis itself say which that is;
    /// returns that node and its reply.
    fn execute_at_owners(&mut self, command: &str, keys: &[&str]) -> Vec<(usize, RedisReply)> {
        let commands: Vec<_> = keys.iter().map(|key| vec![command, *key]).collect();
        let first = (0..self.nodes.len()).find(|&number| self.answers(number)).expect("one runs");
        let replies = self.nodes[first].execute_all(&commands);
        let mut replies: Vec<_> = replies.into_iter().map(|reply| (first, reply)).collect();
        let mut moved: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (index, (_, reply)) in replies.iter().enumerate() {
            if let Some(owner) = self.redirection(reply) {
                moved.entry(owner).or_default().push(index);
            }
        }
        moved.retain(|&owner, _| self.answers(owner));
        for (owner, indices) in moved {
            let commands: Vec<_> = indices.iter().map(|&i| commands[i].clone()).collect();
            for (index, reply) in indices.into_iter().zip(self.nodes[owner].execute_all(&commands))
            {
                replies[index] = (owner, reply);
            }
        }
        replies
    }

    /// Returns the node to which `MOVED slot address` leads.
    pub fn redirection(&self, reply: &RedisReply) -> Option<usize> {
        let RedisReply::Error(text) = reply else {
            return None;
        };
        let (_, port) = text.strip_prefix("MOVED ")?.rsplit_once(':')?;
        Some(self.number_of(port.parse().expect("a port")))
    }

    /// Returns when these keys expire, as [`Redis::expiries`].
    pub fn expiries(&mut self, keys: &[&str]) -> Vec<i64> {
        let replies = self.execute_at_owners("PEXPIRETIME", keys);
        replies.into_iter().map(|(_, reply)| reply.integer()).collect()
    }
}

/// Starts a node, and returns the port of its bus, too, which is not the usual one: that might be
/// the port of an outgoing connection.
fn start_node() -> (Redis, ReservedPort) {
    let bus = ReservedPort::reserve();
    let number = bus.number.to_string();
    let cluster = ["--cluster-enabled", "yes", "--cluster-port", &number];
    // A replica waits five seconds for others to come, if it is not told otherwise.
    let node = ["--cluster-node-timeout", HASTY_MS, "--repl-diskless-sync-delay", "0"];
    (Redis::start(&[cluster, node].concat()), bus)
}

/// A key is there if the node that has its slot has it.
impl MetricStore for RedisCluster {
    fn values_of(&mut self, keys: &[&str]) -> Vec<Option<String>> {
        let replies = self.execute_at_owners("GET", keys);
        let texts = replies.into_iter().map(|(_, reply)| match reply {
            // In the middle of a failover no node has it.
            RedisReply::Error(_) => None,
            other => other.text(),
        });
        texts.collect()
    }
}

/// Some slots and the port of the primary that has them.
struct SlotRange {
    first: i64,
    last: i64,
    port: i64,
}

fn slot_ranges(node: &mut Redis) -> Vec<SlotRange> {
    let RedisReply::List(ranges) = node.execute(&["CLUSTER", "SLOTS"]) else {
        return Vec::new();
    };
    let ranges = ranges.into_iter().map(|range| {
        let [first, last, primary]: [RedisReply; 3] =
            range.list().into_iter().take(3).collect::<Vec<_>>().try_into().expect("three parts");
        let port = primary.list().into_iter().nth(1).expect("a port").integer();
        SlotRange { first: first.integer(), last: last.integer(), port }
    });
    ranges.collect()
}

/// Returns the nodes that a node knows, one line each.
fn known_nodes(node: &mut Redis) -> Vec<String> {
    text_of(node, &["CLUSTER", "NODES"]).lines().map(str::to_owned).collect()
}

/// Returns true if a node knows an owner of each slot.
fn is_ok(node: &mut Redis) -> bool {
    let text = text_of(node, &["CLUSTER", "INFO"]);
    text.contains("cluster_state:ok\r\n") && text.contains("cluster_slots_ok:16384\r\n")
}

/// Returns true if a replica follows its primary, or a primary is followed.
fn is_in_sync(node: &mut Redis) -> bool {
    let text = text_of(node, &["INFO", "replication"]);
    text.contains("master_link_status:up\r\n") || text.contains("state=online")
}

/// Returns a report of a node; nothing from one that answers LOADING, as a replica does at first.
fn text_of(node: &mut Redis, command: &[&str]) -> String {
    match node.execute(command) {
        RedisReply::Text(Some(text)) => text,
        _ => String::new(),
    }
}
