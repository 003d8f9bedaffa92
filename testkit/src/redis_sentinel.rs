//! A primary, its replica and the three sentinels that watch them.
//!
//! A machine that other tests share stalls now and then, and a stalled primary looks like a dead
//! one. Sentinels are hasty (half a second of silence is death) only from the moment at which the
//! test has the primary fail; before and after that they are calm.

use std::time::Duration;

use crate::metric_load::MetricStore;
use crate::redis::Redis;
use crate::redis_client::RedisReply;
use crate::wait::wait_until_within;

/// The name under which the sentinels watch the primary and its replica.
pub const NAME: &str = "mymaster";

const SENTINELS: usize = 3;

/// The number of sentinels that must agree that the primary is dead. This holds for the last of
/// them; the others would never start a failover, but agree and vote. Where each of them may start
/// one, two often do so at once, and after a vote without a majority they wait for seconds.
const QUORUM: &str = "2";
const NO_QUORUM: &str = "99";

/// Silence after which a sentinel takes the primary for dead, in milliseconds.
const HASTY_MS: &str = "500";
const CALM_MS: &str = "30000";

/// A failover that gets nowhere is tried again after twice this time, in milliseconds.
const FAILOVER_TIMEOUT_MS: &str = "3000";

/// A failover takes two seconds. This is for two that get nowhere before it.
pub const FAILOVER_TIME_MAX: Duration = Duration::from_secs(20);

/// A password with signs that are encoded in a URL, and how it stands there.
const PASSWORD: (&str, &str) = ("p@ss/word", "p%40ss%2Fword");
const SENTINEL_PASSWORD: (&str, &str) = ("s&cret=", "s%26cret%3D");

/// Two servers, of which one is the primary, and sentinels that agree on which.
#[derive(Debug)]
pub struct RedisSentinel {
    servers: [Redis; 2],
    /// The sentinels, of which the last one starts failovers.
    pub sentinels: Vec<Redis>,
    primary: usize,
    has_passwords: bool,
}

impl RedisSentinel {
    /// Starts all of them, and waits until each knows of the others and the replica is in sync.
    pub fn start() -> Self {
        Self::start_all(false)
    }

    /// The servers ask for one password, and the sentinels for another.
    pub fn start_with_passwords() -> Self {
        Self::start_all(true)
    }

    fn start_all(has_passwords: bool) -> Self {
        // A replica waits five seconds for others to come, if it is not told otherwise.
        let mut server = vec!["--repl-diskless-sync-delay", "0"];
        let mut sentinel = vec!["--sentinel"];
        if has_passwords {
            server.extend(["--requirepass", PASSWORD.0, "--masterauth", PASSWORD.0]);
            sentinel.extend(["--requirepass", SENTINEL_PASSWORD.0]);
        }
        let mut servers = [Redis::start(&server), Redis::start(&server)];
        let port = servers[0].address().port().to_string();
        servers[1].execute(&["REPLICAOF", "127.0.0.1", &port]).assert_ok();
        let sentinels = (0..SENTINELS).map(|_| Redis::start(&sentinel)).collect();
        let mut all = Self { servers, sentinels, primary: 0, has_passwords };
        // First in sync: the replicas that a primary reports are all that a sentinel knows of.
        wait_until_within(FAILOVER_TIME_MAX, "the replica is in sync", || {
            all.is_replica_in_sync().then_some(())
        });
        all.monitor(&port);
        wait_until_within(FAILOVER_TIME_MAX, "the sentinels know of all", || {
            all.is_whole().then_some(())
        });
        all
    }

    fn monitor(&mut self, port: &str) {
        for (number, sentinel) in self.sentinels.iter_mut().enumerate() {
            let quorum = if number == SENTINELS - 1 { QUORUM } else { NO_QUORUM };
            sentinel.execute(&["SENTINEL", "MONITOR", NAME, "127.0.0.1", port, quorum]).assert_ok();
            let timeout = ["failover-timeout", FAILOVER_TIMEOUT_MS, "parallel-syncs", "1"];
            sentinel.execute(&[&["SENTINEL", "SET", NAME], &timeout[..]].concat()).assert_ok();
            if self.has_passwords {
                sentinel.execute(&["SENTINEL", "SET", NAME, "auth-pass", PASSWORD.0]).assert_ok();
            }
        }
        self.set_silence(CALM_MS);
    }

    fn set_silence(&mut self, milliseconds: &str) {
        for sentinel in self.running() {
            let change = ["SENTINEL", "SET", NAME, "down-after-milliseconds", milliseconds];
            sentinel.execute(&change).assert_ok();
        }
    }

    /// Returns the URL by which a server finds them.
    pub fn url(&self) -> String {
        let addresses: Vec<String> =
            self.sentinels.iter().map(|sentinel| sentinel.address().to_string()).collect();
        let addresses = addresses.join(",");
        if self.has_passwords {
            let (password, other) = (PASSWORD.1, SENTINEL_PASSWORD.1);
            return format!(
                "redis+sentinel://:{password}@{addresses}/{NAME}/0?sentinel_password={other}"
            );
        }
        format!("redis+sentinel://{addresses}/{NAME}")
    }

    /// Returns the server that is the primary.
    pub const fn primary(&mut self) -> &mut Redis {
        &mut self.servers[self.primary]
    }

