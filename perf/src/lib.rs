//! The yardstick: what a request costs the server, beside a bare epoll loop.
//!
//! ```text
//! compare ─ starts ─▶ floor, corepulse, … (one at a time, pinned to the first core) ─▶ Redis,
//!    │                   ▲                                            if asked for (third core, or
//!    └─ generator (second core): 64 keep-alive connections            the second)
//! ```
//!
//! A run is a list of rounds; in each, every scenario is driven against every server by turns, so
//! that a noisy minute of the machine hits all of them. What counts is the CPU time of the server
//! process per request, as the kernel's scheduler accounts for it; requests a second depend on the
//! generator as well. Every answer is checked: a wrong one ends the run.
//!
//! In the order of the data: [`scenario`] builds requests of [`devices`], [`generator`] has the
//! [`sender`] of each thread send them over each [`connection`], at the times of [`pace`] if there
//! is a rate, [`answers`] reads what comes back, [`fault`] names what else may come, [`latency`] is
//! how long it took and [`tally`] the sum of it. [`server`] starts the processes, [`redis`] what
//! they write to, [`usage`] asks what they cost and [`inquiry`] what they count, [`cores`] says who
//! runs where, [`contest`] has them all measured alike and [`pair`] two of them that are alive at
//! once, [`report`] and [`growth`] sum up and [`machine`] says where that was.
//!
//! With a rate the load is open: requests are due at fixed times, whatever became of those before,
//! and latency counts from then. [`offer`] has several threads send one such load to a [`target`],
//! [`open_load`] judges a round of it, the generator included, and [`beside`] what `/analyze` does
//! to it.
//!
//! [`program`] is what all programs share, [`fill`] posts so many batches and no more, [`idle`]
//! opens connections that stay idle, and [`fleet`] is the devices of the soak.
//! The other servers are in `peers/`, a crate of its own, and in `go-seed/`.
//!
//! What does not depend on the machine is counted instead: [`replay`] is a core without sockets and
//! clock, and [`callgrind`] counts its instructions.

pub mod answers;
pub mod beside;
pub mod callgrind;
pub mod connection;
pub mod contest;
pub mod cores;
pub mod devices;
pub mod fault;
pub mod fill;
pub mod fleet;
pub mod generator;
pub mod growth;
pub mod idle;
pub mod inquiry;
pub mod latency;
pub mod machine;
pub mod offer;
pub mod open_load;
pub mod pace;
pub mod pair;
pub mod program;
pub mod redis;
pub mod replay;
pub mod report;
pub mod scenario;
pub mod sender;
pub mod server;
pub mod tally;
pub mod target;
pub mod usage;
