//! Test kit: servers, Redis, an HTTP client, faults and loads, for the tests of this workspace.
//!
//! Nothing in here uses the server's own code: a mistake made twice would pass for right. The
//! server is the program that was built with the test, or whatever listens at an address.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]

pub mod accounts;
pub mod certificates;
pub mod exposition;
pub mod fake_redis;
pub mod fault_proxy;
pub mod http_client;
pub mod http_response;
pub mod load;
pub mod outage;
pub mod pprof;
pub mod redis;
pub mod redis_client;
pub mod redis_cluster;
pub mod redis_sentinel;
pub mod server;
pub mod wait;

pub use accounts::Accounts;
pub use exposition::{scrape, sum_of};
pub use fake_redis::{FakeRedis, Say};
pub use fault_proxy::{Direction, Ending, FaultProxy, Mode};
pub use http_client::{Barrier, Client, get, get_here, post};
pub use http_response::{Answer, assert_problem};
pub use load::{Keeper, Load, Sent};
pub use outage::{Outage, Settled};
pub use redis::Redis;
pub use redis_client::Reply;
pub use server::Process;
pub use wait::{ANSWER_TIME_MAX, SOON, until, until_within};