    /// Returns the replica, or a server that is to become it.
    pub const fn replica(&mut self) -> &mut Redis {
        &mut self.servers[1 - self.primary]
    }

    /// Returns true if there is a primary, and the other server has all that it has.
    pub fn is_replica_in_sync(&mut self) -> bool {
        let port = self.primary().address().port();
        let replica = information(self.replica());
        let follows = ["role:slave", "master_link_status:up", &format!("master_port:{port}")]
            .iter()
            .all(|line| replica.lines().any(|found| found == *line));
        follows && information(self.primary()).contains("state=online")
    }

    /// Returns true if the replica is in sync, and every sentinel knows of the same primary, of the
    /// replica and of the other sentinels, and takes none of them for dead.
    pub fn is_whole(&mut self) -> bool {
        let port = self.primary().address().port().to_string();
        self.is_replica_in_sync()
            && self.running().all(|sentinel| {
                let primary = sentinel.execute(&["SENTINEL", "MASTER", NAME]).fields();
                let replicas = sentinel.execute(&["SENTINEL", "REPLICAS", NAME]).list();
                let replicas: Vec<_> = replicas.into_iter().map(RedisReply::fields).collect();
                primary["flags"] == "master"
                    && primary["port"] == port
                    && primary["num-other-sentinels"] == (SENTINELS - 1).to_string()
                    && replicas.len() == 1
                    && replicas[0]["flags"] == "slave"
                    && replicas[0]["master-link-status"] == "ok"
            })
    }

    /// Kills the primary (`kill -9`): the sentinels notice and promote the replica.
    pub fn kill_primary(&mut self) {
        self.set_silence(HASTY_MS);
        self.primary().kill();
    }

    /// Stops the primary's process: to the sentinels it is dead as well.
    pub fn freeze_primary(&mut self) {
        self.set_silence(HASTY_MS);
        self.primary().freeze();
    }

    /// Makes the last sentinel promote the replica although the primary is well.
    pub fn fail_over(&mut self) {
        let sentinel = self.sentinels.last_mut().expect("there are three");
        sentinel.execute(&["SENTINEL", "FAILOVER", NAME]).assert_ok();
    }

    /// Returns true if the replica is the primary, and all sentinels say so; from then on it is
    /// the primary here, too, and the sentinels are calm.
    pub fn has_failed_over(&mut self) -> bool {
        let address = self.replica().address();
        let expected = [address.ip().to_string(), address.port().to_string()];
        let is_agreed = self.running().all(|sentinel| {
            let reply = sentinel.execute(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]);
            reply.list().into_iter().filter_map(RedisReply::text).eq(expected.iter().cloned())
        });
        let has_failed_over = is_agreed && is_primary(self.replica());
        if has_failed_over {
            self.primary = 1 - self.primary;
            self.set_silence(CALM_MS);
        }
        has_failed_over
    }

    /// Returns true if the server that is not to be the primary is still one.
    pub fn is_old_primary_in_power(&mut self) -> bool {
        is_primary(self.replica())
    }

    /// Demotes a server that should not be a primary, as the sentinels do: makes it a replica, and
    /// closes its connections. They only do so at the second report that they have
    /// from it, and that takes ten seconds, or far more on a machine that stalls (TILT mode).
    pub fn demote_old_primary(&mut self) {
        let port = self.primary().address().port().to_string();
        let old = self.replica();
        old.execute(&["REPLICAOF", "127.0.0.1", &port]).assert_ok();
        old.execute(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).integer();
        wait_until_within(FAILOVER_TIME_MAX, "the old primary is in sync", || {
            self.is_replica_in_sync().then_some(())
        });
    }

    fn running(&mut self) -> impl Iterator<Item = &mut Redis> {
        self.sentinels.iter_mut().filter(|sentinel| sentinel.is_running())
    }

    /// Makes the replica the primary, with nothing lost: the primary takes no more writes until the
    /// replica has all of them, and then answers READONLY. The sentinels do not like it, but for
    /// eight seconds they wait for it to change back.
    pub fn swap(&mut self) {
        wait_until_within(FAILOVER_TIME_MAX, "the replica takes over", || {
            // Refused while it is under way, and as long as the replica is not in sync.
            self.primary().execute(&["FAILOVER"]);
            (is_primary(self.replica()) && !is_primary(self.primary())).then_some(())
        });
        self.primary = 1 - self.primary;
    }

    /// Kills all sentinels.
    pub fn kill_sentinels(&mut self) {
        self.sentinels.iter_mut().for_each(Redis::kill);
    }

    /// Starts all sentinels again.
    pub fn run_sentinels(&mut self) {
        self.sentinels.iter_mut().for_each(Redis::run);
    }
}

/// Prints the logs where a test has failed: a failover may not have come about.
impl Drop for RedisSentinel {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for redis in self.sentinels.iter().chain(&self.servers) {
                println!("{}:\n{}", redis.address(), redis.log());
            }
        }
    }
}

/// The primary holds the metrics.
impl MetricStore for RedisSentinel {
    fn values_of(&mut self, keys: &[&str]) -> Vec<Option<String>> {
        self.primary().values_of(keys)
    }
}

fn information(redis: &mut Redis) -> String {
    redis.execute(&["INFO", "replication"]).text().expect("it is a text").replace('\r', "")
}

fn is_primary(redis: &mut Redis) -> bool {
    information(redis).lines().any(|line| line == "role:master")
}
