//! The connector: it opens a link to the servers that the URL leads to at the moment.

use std::sync::Arc;
use std::time::Duration;

use super::cluster::ClusterSession;
use super::deadline::Deadline;
use super::discovery::Discovery;
use super::error::RedisResult;
use super::link::{ConnectionId, Connector, Link};
use super::session::Session;
use crate::config::redis_url::{RedisMode, RedisUrl};
use crate::limits::{STORE_BACKOFF_MS_MAX, STORE_FAILOVER_BACKOFF_MS_MAX, STORE_REPLY_MS_MAX};
use percore::clock::Clock;

pub(super) struct RedisConnector {
    url: RedisUrl,
    discovery: Arc<Discovery>,
    clock: Clock,
}

impl RedisConnector {
    pub(super) const fn new(url: RedisUrl, discovery: Arc<Discovery>, clock: Clock) -> Self {
        Self { url, discovery, clock }
    }
}

impl Connector for RedisConnector {
    type Link = dyn Link + Send;

    fn connect(
        &mut self,
        timeout: Duration,
        abandoned: &mut Vec<ConnectionId>,
    ) -> RedisResult<Box<Self::Link>> {
        let (discovery, deadline) = (&self.discovery, &mut Deadline::new(self.clock, timeout));
        match self.url.mode() {
            RedisMode::Standalone(info) => {
                Ok(Box::new(Session::open(info, &discovery.resolver, deadline, abandoned)?))
            }
            RedisMode::Sentinel { sentinels, primary, info } => {
                let info = discovery.primary_by_name(sentinels, primary, info, deadline)?;
                let mut session = Session::open(&info, &discovery.resolver, deadline, abandoned)?;
                // Sentinels may not know of a failover yet.
                session.require_primary();
                session.set_timeout(deadline.next_wait()?);
                session.ping()?;
                session.set_timeout(Duration::from_millis(STORE_REPLY_MS_MAX));
                Ok(Box::new(session))
            }
            RedisMode::Cluster(seeds) => {
                let mut left = seeds.len();
                loop {
                    let topology = discovery.topology(seeds, deadline)?;
                    let shared = Arc::clone(discovery);
                    match ClusterSession::open(topology, shared, self.clock, deadline, abandoned) {
                        Ok(session) => return Ok(Box::new(session)),
                        // That node may still name a primary that is gone, where the next one
                        // knows by whom it was replaced.
                        Err(_) if left > 0 && deadline.next_wait().is_ok() => left -= 1,
                        Err(error) => return Err(error),
                    }
                }
            }
        }
    }

    fn backoff_ms_max(&self) -> u64 {
        match self.url.mode() {
            RedisMode::Standalone(_) => STORE_BACKOFF_MS_MAX,
            RedisMode::Sentinel { .. } | RedisMode::Cluster(_) => STORE_FAILOVER_BACKOFF_MS_MAX,
        }
    }
}
