//! The yardstick: what a request costs the server, beside a bare epoll loop.
//!
//! ```text
//! compare ─ starts ─▶ floor, corepulse, … (one at a time, pinned to the first core)
//!    │                   ▲
//!    └─ generator (second core): 64 keep-alive connections, each waits for its answers
//! ```
//!
//! A run is a list of rounds; in each, every scenario is driven against every server by turns, so
//! that a noisy minute of the machine hits all of them. What counts is the CPU time of the server
//! process per request, as the kernel's scheduler accounts for it; requests a second depend on the
//! generator as well. Every answer is checked: a wrong one ends the run.
//!
//! In the order of the data: [`scenario`] builds requests, [`generator`] sends them, [`answers`]
//! reads what comes back, [`server`] starts the processes, [`usage`] asks what they cost,
//! [`report`] sums up and [`machine`] says where that was. [`redis`] is for the writer to Redis,
//! [`idle`] opens connections that stay idle, and [`fleet`] is the devices of the soak.
//!
//! What does not depend on the machine is counted instead: [`replay`] is a core without sockets and
//! clock, and [`callgrind`] counts its instructions.

pub mod answers;
pub mod callgrind;
pub mod fleet;
pub mod generator;
pub mod idle;
pub mod machine;
pub mod redis;
pub mod replay;
pub mod report;
pub mod scenario;
pub mod server;
pub mod usage;
