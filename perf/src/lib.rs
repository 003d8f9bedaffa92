//! The yardstick: the cost of a request, beside a bare epoll loop and other servers.
//!
//! ```text
//! compare ─ starts ─▶ floor, corepulse, … (one at a time, on the first core) ──▶ Redis,
//!    │                   ▲                                            if asked for (third core, or
//!    └─ starts ─▶ wrk, or a loop (second core): 64 keep-alive connections        the second)
//! ```
//!
//! A run is a list of rounds; in each, every scenario is driven against every server by turns, so
//! that a noisy minute of the machine hits all of them. The CPU time of the server's process per
//! request, as the kernel's scheduler accounts for it, is compared within a round; requests a
//! second depend on the generator as well. A request that fails ends the run, and the server's own
//! count of events is compared with the generator's.
//!
//! In the order of the data: [`traffic`] builds requests of a [`scenario`] and [`devices`],
//! [`drive`] has a [`generator`] send them to a [`server`] that [`preparation`] has brought into
//! its state, while a [`page`] may be requested; `testkit::Usage` reads what that cost, and
//! [`counts`] what became of the events. [`comparison`] makes a [`measurement`] of each,
//! [`summary`] and [`report`] sum them up, [`limit`] says who was the limit, and [`record`] keeps
//! the raw numbers. [`cores`] says who runs where.
//!
//! The other servers are in `peers/`, a crate of its own, and in `go-seed/`; VictoriaMetrics is a
//! package of Debian's.
//!
//! [`tls`] compares by itself what TLS costs.
//!
//! What does not depend on the machine is counted instead: [`offline`] is a server of one core
//! without a kernel, whose instructions `benches/instructions.rs` counts; [`forms`] compares on it
//! what an event costs in each form of a body, and [`contention`] counts how cores get in each
//! other's way, and [`device_limits`] what limits of devices cost.

#![expect(missing_docs, reason = "a name says it where nothing else has to be said")]

pub mod compare;
pub mod comparison;
pub mod contention;
pub mod cores;
pub mod counts;
pub mod device_limits;
pub mod devices;
pub mod drive;
pub mod forms;
pub mod generator;
pub mod limit;
pub mod measurement;
pub mod nab;
pub mod offline;
pub mod page;
pub mod preparation;
pub mod record;
pub mod redis_writer;
pub mod report;
pub mod scenario;
pub mod server;
pub mod summary;
pub mod tls;
pub mod traffic;
