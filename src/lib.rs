//! corepulse: a thread-per-core HTTP server for streams of device metrics.
//!
//! ```text
//! devices ─▶ core 0: epoll ─▶ http ─▶ api ─▶ metric ─▶ analytics ─▶ store ┐
//! devices ─▶ core 1: the same, with a listener of its own                 ├─▶ memory, per core
//!               ▲                                                         ┘
//!               └── answers posted back ── control: look-ups and scrapes
//! ```
//!
//! The event loops and HTTP are the crate [`percore`]. A file imports only from rows below its own
//! (`ci/tidy` holds that). From the top, in the order in which a request meets them:
//!
//! - `main` and [`server`]: start, stop, wiring;
//! - [`engine`], [`control`], [`healthcheck`], [`top`], [`replay`], [`new_token`], [`resources`]:
//!   threads, sockets and the machine; [`http_client`]: how the subcommands ask a server;
//! - [`api`]: the answers;
//! - [`fleet`]: what replicas say to each other;
//! - [`analytics`], [`store`], [`telemetry`]: three islands, none of which imports another;
//! - [`metric`]: the domain, and the decoder of bodies;
//! - [`config`], [`limits`], [`reload`]: flags and bounds, and files that are read again;
//! - [`gcra`]: which events keep to a rate.

#![cfg_attr(not(test), warn(clippy::disallowed_methods, clippy::disallowed_types))]

pub mod analytics;
pub mod api;
pub mod config;
#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "starts threads")]
pub mod control;
pub mod engine;
pub mod fleet;
pub mod gcra;
pub mod healthcheck;
#[expect(clippy::disallowed_methods, reason = "asks for names and the time")]
pub mod http_client;
pub mod limits;
pub mod metric;
pub mod new_token;
pub mod reload;
#[expect(clippy::disallowed_methods, reason = "starts threads")]
pub mod replay;
pub mod resources;
pub mod schema;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod tls_files;
pub mod top;
