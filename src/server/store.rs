//! The store as the configuration asks for it, with what an earlier process left for it.

use std::io;
use std::sync::Arc;

use super::settings::milliseconds;
use crate::api::store_observer::StoreObserver;
use crate::config::{Config, Overflow};
use crate::metric::id_hash::IdHasher;
use crate::schema::Schema;
use crate::store::spill::{Recovery, Spill};
use crate::store::{RedisSettings, Store};
use crate::telemetry::latency::Latency;
use crate::telemetry::log;
use percore::clock::Clock;

/// Opens the store.
pub(super) fn open_store(
    config: &Config,
    schema: &'static Schema,
    (workers, ids): (usize, IdHasher),
    clock: Clock,
    flushes: &Arc<Latency>,
    spill: Option<Spill>,
) -> io::Result<Store> {
    let Some(url) = config.redis_url.clone() else {
        let ttl_ms = milliseconds(config.store_ttl);
        return Ok(Store::memory(schema, workers, config.memory_store_bytes, ttl_ms, ids));
    };
    let settings = RedisSettings {
        schema,
        url,
        prefix: config.redis_prefix.clone(),
        queue_bytes: config.store_queue_bytes,
        rejects: config.store_overflow == Overflow::Reject,
        ttl: config.store_ttl,
        spill,
    };
    let watch = Box::new(StoreObserver::new(Arc::clone(flushes)));
    Store::redis(workers, settings, clock, watch)
}

/// Opens the directory of `--spill`, and logs what is found in it.
pub(super) fn open_spill(config: &Config, clock: Clock) -> io::Result<Option<Spill>> {
    let Some(directory) = &config.spill else {
        return Ok(None);
    };
    let spill = Spill::open(directory, clock)?;
    let Recovery { files, unknown, .. } = spill.recovery();
    for path in unknown {
        let path = path.display();
        log::warn!(%path, "another version has left events, in a form that is not known");
    }
    if *files > 0 {
        let directory = directory.display();
        log::info!(%directory, files, "an earlier process has left events, which are taken up");
    }
    Ok(Some(spill))
}
