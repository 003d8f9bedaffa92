//! The settings of the parts, from the configuration and what this machine has.

use std::sync::Arc;
use std::time::Duration;

use crate::analytics::novelty::local_day::LocalDay;
use crate::analytics::novelty::{EXCESS_ON, EXCESS_QUIET, NoveltySettings};
use crate::analytics::{Analytics, AnalyticsSettings};
use crate::api::state::Settings;
use crate::config::{Acknowledgement, Config, MetricsAuth, Novelty, Overflow};
use crate::metric::id_hash::IdHasher;
use crate::resources::Resources;
use crate::schema::Schema;
use percore::clock::{Clock, nanoseconds};
use percore::context::ConnectionLimits;
use percore::engine::EngineConfig;
use percore::peer_rules::PeerRules;
use percore::tls::acceptor::Acceptor;

/// Returns the settings of the analytics.
fn analytics_settings(config: &Config, schema: &'static Schema) -> AnalyticsSettings {
    AnalyticsSettings {
        schema,
        window: config.window,
        threshold: config.z_threshold,
        min_samples: config.min_samples,
        cooldown: config.cooldown,
        devices_max: config.devices_max,
        device_ttl_ns: nanoseconds(config.device_ttl),
        device_limit: config.device_limit.map(|limit| limit.paces()),
        judge_duplicates: config.judge_duplicates,
    }
}

/// Returns the settings of the engine.
pub(super) fn engine_config(
    config: &Config,
    resources: &Resources,
    acceptor: Option<Arc<Acceptor>>,
    clock: Clock,
) -> EngineConfig {
    EngineConfig {
        placement: resources.placement.clone(),
        limits: ConnectionLimits {
            idle_ms: milliseconds(config.idle_timeout),
            request_ms: milliseconds(config.request_timeout),
            body_bytes_max: config.body_bytes_max,
        },
        connection_age_ms: config.connection_age.map_or(u64::MAX, milliseconds),
        connections_max: resources.connections_max,
        acceptor,
        peers: PeerRules::new(config.trust_proxy.clone(), config.peer_connections),
        clock,
    }
}

/// Returns a duration in milliseconds.
pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Returns the settings of the second judge; `None` if nothing of it is asked for.
fn novelty_settings(config: &Config) -> Option<NoveltySettings> {
    let excess = match config.novelty {
        Novelty::Off => None,
        Novelty::On => Some(EXCESS_ON),
        Novelty::Quiet => Some(EXCESS_QUIET),
    };
    let stuck_after = config.stuck_after.and_then(|events| u32::try_from(events).ok());
    let (first, changes) = config.time_zone.offsets();
    (excess.is_some() || stuck_after.is_some()).then(|| NoveltySettings {
        sensitivity: excess.map(NoveltySettings::sensitivity),
        stuck_after,
        day: Arc::new(LocalDay::new(first, changes.to_vec())),
    })
}

/// Returns the analytics of so many cores, with the judges that are asked for.
pub(super) fn analytics(
    config: &Config,
    schema: &'static Schema,
    workers: usize,
    ids: &IdHasher,
) -> Analytics {
    let analytics = Analytics::new(analytics_settings(config, schema), workers, ids.clone());
    match novelty_settings(config) {
        Some(settings) => analytics.with_novelty(settings),
        None => analytics,
    }
}

/// Returns the members that a metric may have.
pub(super) fn schema(config: &Config) -> &'static Schema {
    let Config { fields, device_names, timestamp_names, device_tags, .. } = config;
    Schema::leak(fields, [device_names, timestamp_names, device_tags])
}

/// Returns the settings that answers depend on.
pub(super) fn settings(
    config: &Config,
    schema: &'static Schema,
    resources: &Resources,
) -> Settings {
    let store_at = config.redis_url.as_ref().map_or("this process".to_owned(), ToString::to_string);
    Settings {
        schema,
        instance: config.instance.clone(),
        fleet: config.fleet.clone(),
        cores: resources.workers,
        body_bytes_max: config.body_bytes_max,
        store_ttl_ms: i64::try_from(config.store_ttl.as_millis()).unwrap_or(i64::MAX),
        identifies_clients: config.tls_client_ca.is_some(),
        guards_exposition: config.metrics_auth == MetricsAuth::On,
        devices_max: config.devices_max,
        connections_max: resources.connections_max,
        memory_limit_bytes: resources.memory_bytes,
        store_at,
        store_rejects: config.store_overflow == Overflow::Reject,
        waits_for_store: config.ack == Acknowledgement::Stored,
        ack_timeout_ns: nanoseconds(config.ack_timeout),
        request_timeout_ns: nanoseconds(config.request_timeout),
    }
}
