//! The store in Redis: a bounded queue of blocks, and a thread that writes them.
//!
//! ```text
//! core ─▶ open block ─▶ queue, bounded ─▶ writer thread ─▶ pipeline ─▶ session ─▶ Redis
//!            └─ taken when the writer is idle ─▲    └ replies ─▶ counters, empty blocks ─▶ cores
//! ```
//!
//! - [`shared_state`] is what cores, writer and reader share; [`queue`] holds the bound.
//! - [`pipeline`] tracks the outcome of each command and is pure. [`writer`] decides what to do
//!   next, and writes to any [`link`]; [`writer_thread`] runs it.
//! - [`connector`] opens links to the servers of a URL, which [`discovery`] finds: a [`session`] to
//!   one server, or a [`cluster`] session to all primaries of a [`topology`].
//! - A [`fence`] ends abandoned connections before anything is sent over a new one.
//! - [`reader`] answers look-ups over its own [`connection`]s.
//! - A [`key_link`] takes any [`command`] to the server of certain keys, for those who keep other
//!   things than metrics in Redis; a [`keys_link`] takes a [`batch`] of them to the servers of all
//!   keys.
//! - A [`stream`] bounds the time and the bytes of every exchange; [`resolver`] and [`deadline`]
//!   bound the time of connecting. A [`reply_buffer`] counts the replies that are `+OK`.
//! - [`error`] has the table of errors and what each leads to; [`outage_tracker`] decides which of
//!   them are reported to the [`observer`].

pub(crate) mod backoff;
pub(crate) mod batch;
mod cluster;
pub(crate) mod command;
mod connection;
mod connector;
mod deadline;
pub(crate) mod discovery;
pub(crate) mod error;
mod fence;
pub(crate) mod key_link;
pub(crate) mod keys_link;
mod link;
pub(super) mod observer;
pub(crate) mod outage_tracker;
mod pipeline;
mod queue;
pub(super) mod reader;
mod reply_buffer;
mod reply_pace;
mod resolver;
mod session;
pub(super) mod shared_state;
mod stream;
mod tls;
mod topology;
mod writer;
pub(super) mod writer_thread;

pub use observer::{Observer, Outage, OutageReport};
pub use queue::queue_bytes_needed;
