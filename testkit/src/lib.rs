//! Test kit: servers, Redis, an HTTP client, faults and loads, for the tests of this workspace.
//!
//! Nothing in here uses the server's own code: a mistake made twice would pass for right. The
//! server is the program that was built with the test, or whatever listens at an address.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]

pub mod certificates;
pub mod child_process;
pub mod exposition;
pub mod fake_redis;
pub mod fault_proxy;
pub mod fuzz_inputs;
pub mod http_client;
pub mod http_response;
pub mod load_loop;
pub mod metric_load;
pub mod pprof;
pub mod redis;
pub mod redis_client;
pub mod redis_cluster;
pub mod redis_sentinel;
pub mod server;
pub mod server_under_load;
pub mod store_counters;
pub mod tls;
pub mod usage;
pub mod wait;

pub use child_process::ChildProcess;
pub use exposition::Exposition;
pub use fake_redis::{FakeRedis, FakeReply};
pub use fault_proxy::{CloseMode, Direction, FaultProxy, ProxyMode};
pub use http_client::{Barrier, HttpClient, get, get_as_localhost, post};
pub use http_response::{HttpResponse, assert_problem};
pub use load_loop::LoadLoop;
pub use metric_load::{MetricLoad, MetricStore, SentMetrics};
pub use redis::Redis;
pub use redis_client::RedisReply;
pub use server::Server;
pub use server_under_load::{Reconciliation, ServerUnderLoad};
pub use store_counters::StoreCounters;
pub use usage::Usage;
pub use wait::{ANSWER_TIME_MAX, TIMEOUT, wait_until, wait_until_within};
