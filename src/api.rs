//! The HTTP API: decisions over the islands below, without a socket or a thread.
//!
//! [`service`] is the handler of a core. It finds the [`route`] of a request, checks its [`query`],
//! and lets [`ingest`], [`analyze`], [`devices`], [`device`], [`anomalies`], [`stats`], [`lookup`],
//! [`health`], [`scrape`], [`debug`], [`profile`], [`openapi`], [`page`] or [`index`] answer from
//! the [`state`] that all cores share. Work that would hold up a core becomes one of the [`jobs`].
//! [`fleet`] asks all replicas. A [`sampler`] reads all counters each second. [`cors`] permits
//! pages in browsers to read answers. A [`shared_bucket`] is a limit of all cores together.

mod acknowledgement;
mod admission;
pub mod analyze;
pub mod anomalies;
mod apply;
pub mod authorization;
mod content_headers;
pub mod cors;
pub mod debug;
pub mod device;
mod device_query;
pub mod devices;
pub mod fleet;
mod forwarded;
pub mod health;
pub mod index;
mod influx;
pub mod ingest;
mod ingest_error;
pub mod jobs;
pub mod json;
pub mod lookup;
pub mod meter;
mod metrics;
mod novelty;
mod number_parameter;
pub mod openapi;
pub mod page;
mod path_segment;
pub mod problems;
pub mod profile;
pub mod query;
pub mod ranking_cache;
mod read;
mod refusal;
mod report;
pub mod route;
pub mod sampler;
pub mod samples;
pub mod scrape;
pub mod service;
pub mod shared_bucket;
pub mod state;
pub mod stats;
pub mod store_observer;
mod warn;
