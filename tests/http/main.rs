//! The HTTP interface over real sockets: requests good and bad, limits, pages and their formats.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]

mod acknowledgement;
mod anomalies;
mod bad_events;
mod bad_input;
mod balance;
mod body_forms;
mod connection;
mod connection_limit;
mod cors;
mod csv;
mod deadlines;
mod debug_pages;
mod debug_profiles;
mod devices;
mod duplicates;
mod greedy_clients;
mod identities;
mod in_process;
mod line_protocol;
mod novelty;
mod openapi;
mod page;
mod proxies;
mod rate_limits;
mod scraping;
mod stats;
mod statuses;
mod tls;
mod token_file;
mod tokens;
mod turns;
