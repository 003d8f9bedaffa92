//! What the server answers: decisions over the islands below, without a socket or a thread.
//!
//! [`service`] is the handler that each core has; it asks [`route`] what a request is for, refuses
//! what [`query`] finds wrong, and lets [`ingest`], [`analyze`], [`lookup`], [`health`],
//! [`scrape`], [`debug`], [`profile`], [`openapi`] or [`index`] answer, over the [`state`] that all
//! cores share. What would hold up a core is answered [`later`]. [`cors`] says which pages in
//! browsers may read it.

pub mod analyze;
pub mod authorization;
mod blame;
pub mod cors;
pub mod debug;
pub mod health;
pub mod index;
pub mod ingest;
pub mod jobs;
pub mod json;
pub mod lookup;
pub mod media_type;
pub mod meter;
mod metrics;
pub mod openapi;
pub mod profile;
pub mod query;
mod refused;
pub mod route;
pub mod scrape;
pub mod service;
pub mod state;
mod stated;
pub mod store_watch;
